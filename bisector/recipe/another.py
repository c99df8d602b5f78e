# SPDX-License-Identifier: GPL-2.0-only
"""A recipe turned to another failure that its trials met: bad is what carries that fingerprint, and nothing else."""

from __future__ import annotations

import re

from bisector.errors import UsageError
from bisector.recipe import text
from bisector.recipe.matrix import plain
from bisector.recipe.model import Recipe
from bisector.recipe.parse import parse

KINDS = ("panic", "oops", "bug", "lockup", "hung")  # of crashes, as their fingerprints begin (trial/crash.py)
NAME = 63  # characters of a recipe's name, after the first
CONDITION = "other-failure"
"""Name of the condition, and so of the signature, in the recipe that is turned."""


def on_failure(recipe: Recipe, fingerprint: str) -> Recipe:
    """The recipe whose one bad condition is a crash of the kernel under test with that fingerprint.

    What was bad before is good now where it comes without that crash: for this question it is a trial that ran.
    Controls are left out, for what they expect is about the other bug.

    Args:
        fingerprint: as the report of a campaign names it, such as ``oops: raid1_read_request < md_handle_request``.

    Raises:
        UsageError: it is no fingerprint of a crash.
    """
    fingerprint = fingerprint.strip()
    if fingerprint.partition(":")[0] not in KINDS:
        hint = f"the report of a campaign lists those it met; they begin with {', '.join(KINDS)}"
        raise UsageError(f"--on {fingerprint!r}: not the fingerprint of a crash", hint=hint)
    data = {key: value for key, value in plain(recipe).items() if key != "controls"}
    was_good = data["good_when"]
    was_bad = {f"was-{name}" if name in was_good else name: condition for name, condition in data["bad_when"].items()}
    data["good_when"] = was_good | was_bad
    data["bad_when"] = {CONDITION: {"oops": {"vm": fingerprint}}}
    data["recipe"] = _name(recipe.recipe, fingerprint)
    data["title"] = f"{fingerprint}, met while looking for: {recipe.title or recipe.recipe}"
    turned, found = parse(data)
    if turned is None:
        text_of = "\n".join(f"{text.dotted(fault.path)}: {fault.message}" for fault in found)
        raise UsageError(f"{recipe.recipe} cannot be turned to {fingerprint!r}: {text_of}")
    return turned.place_as(recipe)


def _name(recipe: str, fingerprint: str) -> str:
    slug = re.sub("[^a-z0-9]+", "-", fingerprint.lower()).strip("-")
    return f"{recipe[: NAME // 2]}-on-{slug}"[:NAME].rstrip("-.")
