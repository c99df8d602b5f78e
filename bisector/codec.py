# SPDX-License-Identifier: GPL-2.0-only
"""Frozen types as JSON and back: rows of the store, exports, plans and results.

The code is the agent's, for it runs in the VM, too, where there is nothing else of ours.
"""

from bisector.agent.codec import TEXT, VALUES, Malformed, dump, load

__all__ = ["TEXT", "VALUES", "Malformed", "dump", "load"]
