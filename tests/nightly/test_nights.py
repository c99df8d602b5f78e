# SPDX-License-Identifier: GPL-2.0-only
"""Single nights in trouble: killed, out of time, out of luck, with a source that misbehaves."""

import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nextgen import LinuxNext
from nightbench import Nights, kinds

from bisector.agent.plan import dump
from bisector.campaign import NOT_SEARCHED
from bisector.errors import InfraError, Interrupted, UsageError
from bisector.exitcodes import ExitCode
from bisector.model import Verdict
from bisector.nightly import night
from bisector.nightly.memory import State, Where
from bisector.seams import Progress
from bisector.search.locks import locked
from bisector.store import Store

LEG, ESCAPED, PROGRAM = "legs-leg-failed", "legs-escaped", "program-failed"
FLAG = {"flags/leg": "check less\n"}
UNSURE = "confidence: {max_error: 0.01}"
TRIALS = 15  # of a night with one bug: one on the day, two on its base, and a campaign of five steps with its proof
WRITES = [("save_night", 2), ("save_regression", 1), ("save_regression", 2), ("finish", 1), ("save_regression", 3)]


@pytest.fixture
def tree(tmp_path: Path) -> LinuxNext:
    return LinuxNext.make(tmp_path / "linux-next.git")


@pytest.fixture
def nights(tmp_path: Path, tree: LinuxNext) -> Nights:
    return Nights(tmp_path, tree.folder, recipes="[./legs.yaml]")


def day(tree: LinuxNext, number: int, happens: Callable[[], object] = lambda: None) -> None:
    tree.day(number)
    happens()
    tree.branch_commit("md", f"more of night {number}")
    tree.release(number)


def with_bug(tree: LinuxNext, number: int) -> None:
    day(tree, number, lambda: tree.branch_commit("md", "check less", FLAG))


# ---- nothing to do, killed, out of time


def test_without_a_new_tag_nothing_is_run_and_the_exit_code_is_0(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    assert nights.night().exit_code is ExitCode.BAD
    assert nights.world.trials == TRIALS
    trials, campaigns = nights.world.trials, len(nights.store().campaigns())
    report = nights.night()
    assert report.nothing
    assert report.exit_code is ExitCode.OK
    assert (nights.world.trials, len(nights.store().campaigns())) == (trials, campaigns)


def killed_night(nights: Nights, arm: Callable[[Callable[[int], None]], None]) -> None:
    """A night in a process of its own that ends by kill -9. ``arm``: is given what kills, by number."""
    child = os.fork()
    if not child:
        try:
            arm(lambda number: os.kill(os.getpid(), signal.SIGKILL))
            nights.night()
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("trial", [1, 4, 9, TRIALS])
def test_a_killed_night_goes_on_where_it_was(tree: LinuxNext, nights: Nights, trial: int) -> None:
    """Nothing that was tried is tried again, and what comes of it is the same."""
    with_bug(tree, 1)

    def arm(kill: Callable[[int], None]) -> None:
        nights.world.on_trial = lambda number: kill(number) if number == trial else None

    killed_night(nights, arm)
    assert nights.night().exit_code is ExitCode.BAD
    assert nights.world.trials == TRIALS - (trial - 1)
    _is_whole(tree, nights)


@pytest.mark.parametrize("place", WRITES)
def test_a_night_killed_between_two_trials_is_whole_too(
    tree: LinuxNext, nights: Nights, monkeypatch: pytest.MonkeyPatch, place: tuple[str, int]
) -> None:
    """What the store was told last is all that is known: before a verdict, after an outcome, between two notes."""
    with_bug(tree, 1)
    method, count = place

    def arm(kill: Callable[[int], None]) -> None:
        seen = 0
        real = getattr(Store, method)

        def counted(*words: object, **more: object) -> object:
            nonlocal seen
            seen += 1
            done = real(*words, **more)
            if seen == count:
                kill(seen)
            return done

        monkeypatch.setattr(Store, method, counted)

    killed_night(nights, arm)
    assert nights.night().exit_code is ExitCode.BAD
    assert nights.world.trials <= TRIALS
    _is_whole(tree, nights)


def _is_whole(tree: LinuxNext, nights: Nights) -> None:
    found = nights.regressions()
    assert set(found) == {LEG}
    assert found[LEG].culprit is not None
    assert tree.nodes[found[LEG].culprit.oid].subject == "md: check less"
    assert len(nights.searches()) == 1
    assert nights.drafts() == [LEG]
    assert nights.night().nothing


def test_a_night_out_of_time_stops_and_the_next_call_goes_on(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.clock = lambda: 60.0 * nights.world.trials
    nights.budget = "5m"
    first = nights.night()
    assert first.night.state is State.STOPPED
    assert "budget" in first.night.stopped
    assert first.exit_code is ExitCode.BAD  # it is new, whether its culprit is known or not
    assert nights.world.trials <= 6
    assert "not done" in (nights.out / "next-20261101/summary.txt").read_text()
    calls, report = 1, first
    while report.night.state is not State.DONE:
        calls, report = calls + 1, nights.night()
        assert calls < 20
    assert kinds(report) == {LEG: ["opened", "named"]}
    found = nights.regressions()[LEG]
    assert found.culprit is not None
    assert found.culprit.subject == "md: check less"
    assert len(nights.searches()) == 1
    assert nights.night().nothing


def test_a_search_goes_on_between_the_days_it_began_with(tree: LinuxNext, nights: Nights) -> None:
    """A new day comes before the search has ended: its pinned ends are still there, and it ends between them."""
    with_bug(tree, 1)
    nights.clock = lambda: 60.0 * nights.world.trials
    nights.budget = "9m"
    assert nights.night().night.state is State.STOPPED
    search = nights.regressions()[LEG].search
    assert search is not None
    tree.rebase("md")
    day(tree, 2)
    nights.clock, nights.budget = None, "8h"
    report = nights.night()
    assert kinds(report) == {LEG: ["still", "named", "rebased"]}
    first = nights.searches()[0]
    assert (first.good, first.bad) == (search.good, search.bad)
    assert nights.drafts() == [LEG]


def test_a_second_night_at_the_same_time_is_refused(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    lock = nights.setting.folders.state / "nightly/watched/lock"
    with locked(lock), pytest.raises(InfraError, match="at work in another process"):
        nights.night()
    assert nights.world.trials == 0


def test_a_stopped_night_is_130_and_keeps_its_state(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    with nights.bench() as bench:
        nights.world.on_trial = lambda number: bench.cancel.cancel() if number == 4 else None
        with pytest.raises(Interrupted) as caught:
            night.run(nights.watch(), bench)
    assert caught.value.exit_code is ExitCode.INTERRUPTED
    nights.world.on_trial = lambda number: None
    assert nights.night().exit_code is ExitCode.BAD


def test_a_failing_harness_is_3_and_no_verdict(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.world.fail_after = 0
    report = nights.night()
    assert report.exit_code is ExitCode.INFRA
    assert "signal 9" in report.night.troubles[0]
    assert not report.night.answers
    assert not nights.regressions()
    nights.world.fail_after = 10**9
    assert nights.night().exit_code is ExitCode.BAD


# ---- a source that misbehaves


def test_a_tag_that_names_no_base_is_left_out(tree: LinuxNext, nights: Nights) -> None:
    tree.day(1)
    tree.release(1, sha1s=False)
    with pytest.raises(InfraError, match="has no Next/SHA1s"):
        nights.night()
    assert nights.world.trials == 0
    day(tree, 2)
    assert nights.night().exit_code is ExitCode.OK


def test_a_tag_that_was_moved_is_a_night_of_its_own(tree: LinuxNext, nights: Nights) -> None:
    day(tree, 1)
    first = nights.night()
    tree.branch_commit("md", "check less", FLAG)
    tree.release(1)
    second = nights.night()
    assert not second.nothing
    assert second.exit_code is ExitCode.BAD
    assert second.night.moved_from == first.night.next
    assert "the tag was moved" in (nights.out / second.night.name / "summary.txt").read_text()
    assert second.night.name != first.night.name
    assert nights.night().nothing


def test_a_source_without_days_is_a_usage_error(tmp_path: Path) -> None:
    empty = LinuxNext.make(tmp_path / "linux.git")
    empty.git("tag", "next-20261399", empty.mainline)  # no such day
    empty.git("tag", "next-20261101-fixed", empty.mainline)
    with pytest.raises(UsageError, match="no tag next-YYYYMMDD"):
        Nights(tmp_path / "n", empty.folder, recipes="[./legs.yaml]").night()


def test_a_day_that_cannot_be_built_says_so_and_opens_nothing(tree: LinuxNext, nights: Nights) -> None:
    day(tree, 1, lambda: tree.branch_commit("fs", "half a change", {"flags/unbuildable": "x\n"}))
    report = nights.night()
    assert report.exit_code is ExitCode.OK
    assert "cannot be judged legs" in (nights.out / "next-20261101/summary.txt").read_text()
    assert not nights.regressions()


# ---- whose it is


def test_mainlines_bug_on_the_first_night_is_searched_from_the_last_release(tree: LinuxNext, nights: Nights) -> None:
    culprit = tree.mainline_commit("md: check less", FLAG)
    tree.mainline_commit("mainline: later")
    day(tree, 1)
    report = nights.night()
    assert kinds(report) == {LEG: ["opened", "named"]}
    assert nights.culprits() == [culprit]
    assert nights.searches()[0].good == tree.git("rev-parse", "v6.18^{commit}")
    assert nights.regressions()[LEG].where is Where.MAINLINE


def test_a_base_that_looked_good_by_luck_is_found_out_by_the_ends(tree: LinuxNext, nights: Nights) -> None:
    """Two trials of the base are clean by chance. The campaign tries its ends for sure, and begins further back."""
    nights.how_sure = UNSURE
    culprit = tree.mainline_commit("md: check less", FLAG)
    tree.mainline_commit("mainline: later")
    day(tree, 1)

    def lucky(number: int) -> None:
        if number == 2:
            nights.world.silent = 2

    nights.world.on_trial = lucky
    report = nights.night()
    assert [each.verdict for each in report.night.answers] == [Verdict.BAD, Verdict.GOOD]
    assert kinds(report) == {LEG: ["opened", "named"]}
    assert nights.culprits() == ["ends_alike", culprit]
    assert nights.regressions()[LEG].where is Where.MAINLINE
    assert nights.drafts() == [LEG]


def test_a_verdict_is_carried_over_by_the_identical_candidate_alone(tree: LinuxNext, nights: Nights) -> None:
    """Mainline stands still over a weekend; when the bug is there again, its base has answered already."""
    with_bug(tree, 1)
    nights.night()
    tree.branch_commit("md", "check again", {"flags/leg": None})
    tree.release(2)
    assert kinds(nights.night()) == {LEG: ["fixed"]}
    tree.branch_commit("md", "check less once more", FLAG)
    tree.release(3)
    report = nights.night()
    assert report.night.next != report.night.base
    asked = [each for each in report.night.answers if each.role == "base"]
    assert [(each.asked, each.carried) for each in asked] == [("leg-failed", "next-20261101")]


# ---- one bug, two bugs


def test_another_condition_on_a_later_day_is_a_second_campaign(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.night()
    tree.branch_commit("md", "check again", {"flags/leg": None})
    day(tree, 2, lambda: tree.branch_commit("fs", "return it", {"flags/escaped": "x\n"}))
    report = nights.night()
    assert report.exit_code is ExitCode.BAD
    told = kinds(report)
    assert told == {ESCAPED: ["opened", "named"], LEG: ["unknown"]}  # what escapes is neither healthy nor this bug
    assert set(nights.regressions()) == {LEG, ESCAPED}
    assert nights.drafts() == [ESCAPED, LEG]


def test_two_recipes_that_find_one_commit_are_one_bug(tree: LinuxNext, nights: Nights) -> None:
    nights.recipes = "[./legs.yaml, ./program.yaml]"
    day(tree, 1, lambda: tree.branch_commit("md", "check less", FLAG | {"flags/program": "x\n"}))
    report = nights.night()
    assert kinds(report)[PROGRAM] == ["opened", "same"]
    assert nights.regressions()[PROGRAM].same_as == LEG
    assert nights.drafts() == [LEG]


def test_a_regression_that_comes_back_is_the_old_one(tree: LinuxNext, nights: Nights) -> None:
    """The branch was dropped for a day: the suspect is proven at once, and nobody is written to again."""
    with_bug(tree, 1)
    nights.night()
    kept, tree.branches["md"] = tree.branches["md"], []
    tree.forks["md"] = tree.mainline
    tree.day(2)
    tree.release(2)
    assert kinds(nights.night()) == {LEG: ["fixed"]}
    tree.branches["md"] = kept
    tree.rebase("md")
    day(tree, 3)
    report = nights.night()
    assert report.exit_code is ExitCode.BAD
    assert kinds(report)[LEG] == ["back"]
    assert nights.regressions()[LEG].state is State.OPEN
    assert len(nights.searched()) == 1
    assert nights.drafts() == [LEG]


def test_a_reworked_commit_is_recognised_by_its_subject(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.night()
    tree.rebase("md", {"md: check less": "and something else\n"})
    day(tree, 2)
    assert kinds(nights.night()) == {LEG: ["still", "rebased"]}
    assert len(nights.searched()) == 1


def test_a_suspect_that_is_innocent_leads_to_a_search(tree: LinuxNext, nights: Nights) -> None:
    """The commit lost its fault when it was reworked, and another commit does the same harm now."""
    with_bug(tree, 1)
    nights.night()
    innocent = [oid for oid in tree.branches["md"] if tree.nodes[oid].subject != "md: check less"]
    tree.branches["md"] = []
    tree.forks["md"] = tree.mainline
    tree.branch_commit("md", "check less")
    culprit = tree.branch_commit("fs", "check nothing", FLAG)
    assert innocent
    day(tree, 2)
    report = nights.night()
    assert kinds(report) == {LEG: ["still", "changed"]}
    assert report.exit_code is ExitCode.BAD
    assert nights.culprits()[-1] == culprit
    assert len(nights.searched()) == 2
    assert nights.drafts() == [LEG]
    assert "check nothing" in (nights.out / "drafts" / LEG / "0-report.eml").read_text()


# ---- flaky bugs


def test_a_flaky_bug_is_not_called_fixed_after_one_clean_night(tree: LinuxNext, nights: Nights) -> None:
    nights.how_sure, nights.world.rate = UNSURE, 0.5
    with_bug(tree, 1)
    while LEG not in nights.regressions():  # two clean trials at rate 1/2: one night in four does not see it
        nights.night()
        day(tree, 1 + len(nights.store().nights("watched")))
    nights.night()
    assert nights.regressions()[LEG].culprit is not None
    number = 1 + len(nights.store().nights("watched"))
    nights.world.silent = 2  # a night of two trials would see nothing
    day(tree, number)
    assert kinds(nights.night()) == {LEG: ["still"]}
    day(tree, number + 1, lambda: tree.branch_commit("md", "check again", {"flags/leg": None}))
    report = nights.night()
    assert kinds(report) == {LEG: ["fixed"]}
    clean = next(each for each in report.night.answers if each.role == "next")
    assert clean.told >= 8  # 0.5 ** 8 is 0.4 %


def test_a_rebased_suspect_is_proven_to_the_error_that_the_recipe_allows(tree: LinuxNext, nights: Nights) -> None:
    nights.how_sure = UNSURE
    with_bug(tree, 1)
    nights.night()
    tree.rebase("md")
    day(tree, 2)
    assert kinds(nights.night()) == {LEG: ["still", "rebased"]}
    outcome = nights.searches()[-1].outcome
    assert outcome is not None
    assert NOT_SEARCHED in outcome.assumptions
    told = re.search(r"chance of error below ([0-9.]+) %", outcome.summary)
    assert told
    assert float(told[1]) <= 1.0
    fresh = sum(judged.counts[1] for judged in outcome.proof if not judged.candidate.edits)
    searched = nights.searches()[0].outcome
    assert searched is not None
    assert fresh > sum(judged.counts[1] for judged in searched.proof if not judged.candidate.edits)


def test_a_clean_row_that_is_too_short_closes_nothing(tree: LinuxNext, nights: Nights) -> None:
    """One reproduction is all that is known of the rate: clean nights add up until they say enough."""
    nights.how_sure = UNSURE
    with_bug(tree, 1)
    nights.clock, nights.budget = lambda: 60.0 * nights.world.trials, "2m"
    nights.night()  # seen, and out of time before anything was searched
    assert nights.regressions()[LEG].culprit is None
    nights.clock, nights.budget = None, "8h"
    tree.branches["md"] = []
    tree.forks["md"] = tree.mainline
    tree.day(2)
    tree.release(2)
    with nights.bench() as bench:
        bench.store.save_regression("watched", LEG, _without_search(nights))
    report = nights.night()
    assert kinds(report) == {LEG: ["unknown"]}
    assert nights.regressions()[LEG].state is State.OPEN


def _without_search(nights: Nights) -> str:
    return dump(replace(nights.regressions()[LEG], search=None))


def test_what_is_told_meanwhile_is_told(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    told: list[Progress] = []
    with nights.bench() as bench:
        bench.setting = replace(bench.setting, listener=told.append)
        night.run(nights.watch(), bench)
    stages = [each.detail for each in told if each.phase == "stage"]
    assert stages[1] == "Fetching next-20261101"
    assert "next-20261101: legs" in stages
    assert any(stage.startswith("base of next-20261101: legs, leg-failed") for stage in stages)
