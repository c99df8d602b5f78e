# SPDX-License-Identifier: GPL-2.0-only
"""What the project asks of the machine: processes, slots to work in, folders."""
