# SPDX-License-Identifier: GPL-2.0-only
"""bisector: from a recipe to the first bad commit of a storage regression."""

__version__ = "0.1.0"
