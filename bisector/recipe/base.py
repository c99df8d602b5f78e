# SPDX-License-Identifier: GPL-2.0-only
"""What all types of the grammar have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Base(BaseModel):
    """Frozen, and no key that the grammar does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False, hide_input_in_errors=True)
