# SPDX-License-Identifier: GPL-2.0-only
"""Single nights in trouble: killed, out of time, out of luck, with a source that misbehaves."""

import inspect
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nextgen import LinuxNext
from night_session import FLAG, Nights, day, kinds, with_bug

from bisector import toolchain
from bisector.errors import InfraError, Interrupted, ToolchainChanged, UsageError
from bisector.exitcodes import ExitCode
from bisector.nightly import night
from bisector.nightly.records import State
from bisector.store import Store
from bisector.system.locks import locked

LEG = "legs-leg-failed"
TRIALS = 21  # of a night with one bug: one on the day, two on its base, a campaign of five steps with its proof, and
# six that learn the rate
WRITES = [("save_night", 2), ("save_regression", 1), ("save_regression", 2), ("finish", 1), ("save_regression", 3)]


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
    """What the store holds last is all that is known: before a verdict, after an outcome, between two notes."""
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


def test_the_budget_goes_by_a_clock_that_is_never_set() -> None:
    """The time of day may step by years when a host without a battery hears of it."""
    assert inspect.signature(night.run).parameters["clock"].default is time.monotonic


def test_a_night_that_is_called_again_has_what_is_left_of_its_budget(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.clock = lambda: 60.0 * nights.world.trials
    nights.budget = "12m"
    nights.world.fail_after = 3
    assert nights.night().exit_code is ExitCode.INFRA  # after three of the search and three of the rate: nine minutes
    tried, nights.world.fail_after = nights.world.trials, 10**9
    nights.clock = lambda: 60.0 * (nights.world.trials - tried)  # another process: another clock
    report = nights.night()
    assert "budget" in report.night.stopped
    assert nights.world.trials - tried <= 4
    assert report.night.used == 0.0  # all of it is spent, and the next call begins anew


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


def test_a_search_whose_compiler_is_gone_is_begun_anew(
    tree: LinuxNext, nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_bug(tree, 1)
    nights.clock = lambda: 60.0 * nights.world.trials
    nights.budget = "9m"
    assert nights.night().night.state is State.STOPPED
    (began,) = nights.searches()

    def pin(target: object, store: object, campaign: str, listener: object) -> None:
        if campaign == began.id:
            raise ToolchainChanged("it began with gcc 12.2, and this host has gcc 13.1 now")

    monkeypatch.setattr(toolchain, "pin", pin)
    nights.clock, nights.budget = None, "8h"
    assert kinds(nights.night()) == {LEG: ["opened", "named"]}
    first, second = nights.searches()
    assert (first.id, first.outcome) == (began.id, None)
    assert (second.good, second.bad) == (began.good, began.bad)
    assert second.outcome and second.outcome.culprit


def test_a_second_night_at_the_same_time_is_refused(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    lock = nights.setting.folders.state / "nightly/watched/lock"
    with locked(lock), pytest.raises(InfraError, match="at work in another process"):
        nights.night()
    assert nights.world.trials == 0


def test_a_stopped_night_is_130_and_keeps_its_state(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    with nights.session() as session:
        nights.world.on_trial = lambda number: session.cancel.cancel() if number == 4 else None
        with pytest.raises(Interrupted) as caught:
            night.run(nights.watch(), session)
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
    tree.git("tag", "-f", "next-20261101", first.night.next)
    again = nights.night()
    assert again.nothing and again.night.name == first.night.name


def test_a_source_without_days_is_a_usage_error(tmp_path: Path) -> None:
    empty = LinuxNext.make(tmp_path / "linux.git")
    empty.git("tag", "next-20261399", empty.mainline)  # no such day
    empty.git("tag", "next-20261101-fixed", empty.mainline)
    with pytest.raises(UsageError, match="no tag next-YYYYMMDD"):
        Nights(tmp_path / "n", empty.folder, recipes="[./legs.yaml]").night()


def test_a_day_that_cannot_be_built_says_so_and_opens_nothing(tree: LinuxNext, nights: Nights) -> None:
    day(tree, 1, lambda: tree.branch_commit("fs", "half a change", {"flags/unbuildable": "x\n"}))
    report = nights.night()
    assert report.exit_code is ExitCode.UNDECIDED
    summary = (nights.out / "next-20261101/summary.txt").read_text()
    assert "cannot be judged legs" in summary
    assert "not tested: legs; whether anything is new there is not known\n" in summary
    assert not nights.regressions()
