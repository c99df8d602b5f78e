# SPDX-License-Identifier: GPL-2.0-only
"""A recipe as resolved: its defaults written out, in its own grammar, so that it loads again as the same recipe."""

from __future__ import annotations

import io
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from bisector.recipe import matrix, text
from bisector.recipe.model import Recipe

NO_FOLDING = 1 << 20
"""Width at which lines are folded; folded text is not always read back as it was."""

_PLAIN = re.compile(r"[A-Za-z0-9./][A-Za-z0-9./_=+-]*( [A-Za-z0-9./_+(-][A-Za-z0-9./_=+()-]*)*")


def resolved_yaml(recipe: Recipe) -> str:
    """The recipe with its defaults, as YAML. Loads to an equal recipe where its files lie beside it."""
    data = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    data["steps"] = matrix.plain(recipe)["steps"]  # a verb takes only its own keys, so no defaults here
    if recipe.vm is None:
        data["vm"] = "none"
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.Representer = _QuotedStrings
    writer.default_flow_style = None
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = NO_FOLDING
    writer.dump(_without_empty(data), stream)
    return stream.getvalue()


class _QuotedStrings(SafeRepresenter):
    """Quotes all text but plain words: ruamel's own rule lets through words (``?0``) that it cannot read back."""

    def represent_text(self, value: str) -> ScalarNode:
        """Plain where that is safe beyond doubt, else in single quotes, else (not printable) in double ones."""
        if _PLAIN.fullmatch(value) and text.scalar(value) == value:
            style = None
        else:
            style = "'" if value.isprintable() and value.isascii() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_QuotedStrings.add_representer(str, _QuotedStrings.represent_text)


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    """Less what is empty because nobody said anything about it."""
    inner = {key: _without_empty(value) if isinstance(value, dict) else value for key, value in data.items()}
    return {key: value for key, value in inner.items() if value not in ({}, [])}
