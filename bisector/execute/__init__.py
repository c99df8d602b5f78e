# SPDX-License-Identifier: GPL-2.0-only
"""Where work that takes long runs: builds and trials, in slots of their own."""
