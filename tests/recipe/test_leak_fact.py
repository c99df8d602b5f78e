# SPDX-License-Identifier: GPL-2.0-only
"""``leak: {vm: REGEX}``: in the grammar, in the plan and the config, and how a trial is searched for it."""

from __future__ import annotations

from typing import Any

import pytest

from bisector.agent.plan import LEAK, LEAKS_SOUGHT, AgentEvent, Plan, Result
from bisector.codec import dump
from bisector.errors import UsageError
from bisector.model import Cell, Ending, Fact, FactKind, Observation
from bisector.recipe.facts.table import ROWS
from bisector.recipe.parse import parse
from bisector.recipe.plan import added_fragments, plan_for
from bisector.recipe.text import Fault
from bisector.targets import subject_of


def parsed(leak: Any, **more: Any) -> tuple[Any, tuple[Fault, ...]]:
    return parse(
        {
            "recipe": "leaky",
            "target": {"kernel": {"config": ["base"]}},
            "steps": [{"try": {"run": ["true"]}}],
            "bad_when": {"b": {"leak": leak} if leak else {"exit": {"try": 1}}},
            "good_when": {"g": {"exit": {"try": 0}}},
            **more,
        }
    )


def test_it_is_looked_for_only_where_a_condition_asks_and_old_plans_keep_their_identity() -> None:
    plain, asking = (parsed(leak)[0] for leak in (None, {"vm": True}))
    assert plan_for(asking, Cell("plain")).leaks and not plan_for(plain, Cell("plain")).leaks
    assert plan_for(asking, Cell("plain")).append == ("kmemleak=on",)
    assert plan_for(asking, Cell("plain")).deadline > plan_for(plain, Cell("plain")).deadline
    assert (added_fragments(asking, [Cell("x")]), added_fragments(plain, [Cell("x")])) == (("kmemleak",), ())
    assert '"leaks"' not in dump(Plan(steps=()))


def test_no_packaged_kernel_is_tried() -> None:
    plain, asking = (subject_of(parsed(leak)[0]) for leak in (None, {"vm": True}))
    assert plain.has_releases and not asking.has_releases
    plain.check_package()
    with pytest.raises(UsageError, match="packaged kernels are built without what looks for them"):
        asking.check_package()


@pytest.mark.parametrize(
    ("leak", "more", "said"),
    [
        ({"guest": True}, {}, "'guest' is not known (allowed: vm)"),
        ({"vm": "("}, {}, "does not compile"),
        ({"vm": True}, {"target": {"qemu": {"build": ["qemu-img"]}}, "vm": "none"}, "there is no VM"),
    ],
)
def test_what_is_wrong_is_said(leak: Any, more: dict[str, Any], said: str) -> None:
    _, faults = parsed(leak, **more)
    assert [fault for fault in faults if said in fault.message], faults


def test_a_workload_that_only_leaked_nothing_is_not_good() -> None:
    _, faults = parsed({"vm": True}, good_when={"g": {"leak": {"vm": {"not": True}}}})
    assert [fault for fault in faults if "a workload that did nothing would be good" in fault.message], faults


def seen(value: str, *events: AgentEvent) -> bool | None:
    observation = Observation(Ending.FINISHED, Result(events=events))
    return ROWS[FactKind.LEAK].evaluate(Fact(FactKind.LEAK, "vm", (value,)), observation).seen


def test_a_trial_shows_it_where_it_was_looked_for() -> None:
    place = AgentEvent(9.0, "agent", LEAK, "r1bio_pool_alloc < raid1_write_request (3 of 4096 bytes)")
    looked = AgentEvent(9.0, "agent", LEAKS_SOUGHT, "1")
    assert [seen(value, place, looked) for value in ("true", "raid1_write", "raid5")] == [True, True, False]
    assert [seen("true", AgentEvent(9.0, "agent", LEAKS_SOUGHT, "0")), seen("true")] == [False, None]


def test_a_place_that_is_not_among_those_reported_may_be_the_one() -> None:
    place = AgentEvent(9.0, "agent", LEAK, "r1bio_pool_alloc (3 of 4096 bytes)")
    fact = Fact(FactKind.LEAK, "vm", ("raid5",))
    observation = Observation(Ending.FINISHED, Result(events=(place, AgentEvent(9.0, "agent", LEAKS_SOUGHT, "101"))))
    found = ROWS[FactKind.LEAK].evaluate(fact, observation)
    assert (found.seen, found.lost) == (None, True)
