# SPDX-License-Identifier: GPL-2.0-only
"""Whether the installed fio takes the jobs of a recipe: a mistyped option is the recipe's fault, and no trial's."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from bisector.errors import InfraError
from bisector.recipe import files
from bisector.recipe.check_fio import PLACEHOLDER
from bisector.recipe.model import Recipe, Step
from bisector.recipe.text import Fault
from bisector.system.proc import Processes
from bisector.system.sandbox import Access

_OPTION = re.compile(r"(?:Bad option <|failed parsing )([a-z0-9_]+)=")
TIMEOUT = 60.0
MOST = 300
"""Characters of fio's words in a fault."""


def faults(recipe: Recipe, processes: Processes) -> tuple[Fault, ...]:
    """What the installed fio refuses; ``recipe`` has a cell's overrides applied.

    fio only parses the jobs (--parse-only), in the sandbox. Nothing is found where it cannot be started: that it is not
    installed, or that nothing can be confined here, is said elsewhere.
    """
    return tuple(_faults(recipe, processes))


def _faults(recipe: Recipe, processes: Processes) -> Iterator[Fault]:
    for name, step in recipe.steps.items():
        if not step.fio:
            continue
        try:
            said = _refusal(processes, _text(recipe, name, step))
        except (InfraError, OSError):
            return
        if said:
            named = _OPTION.search(said)
            option = (named[1],) if named and isinstance(step.fio, dict) and named[1] in step.fio else ()
            yield Fault(("steps", name, "fio", *option), f"fio does not take this job: {said}")


@functools.lru_cache(maxsize=256)  # cells and controls mostly have the same jobs
def _refusal(processes: Processes, text: str) -> str:
    """What fio says against a job, "" where it takes it. Raises InfraError."""
    ran = processes.run(["fio", "--parse-only", "-"], access=Access(), stdin=text, timeout=TIMEOUT, check=False)
    return _said(ran.stderr, ran.stdout) if ran.returncode != 0 else ""


def _text(recipe: Recipe, name: str, step: Step) -> str:
    """The job with a name in the place of each layer: nothing is opened."""
    if isinstance(step.fio, str):
        with files.opened(recipe, step.fio) as stream:
            text = stream.read().decode(errors="replace")
    else:
        text = "\n".join((f"[{name}]", *(f"{option}={value}" for option, value in (step.fio or {}).items()), ""))
    return PLACEHOLDER.sub(lambda found: "1" if found[1] == "seed" else f"/dev/{found[1]}", text)


def _said(*outputs: str) -> str:
    """fio's words in one line, without the line that says that it drops the job."""
    lines = [line.strip() for output in outputs for line in output.splitlines()]
    words = "; ".join(line for line in lines if line and not line.endswith("dropped"))
    return words[:MOST] or "it does not say why"
