# SPDX-License-Identifier: GPL-2.0-only
"""Another crash that a campaign met: listed with the command that opens a campaign on it, and that campaign."""

from __future__ import annotations

import shlex

import pytest
from acting import FUNCTIONS, RECIPE, Act, World, crash

from bisector.errors import UsageError
from bisector.model import OutcomeKind, Signal
from bisector.recipe.another import CONDITION, on_failure
from bisector.recipe.load import loads
from bisector.recipe.plan import question_for
from bisector.recipe.resolve import resolved_yaml
from bisector.report import facts, text
from bisector.store import Store
from bisector.verdict.signature import read

FINGERPRINT = f"oops: {FUNCTIONS}"
PLAIN = loads(RECIPE.replace("LASTING", "count: 1"), "plain.yaml")


def test_a_recipe_is_turned_to_another_failure() -> None:
    turned = on_failure(PLAIN, FINGERPRINT)
    assert turned.recipe == "acted-on-oops-raid1-read-request"
    assert read(crash(), question_for(turned)).condition == CONDITION
    assert read(crash(), question_for(PLAIN)).signal is Signal.OTHER_FAILURE
    other = on_failure(PLAIN, "oops: md_handle_request")
    assert read(crash(), question_for(other)).signal is Signal.OTHER_FAILURE
    assert set(turned.good_when) == {"healthy", "leg-failed"}  # what was bad runs without that crash
    assert loads(resolved_yaml(turned), "again.yaml") == turned


def test_what_is_no_crash_is_refused() -> None:
    with pytest.raises(UsageError, match="not the fingerprint of a crash"):
        on_failure(PLAIN, "neither bad nor good: load: exit 1")


def test_the_report_gives_the_command_and_the_command_finds_who_brought_it(act: Act) -> None:
    """c3 brings the bug looked for; c4 brings a crash of some trials, which the report lists."""
    acted = act(9, World(rate=0.8), bug=range(3, 9), oopses=range(4, 9))
    row, first = acted.run("c0", "c8")
    assert first.kind in (OutcomeKind.CULPRIT, OutcomeKind.NARROWED)
    assert "c3" in acted.named(first)
    store = Store(acted.folders.state)
    gathered = facts.gather(store, store.campaign(row.id))
    store.close()
    (other,) = [each for each in gathered.others if each.fingerprint == FINGERPRINT]
    assert f"--on '{FINGERPRINT}'" in other.command
    assert "--on" in text.render(gathered)
    words = shlex.split(other.command)
    bad = acted.planted.name[next(oid for oid in acted.planted.name if oid.startswith(words[words.index("--bad") + 1]))]
    turned = on_failure(acted.request("c0", bad).recipe, words[words.index("--on") + 1])
    _, outcome = acted.run("c0", bad, recipe=turned, source=resolved_yaml(turned))
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c4"}
    assert acted.planted.oid["c0"].startswith(words[words.index("--good") + 1])
