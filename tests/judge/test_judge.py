# SPDX-License-Identifier: GPL-2.0-only
"""Candidate → verdict over a target and a runner whose answers are written down; the store is the real one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bisector.agent.plan import Fault, LayerFacts, Plan, Result, Step, StepFacts
from bisector.case import Case
from bisector.causes import BuildStage, Cause, FailureCause
from bisector.errors import InfraError, Interrupted
from bisector.execute.local import LocalExecutor
from bisector.interfaces import CancelToken, Listener, ignore
from bisector.judge import Judge
from bisector.model import (
    BuildFailure,
    Candidate,
    Cell,
    Condition,
    ConsoleEvent,
    Ending,
    EventKind,
    Fact,
    FactKind,
    Image,
    Observation,
    Question,
    Signal,
    TargetKind,
    Timing,
    Verdict,
)
from bisector.series import INFRA_IN_A_ROW
from bisector.stage import Stage
from bisector.store import CampaignRow, Store
from bisector.tools import JudgeTools
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.sequential import Evidence

LEG_FAILED = Condition("series-failed", (Fact(FactKind.HEALTH, "boot", ("degraded",)),))
HEALTHY = Condition("healthy", (Fact(FactKind.HEALTH, "boot", ("healthy",)),))
CASE = Case(
    Cell(""), Plan((Step("probe", "io"),)), Question((LEG_FAILED,), (HEALTHY,)), FixedTrials(trials=2, other_cap=3)
)


def saw(health: str, seconds: float = 4.0) -> Observation:
    result = Result(
        complete=True,
        layers=(LayerFacts("boot", "/dev/x", health=health),),
        steps=(StepFacts("probe", 0, 1, done=True),),
    )
    return Observation(Ending.FINISHED, result, timing=Timing(6.0, 2.0, seconds, 12.0))


GOOD, BAD = saw("healthy"), saw("degraded")
OOPS = Observation(
    Ending.CRASH, Result(), (ConsoleEvent(1.0, "vm", EventKind.CRASH, "oops:dm_raid_status", "BUG: oops"),)
)
NEVER = CancelToken()
NO_AGENT = Observation(Ending.NO_AGENT)
BROKEN = Observation(Ending.HARNESS, detail="QEMU was killed by signal 9")
NO_TOOLS = Observation(Ending.FINISHED, Result(complete=True, fault=Fault("tools", "lvm: not found")))


@dataclass
class WrittenTarget:
    """Images by revision; a revision that starts with ``broken`` does not compile."""

    built: list[str] = field(default_factory=list)
    folder: Path = Path()

    def key(self, candidate: Candidate) -> str:
        return candidate.revision

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        self.built.append(candidate.revision)
        if candidate.revision.startswith("broken"):
            return BuildFailure(BuildStage.COMPILE, ("block/fops.c:40: error: expected ';'",))
        kernel = self.folder / candidate.revision
        kernel.write_text(candidate.revision)
        return Image(identity=candidate.revision.removesuffix("-docs"), kernel=str(kernel))


@dataclass
class WrittenRunner:
    """Answers in order per image; the last one is repeated. Boot-only plans (the control) answer ``control``."""

    answers: dict[str, list[Observation]]
    control: Observation = GOOD
    seen: list[Plan] = field(default_factory=list)

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        self.seen.append(plan)
        if not plan.steps:
            return self.control
        rest = self.answers[image.identity]
        return rest.pop(0) if len(rest) > 1 else rest[0]


Make = Callable[..., tuple[Judge, WrittenTarget, WrittenRunner, Store]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    pools: list[LocalExecutor] = []

    def build(answers: dict[str, list[Observation]], cancel: CancelToken = NEVER, **runner: object) -> object:
        store = Store(tmp_path / "state")
        if not store.campaigns():
            store.add_campaign(CampaignRow("c1", "r", "t", "", "", "good", "bad", False, "", 1.0, "running"))
        pools.append(LocalExecutor(builds=1, trials=1))
        target, written = WrittenTarget(folder=tmp_path), WrittenRunner(answers, **runner)
        tools = JudgeTools(target, written, store, "c1", pools[-1], ignore, cancel)
        return Judge(tools, control=of("good")), target, written, store

    yield build
    for pool in pools:
        pool.shutdown()


def of(revision: str) -> Candidate:
    return Candidate(TargetKind.KERNEL_SOURCE, revision)


def test_all_clean_is_good_after_the_required_number_of_trials(make: Make) -> None:
    judge, _, runner, _ = make({"good": [GOOD]})
    assert judge.ask(of("good"), CASE, "ends").verdict is Verdict.GOOD
    assert len(runner.seen) == 2


def test_one_reproduction_is_bad_at_once(make: Make) -> None:
    judge, _, runner, _ = make({"bad": [BAD]})
    judgement = judge.ask(of("bad"), CASE, "ends")
    assert (judgement.verdict, judgement.counts) == (Verdict.BAD, (1, 1))
    assert len(runner.seen) == 1


def test_other_crash_is_skip_and_never_bad(make: Make) -> None:
    judge, _, runner, _ = make({"oops": [OOPS]})
    judgement = judge.ask(of("oops"), CASE, "search")
    assert judgement.verdict is Verdict.SKIP
    assert "BUG: oops" in judgement.reason
    assert judgement.cause is Cause.OTHER_FAILURES
    assert len(runner.seen) == 3


def test_other_failure_draws_another_trial(make: Make) -> None:
    judge, *_ = make({"bad": [OOPS, BAD]})
    assert judge.ask(of("bad"), CASE, "search").verdict is Verdict.BAD


def test_failed_build_is_skip_with_its_first_error_line(make: Make) -> None:
    judge, target, runner, _ = make({})
    judgement = judge.ask(of("broken"), CASE, "search")
    assert judgement.verdict is Verdict.SKIP
    assert "expected ';'" in judgement.reason
    assert judgement.cause is Cause.NOT_BUILT
    assert not runner.seen
    judge.ask(of("broken"), CASE, "search")
    assert target.built == ["broken"]


def test_same_image_and_question_is_never_tried_twice_but_proof_is_fresh(make: Make) -> None:
    judge, _, runner, _ = make({"good": [GOOD]})
    judge.ask(of("good"), CASE, "search")
    judge.ask(of("good-docs"), CASE, "search")
    assert len(runner.seen) == 2
    judge.ask(of("good"), CASE, "proof")
    assert len(runner.seen) == 4


def test_kernel_that_does_not_boot_is_skip_once_the_control_boots(make: Make) -> None:
    judge, _, runner, _ = make({"panics": [NO_AGENT]})
    judgement = judge.ask(of("panics"), CASE, "search")
    assert judgement.verdict is Verdict.SKIP
    assert "does not boot in 2 of 2" in judgement.reason
    assert judgement.cause is Cause.NO_BOOT
    assert [bool(plan.steps) for plan in runner.seen] == [True, False, True, False]


def test_a_boot_that_fails_once_is_no_skip(make: Make) -> None:
    judge, *_ = make({"bad": [NO_AGENT, BAD]})
    assert judge.ask(of("bad"), CASE, "search").verdict is Verdict.BAD


@pytest.mark.parametrize("broken", [BROKEN, NO_TOOLS])
def test_infra_is_drawn_again_and_is_neither_good_nor_bad(make: Make, broken: Observation) -> None:
    judge, _, runner, store = make({"good": [broken, GOOD, broken, GOOD]})
    assert judge.ask(of("good"), CASE, "ends").counts == (0, 2)
    assert len(runner.seen) == 4
    assert [t.reading.signal for t in store.trials("c1")].count(Signal.INFRA) == 2


def test_a_candidate_at_which_the_harness_always_fails_is_skipped_where_it_works_elsewhere(make: Make) -> None:
    judge, _, runner, store = make({"good": [GOOD], "bad": [BROKEN]})
    judge.ask(of("good"), CASE, "ends")
    judgement = judge.ask(of("bad"), CASE, "search")
    assert judgement.verdict is Verdict.SKIP
    assert judgement.reason == "5 of 5 trials failed in the harness, 0 of 2 elsewhere: QEMU was killed by signal 9"
    assert (judgement.trials, judgement.harness_failures, judgement.cause) == ((), 5, Cause.HARNESS)
    assert [trial.stage for trial in store.trials("c1")].count(Stage.CHECK) == 1
    assert len(runner.seen) == 2 + 5 + 1


def test_failures_beside_clean_trials_are_no_good_verdict(make: Make) -> None:
    judge, *_ = make({"good": [GOOD], "bad": [BROKEN, BROKEN, GOOD] * 40})
    judge.ask(of("good"), replace(CASE, rule=FixedTrials(20, 3)), "ends")
    judgement = judge.ask(of("bad"), CASE, "search")
    assert judgement.verdict is Verdict.SKIP
    assert "0 of 20 elsewhere: they may hide the bug" in judgement.reason


def test_failures_of_a_broken_host_are_no_candidates_however_often_it_is_resumed(make: Make) -> None:
    judge, *_ = make({"good": [GOOD]})
    judge.ask(of("good"), CASE, "ends")
    for _ in range(3):
        broken, *_ = make({"good": [BROKEN], "bad": [BROKEN]})
        with pytest.raises(InfraError, match="and so did one of good"):
            broken.ask(of("bad"), CASE, "search")
    repaired, *_ = make({"good": [GOOD], "bad": [GOOD]})
    judgement = repaired.ask(of("bad"), CASE, "search")
    assert (judgement.verdict, judgement.harness_failures) == (Verdict.GOOD, 0)


def test_a_host_that_breaks_later_takes_no_failure_of_an_earlier_candidate_away(make: Make) -> None:
    """A check beside the candidate had passed: its failures are its own. What is left of its trials was good."""
    judge, *_ = make({"good": [GOOD], "bad": [BROKEN], "between": [GOOD]})
    judge.ask(of("good"), CASE, "ends")
    first = judge.ask(of("bad"), CASE, "search")
    assert (first.verdict, first.harness_failures) == (Verdict.SKIP, 5)
    assert judge.ask(of("between"), CASE, "search").verdict is Verdict.GOOD
    broken, *_ = make({"good": [BROKEN], "other": [BROKEN]})
    with pytest.raises(InfraError, match="and so did one of good"):
        broken.ask(of("other"), CASE, "search")
    repaired, _, runner, _ = make({"bad": [GOOD], "other": [GOOD]})
    again = repaired.ask(of("bad"), CASE, "search")
    assert (again.verdict, again.harness_failures, runner.seen) == (Verdict.SKIP, 5, [])
    assert repaired.ask(of("other"), CASE, "search").harness_failures == 0


@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize("host", [BROKEN, GOOD])
def test_a_kill_before_the_check_of_the_host_leaves_it_to_be_made_up_for(
    make: Make, monkeypatch: pytest.MonkeyPatch, host: Observation, in_turns: bool
) -> None:
    """Else failures of a broken host stayed the candidate's."""
    judge, *_ = make({"good": [GOOD], "bad": [BROKEN]})
    judge.ask(of("good"), CASE, "ends")
    monkeypatch.setattr(judge, "check_harness", lambda *given: (_ for _ in ()).throw(Interrupted("killed")))
    with pytest.raises(Interrupted):
        judge.ask(of("bad"), CASE, "search")
    again, *_, store = make({"good": [host], "bad": [GOOD]})
    series = again.series(of("bad"), CASE, "search", in_turns=in_turns)
    if host is BROKEN:
        with pytest.raises(InfraError, match="and so did one of good"):
            for _ in range(4):
                series.draw()
        assert again.series(of("bad"), CASE, "search").evidence == Evidence()
    else:
        for _ in range(4):
            series.draw()
        assert series.evidence.infra == 3
    assert [trial.stage for trial in store.trials("c1")].count(Stage.CHECK) == 1


def test_failures_that_no_other_candidate_can_be_held_against_are_repeated_at_will(make: Make) -> None:
    judge, *_ = make({"good": [BROKEN]})
    with pytest.raises(InfraError):
        judge.ask(of("good"), CASE, "ends")
    again, *_ = make({"good": [GOOD]})
    assert again.ask(of("good"), CASE, "ends").verdict in (Verdict.GOOD, Verdict.SKIP)


def test_a_resumed_judge_counts_the_failures_that_are_stored(make: Make) -> None:
    judge, *_ = make({"good": [GOOD], "bad": [BROKEN, BROKEN, BROKEN, GOOD]})
    judge.ask(of("good"), replace(CASE, rule=FixedTrials(9, 3)), "ends")
    series = judge.series(of("bad"), CASE, "search")
    for _ in range(4):
        series.draw()
    again, *_ = make({"bad": [BROKEN]})
    resumed = again.series(of("bad"), CASE, "search", in_turns=True)
    assert resumed.take(9) == 4
    assert resumed.evidence == series.evidence == Evidence(clean=1, infra=3)


def test_a_resumed_judge_takes_no_more_trials_than_it_had_when_it_judged_first(make: Make) -> None:
    warier = replace(CASE, rule=FixedTrials(5, 3))
    judge, *_ = make({"good": [GOOD]})
    first, second = judge.ask(of("good"), CASE, "search"), judge.ask(of("good"), warier, "search")
    again, _, runner, _ = make({"good": [BAD]})
    assert again.ask(of("good"), CASE, "search").trials == first.trials
    assert again.ask(of("good"), warier, "search").trials == second.trials
    assert (len(first.trials), len(second.trials), runner.seen) == (2, 5, [])


def test_failures_elsewhere_are_those_before_the_last_trial_that_was_taken(make: Make) -> None:
    judge, *_ = make({"good": [GOOD], "bad": [BROKEN, BROKEN, GOOD] * 40})
    judge.ask(of("good"), replace(CASE, rule=FixedTrials(20, 3)), "ends")
    judgement = judge.ask(of("bad"), CASE, "search")
    judge.ask(of("good"), replace(CASE, rule=FixedTrials(9, 3)), "proof")
    again, *_ = make({"good": [GOOD], "bad": [GOOD]})
    assert again.ask(of("bad"), CASE, "search").reason == judgement.reason


def test_infra_in_a_row_ends_with_no_verdict(make: Make) -> None:
    judge, _, runner, store = make({"good": [BROKEN]})
    with pytest.raises(InfraError, match="killed by signal 9"):
        judge.ask(of("good"), CASE, "ends")
    assert len(runner.seen) == INFRA_IN_A_ROW
    assert not store.judgements("c1")


def test_a_resumed_campaign_repeats_no_trial_and_no_build(make: Make) -> None:
    judge, *_ = make({"good": [GOOD]})
    judge.ask(of("good"), CASE, "ends")
    again, target, runner, _ = make({"good": [GOOD]})
    assert again.ask(of("good"), CASE, "ends").verdict is Verdict.GOOD
    assert (target.built, runner.seen) == ([], [])


def test_a_resumed_campaign_builds_again_what_was_only_lacking_something_here(make: Make) -> None:
    _, _, _, store = make({"late": [GOOD]})
    for cause, builds in ((FailureCause.SOURCE, []), (FailureCause.LACKING, ["late"])):
        store.add_build("c1", "late", of("late"), BuildFailure(BuildStage.CONFIG, ("no meson",), cause=cause))
        again, target, *_ = make({"late": [GOOD]})
        again.image(of("late"))
        assert target.built == builds


def test_deadline_is_scaled_from_clean_trials(make: Make) -> None:
    slow = saw("healthy", seconds=10.0)
    judge, _, runner, _ = make({"good": [slow]})
    judge.ask(of("good"), CASE, "ends")
    assert [plan.deadline for plan in runner.seen] == [120.0, 60.0]


def test_cancelled_before_a_trial_stores_nothing(make: Make, tmp_path: Path) -> None:
    token = CancelToken(str(tmp_path / "cancel"))
    judge, _, runner, _ = make({"good": [GOOD]}, cancel=token)
    token.cancel()
    with pytest.raises(Interrupted):
        judge.ask(of("good"), CASE, "ends")
    assert not runner.seen


def test_seeds_differ_between_trials(make: Make) -> None:
    judge, _, runner, _ = make({"good": [GOOD]})
    judge.ask(of("good"), CASE, "ends")
    judge.ask(of("good"), CASE, "proof")
    seeds = [plan.seed for plan in runner.seen]
    assert len(set(seeds)) == 4
