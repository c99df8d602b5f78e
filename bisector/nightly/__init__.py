# SPDX-License-Identifier: GPL-2.0-only
"""The watch on linux-next or a stable review: config, records of the nights, one night's work, and its summary."""
