# SPDX-License-Identifier: GPL-2.0-only
"""The recipe: one YAML file, checked, and what the other packages make of it."""
