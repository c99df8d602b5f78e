# SPDX-License-Identifier: GPL-2.0-only
"""Pure: observation → signal (signature), evidence and belief → decided or n more (sequential)."""
