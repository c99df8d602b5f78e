# SPDX-License-Identifier: GPL-2.0-only
"""What one module knows, no other works out again."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "bisector"


def readers(pattern: str) -> set[str]:
    """The modules with a line that matches, relative to the package."""
    return {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if re.search(pattern, file.read_text(encoding="utf-8"))
    }


def test_above_the_recipe_only_targets_asks_what_is_under_test() -> None:
    grammar = {f"recipe/{name}.py" for name in ("model", "check", "files", "modules", "plan")}  # they read its keys
    assert readers(r"\.target\.kernel\b") <= grammar | {"targets.py"}
    assert readers(r"\.target\.qemu\b") <= {"recipe/model.py", "recipe/check.py", "targets.py"}
