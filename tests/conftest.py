# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share."""

from hypothesis import settings

# A time limit for one example is a timed test; the machine may be busy. What things cost is measured in bench/.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
