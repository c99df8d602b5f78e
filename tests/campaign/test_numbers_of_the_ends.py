# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns by a number relative to the good end: measured at the ends first, then judged as any other condition."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from acting import Act, Acted, ActedRunner, ActedSession, World

from bisector.agent.plan import Plan, Result, StepFacts
from bisector.campaign.commits import CommitCampaign
from bisector.codec import dump, load
from bisector.errors import InfraError
from bisector.interfaces import CancelToken, Listener, Runner
from bisector.model import Ending, Image, Observation, Outcome, OutcomeKind, Signal
from bisector.recipe.model import Recipe
from bisector.report import facts, text
from bisector.session import Setting
from bisector.stage import Stage
from bisector.store import CampaignRow

RECIPE = """\
recipe: slower
target: {kernel: {config: [base]}}
confidence: {max_error: 0.01}
vm: {icount: true}
storage:
  a: {disk: nvme, size: 16M}
steps:
  - load: {run: [dd, 'of={a}']}
bad_when:
  slow: {value: {load: {us: 'WANTED'}}}
good_when:
  fine: {exit: {load: 0}}
"""
GOOD = 100.0


@dataclass
class Timed(ActedRunner):
    """A kernel whose trials print a number: larger where there is the bug."""

    factor: float = 1.2
    spread: float = 0.01
    silent: float = 0.0  # chance that nothing is printed

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        if len(self.world.plans) >= self.world.fails_after:
            return Observation(Ending.HARNESS, detail="QEMU was killed by signal 9")
        self.world.plans.append(plan)
        chance = random.Random(plan.seed)
        number = GOOD * math.exp(chance.gauss(0.0, self.spread))
        number *= self.factor if "bug" in Path(image.kernel).read_text().split() else 1.0
        printed = "" if chance.random() < self.silent else f"us={number:.3f}\n"
        step = StepFacts("load", 1.0, 1.0 + (plan.steps[0].seconds or 1.0), done=True, exit=0, detail=printed)
        return Observation(Ending.FINISHED, Result(complete=True, steps=(step,)))


class TimedSession(ActedSession):
    """A session whose trials print a number."""

    def __init__(self, setting: Setting, runner: Timed) -> None:
        super().__init__(setting, runner.world)
        self._timed = runner

    def runner(self, recipe: Recipe) -> Runner:
        return self._timed


def run(
    acted: Acted, runner: Timed, wanted: str = "> 1.1 × good", recipe: str = RECIPE, **changes: object
) -> tuple[CampaignRow, Outcome]:
    setting = Setting(acted.folders, {}, lambda progress: acted.messages.append(progress.detail), 1)
    with TimedSession(setting, runner) as session:
        request = acted.request("c0", "c29", text=recipe.replace("WANTED", wanted), **changes)
        return CommitCampaign(request, session).run()


@pytest.mark.parametrize(
    ("factor", "spread", "wanted"),
    [
        (1.2, 0.01, "> 1.2 × good"),  # as a person hears it: the bad end's numbers lie on the limit
        (1.2, 0.05, "> 1.1 × good"),
        (1.08, 0.005, "> 1.05 * good"),
        (0.8, 0.01, "< 0.8 x good"),
        (2.0, 0.01, "> 1.1 × good"),
    ],
)
def test_a_slower_commit_is_found_by_its_number(act: Act, factor: float, spread: float, wanted: str) -> None:
    acted = act(30, bug=range(17, 30))
    _, outcome = run(acted, Timed(World(), factor, spread), wanted)
    assert outcome.kind is OutcomeKind.CULPRIT, outcome.summary
    assert acted.named(outcome) == {"c17"}
    (numbers,) = outcome.numbers
    assert numbers.ratio_low is not None and numbers.ratio_high is not None
    assert numbers.ratio_low < factor < numbers.ratio_high
    assert load(Outcome, dump(outcome)).numbers == outcome.numbers


def test_the_report_says_the_numbers(act: Act) -> None:
    acted = act(30, bug=range(17, 30))
    runner = Timed(World())
    row, _ = run(acted, runner)
    with TimedSession(Setting(acted.folders, {}, lambda progress: None, 1), runner) as session:
        said = " ".join(text.render(facts.gather(session.store, row)).split())
    assert "numbers load: us is 99.62 at the good end (median of 9) and 119.6 at the bad one" in said
    assert "(95 % interval 1." in said


def test_ends_that_differ_too_little_are_told_before_the_search(act: Act) -> None:
    acted = act(30, bug=range(17, 30))
    runner = Timed(World(), factor=1.02)
    _, outcome = run(acted, runner)
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert outcome.summary.startswith("the ends do not differ enough: load: us is ")
    assert "slow is > 1.1 × good" in outcome.summary
    assert len(runner.world.plans) == 18  # nine trials of either end, and no more
    assert outcome.numbers


def test_a_workload_that_was_measured_is_not_stretched(act: Act) -> None:
    acted = act(30, bug=range(17, 30))
    runner = Timed(World(), factor=1.2, spread=0.15)
    recipe = RECIPE.replace("run: [dd, 'of={a}']", "run: [dd, 'of={a}'], for: 5s")
    _, outcome = run(acted, runner, "> 1.2 × good", recipe=recipe)
    assert acted.named(outcome) == {"c17"}
    assert {plan.steps[0].seconds for plan in runner.world.plans} == {5.0}


def test_a_number_that_is_not_printed_is_no_good_trial(act: Act) -> None:
    acted = act(30, bug=range(17, 30))
    runner = Timed(World(), silent=1.0)
    _, outcome = run(acted, runner)
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert "gave load us in 0 of 18 trials: load gave no number us" in outcome.summary


def test_a_few_silent_trials_hinder_nobody(act: Act) -> None:
    acted = act(30, bug=range(17, 30))
    _, outcome = run(acted, Timed(World(), silent=0.1))
    assert acted.named(outcome) == {"c17"}


def test_a_resumed_campaign_comes_to_the_same_limit_and_repeats_no_trial(act: Act) -> None:
    acted = act(30, bug=range(17, 30))
    runner = Timed(World(fails_after=25))
    with pytest.raises(InfraError):
        run(acted, runner)
    before = [plan.seed for plan in runner.world.plans]
    runner.world.fails_after = 10**9
    row, outcome = run(acted, runner, resume=True)
    assert acted.named(outcome) == {"c17"}
    seeds = [plan.seed for plan in runner.world.plans]
    assert len(set(seeds)) == len(seeds) and len(before) == 25
    with TimedSession(Setting(acted.folders, {}, lambda progress: None, 1), runner) as session:
        sampled = [trial for trial in session.store.trials(row.id) if trial.stage == Stage.ENDS.again("numbers")]
    assert {trial.reading.signal for trial in sampled} == {Signal.CLEAN}
    assert len(sampled) == 18
