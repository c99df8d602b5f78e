# SPDX-License-Identifier: GPL-2.0-only
"""A campaign as one file that another person can read and repeat: ``export`` packs, ``replay`` repeats one trial."""
