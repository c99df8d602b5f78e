# SPDX-License-Identifier: GPL-2.0-only
"""The recipe book on real software: ``bisector test`` as a person calls it, read from its JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

IMAGE = os.environ.get("BISECTOR_BOOK_IMAGE", "")
ONE_CPU = "vm.cpus=1"  # an emulated guest in an emulated VM is as fast with one, and half as dear
RECIPES = Path(__file__).parents[2] / "recipes"


@dataclass(frozen=True)
class Page:
    """What ``bisector test`` answered of one recipe: cell or control (by name) → its row of the JSON table."""

    exit_code: int
    rows: dict[str, dict[str, Any]]
    errors: str

    def verdict(self, cell: str) -> str:
        """good, bad, skip, weak; "not applicable" where the software refuses the cell."""
        judgement = self.rows[cell]["judgement"]
        return judgement["verdict"] if judgement else "not applicable"

    def condition(self, cell: str) -> str:
        """The name of the condition that the cell's last trial met."""
        return self.rows[cell]["judgement"]["trials"][-1]["reading"]["condition"]

    def step(self, cell: str, name: str) -> dict[str, Any]:
        """The facts of a step in the cell's last trial."""
        steps = self.rows[cell]["judgement"]["trials"][-1]["observation"]["result"]["steps"]
        return next(step for step in steps if step["name"] == name)

    def events(self, cell: str) -> set[str]:
        """Names of the inner QEMU's events in the cell's last trial."""
        events = self.rows[cell]["judgement"]["trials"][-1]["observation"]["result"]["events"]
        return {event["name"] for event in events if event["source"] == "qmp"}

    def said(self, cell: str) -> list[str]:
        """Lines of the consoles that a condition looked for, in the cell's last trial."""
        console = self.rows[cell]["judgement"]["trials"][-1]["observation"]["console"]
        return [event["text"] for event in console if event["kind"] == "watch"]

    def table(self) -> str:
        """All rows in short, for a failing test's message."""
        lines = [f"{name or 'as it stands'}: {self.verdict(name)}" for name in self.rows]
        return "\n".join([*lines, self.errors[-2000:]])


def page(recipe: str, *words: str, option: str = "--image") -> Page:
    """``bisector test RECIPE WORDS --json``, with the book's kernel as what ``option`` names; "" leaves it out."""
    argv = [sys.executable, "-m", "bisector.cli", "test", str(RECIPES / f"{recipe}.yaml"), "--json", *words]
    if option:
        argv += [option, IMAGE, "--cell", ONE_CPU]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr[-4000:]
    answer = json.loads(ended.stdout)
    rows = {row["cell"]["name"].removesuffix(ONE_CPU).removesuffix(", "): row for row in answer["cells"]}
    return Page(ended.returncode, rows, ended.stderr)


needs_image = pytest.mark.skipif(not IMAGE, reason="BISECTOR_BOOK_IMAGE names no kernel with the book's fragments")
