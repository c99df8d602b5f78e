# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns: over commits, over releases, over both, and one candidate alone."""
