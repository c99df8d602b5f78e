# SPDX-License-Identifier: GPL-2.0-only
"""Candidate → image: where kernels come from."""
