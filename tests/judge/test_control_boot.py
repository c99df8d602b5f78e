# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that does not boot, held against one that does; and a kill between the two boots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from test_judge import BAD, CASE, GOOD, NO_AGENT, Make, WrittenRunner, make, of

from bisector.agent.plan import Plan
from bisector.errors import InfraError
from bisector.interfaces import CancelToken, Listener
from bisector.judge import Judge
from bisector.model import Candidate, Edit, Image, Observation, Signal, Verdict

__all__ = ["make"]
APPLIED = Edit("apply", "c" * 40)


class Killed(BaseException):
    """What a kill -9 is to the code that it hits: nothing after it runs."""


@dataclass
class KilledAtControl(WrittenRunner):
    """Dies in the boot of the control, so many times."""

    kills: int = 1

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        if not plan.steps and self.kills:
            self.kills -= 1
            raise Killed
        return super().run(image, plan, folder, listener=listener, cancel=cancel)


def panicking(judge: Judge) -> Candidate:
    """The good end with an edit with which it does not boot."""
    edited = replace(of("good"), edits=(APPLIED,))
    image = judge.image(of("good"))
    judge.tools.target.key = lambda each: each.revision + "-edited" * bool(each.edits)  # type: ignore[method-assign]
    real = judge.tools.target.image
    judge.tools.target.image = lambda each, **how: (  # type: ignore[method-assign]
        replace(image, identity="panics") if each.edits else real(each, **how)
    )
    return edited


def test_the_good_end_with_an_edit_that_does_not_boot_is_held_against_the_good_end(make: Make) -> None:
    judge, *_ = make({"panics": [NO_AGENT], "good": [GOOD]})
    judgement = judge.ask(panicking(judge), CASE, "proof")
    assert judgement.verdict is Verdict.SKIP
    assert "does not boot in 2 of 2" in judgement.reason


def test_an_edit_that_leaves_the_image_as_it_is_has_no_control(make: Make) -> None:
    judge, _, runner, _ = make({"good": [NO_AGENT]})
    with pytest.raises(InfraError, match="no kernel is known to boot here"):
        judge.ask(replace(of("good"), edits=(APPLIED,)), CASE, "proof")
    assert len(runner.seen) == 1


def test_a_trial_beside_which_the_control_did_not_boot_is_the_harness_s(make: Make) -> None:
    judge, _, _, store = make({"panics": [NO_AGENT]}, control=NO_AGENT)
    with pytest.raises(InfraError, match="nor does that of the good end"):
        judge.ask(of("panics"), CASE, "search")
    (trial,) = store.trials("c1")
    assert (trial.reading.signal, trial.reading.awaits_control) == (Signal.INFRA, False)


def test_a_kill_in_the_control_boot_loses_no_trial(make: Make) -> None:
    judge, _, runner, store = make({"panics": [NO_AGENT]})
    dying = KilledAtControl(runner.answers, kills=2)
    judge = Judge(replace(judge.tools, runner=dying), judge.control)
    for _ in range(2):
        with pytest.raises(Killed):
            judge.ask(of("panics"), CASE, "search")
        (trial,) = store.trials("c1")
        assert trial.reading.awaits_control
        assert trial.reading.signal is Signal.INFRA  # no evidence yet
    judgement = judge.ask(of("panics"), CASE, "search")
    assert "does not boot in 2 of 2" in judgement.reason
    assert [bool(plan.steps) for plan in dying.seen] == [True, False, True, False]
    assert [trial.reading.awaits_control for trial in store.trials("c1")] == [False, False]


def test_a_boot_after_a_kill_in_the_control_boot_is_counted_in_order(make: Make) -> None:
    judge, _, runner, store = make({"bad": [NO_AGENT, BAD]})
    dying = KilledAtControl(runner.answers)
    judge = Judge(replace(judge.tools, runner=dying), judge.control)
    with pytest.raises(Killed):
        judge.ask(of("bad"), CASE, "search")
    judgement = judge.ask(of("bad"), CASE, "search")
    assert judgement.verdict is Verdict.BAD
    assert [trial.reading.signal for trial in store.trials("c1")] == [Signal.OTHER_FAILURE, Signal.REPRODUCED]


def test_a_good_end_that_does_not_boot_is_held_against_the_bad_one(make: Make) -> None:
    judge, _, runner, _ = make({"good": [NO_AGENT], "bad": [BAD]})
    judge.second = of("bad")
    judgement = judge.ask(of("good"), CASE, "ends")
    assert judgement.verdict is Verdict.SKIP
    assert "the bad end's image boots here" in judgement.reason
    assert [bool(plan.steps) for plan in runner.seen] == [True, False, True, False]
