# SPDX-License-Identifier: GPL-2.0-only
"""Frozen types as JSON and back: rows of the store, exports, plans and results; and digests of what is JSON-able.

The code is the agent's, for it runs in the VM, too, where there is nothing else of ours.
"""

from __future__ import annotations

import hashlib
import json

from bisector.agent.codec import TEXT, VALUES, DecodeError, dump, load

__all__ = ["TEXT", "VALUES", "DecodeError", "digest", "dump", "load"]


def digest(*parts: object) -> str:
    """Hash of JSON-able parts, 64 hex digits; for keys that are equal only when every part is."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
