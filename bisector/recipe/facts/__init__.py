# SPDX-License-Identifier: GPL-2.0-only
"""The facts of a condition: a row per fact, with what a recipe may write and how a trial is searched for it."""
