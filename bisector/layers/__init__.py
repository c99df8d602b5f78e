# SPDX-License-Identifier: GPL-2.0-only
"""The kinds of storage: a module for each, with a row for each of its types. Standard library alone: the agent's copy
in the VM imports it too."""
