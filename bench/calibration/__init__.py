# SPDX-License-Identifier: GPL-2.0-only
"""Thousands of simulated campaigns, decided by the product's own code: what its error budget is worth."""
