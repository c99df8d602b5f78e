# SPDX-License-Identifier: GPL-2.0-only
"""The grammar as JSON Schema, for editors. The loader checks more than a schema can say."""

from __future__ import annotations

import json
from typing import Any

from bisector.recipe.model import Recipe


def json_schema() -> dict[str, Any]:
    """The schema of a recipe file (draft 2020-12)."""
    schema = Recipe.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text() -> str:
    """The schema as it is committed (docs/recipe.schema.json)."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"
