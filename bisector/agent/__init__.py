# SPDX-License-Identifier: GPL-2.0-only
"""Runs inside the VM or the sandbox; standard library only."""
