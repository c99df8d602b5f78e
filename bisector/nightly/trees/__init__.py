# SPDX-License-Identifier: GPL-2.0-only
"""The trees that a watch follows: what they have in common, and a module for each."""
