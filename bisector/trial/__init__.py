# SPDX-License-Identifier: GPL-2.0-only
"""Image and plan in, observation out: one run of the workload, in a VM or in a sandbox."""
