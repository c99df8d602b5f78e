# SPDX-License-Identifier: GPL-2.0-only
"""The watch on linux-next: config, memory across nights, one night's work, and its summary."""
