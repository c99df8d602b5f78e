# SPDX-License-Identifier: GPL-2.0-only
"""The histories that are searched (commits, releases), the proof of what was found, and the git behind them."""
