# SPDX-License-Identifier: GPL-2.0-only
"""The search among commits, with the real `git bisect run` over planted histories."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from planted import PerfectJudge, Planned, chain, git
from searching import SearchSetup

import bisector.search.commits as commits_room
from bisector.direction import BUG, FIX, Direction
from bisector.errors import InfraError, Interrupted, UsageError
from bisector.interfaces import Phase, Progress
from bisector.model import Candidate, Judgement, Verdict
from bisector.search.commits import SearchEnd, SearchResult, stood_in

LINE = chain(*"abcdefghij")

# a - b - c ------- m - d - e      (z: as it was before the branch)
#      \           /
#       s - t - u -
BRANCH = [
    *chain("a", "b", "c"),
    *chain("s", "t", "u", start="b"),
    Planned("m", ("c", "u")),
    *chain("d", "e", start="m"),
]

# a - b - c - d        and        b - x - y - z
FORK = [*chain("a", "b", "c", "d"), *chain("x", "y", "z", start="b")]


@pytest.mark.parametrize("culprit", ["b", "f", "i", "j"])
def test_culprit_on_a_line_is_found_in_few_steps(setup: SearchSetup, culprit: str) -> None:
    judge = PerfectJudge(setup.plant(LINE), culprit)
    found = setup.search(judge, "a", "j")
    assert found.ended is SearchEnd.FIRST_BAD
    assert found.first_bad and found.first_bad.subject == f"{culprit}: a change"
    assert len(judge.judged) <= 4
    assert [step.candidate.revision for step in found.steps] == [judge.repository.oid[name] for name in judge.judged]


def test_neighbouring_ends_need_no_step(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "f")
    found = setup.search(judge, "e", "f")
    assert found.first_bad and found.first_bad.oid == judge.repository.oid["f"]
    assert judge.judged == []


@pytest.mark.parametrize("culprit", ["s", "t", "u", "c", "m", "e"])
def test_culprit_around_a_merge_is_found(setup: SearchSetup, culprit: str) -> None:
    judge = PerfectJudge(setup.plant(BRANCH), culprit)
    found = setup.search(judge, "a", "e")
    assert found.first_bad and judge.repository.name[found.first_bad.oid] == culprit


def test_first_parent_names_the_merge_and_never_tests_the_branch(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(BRANCH), "t")
    found = setup.search(judge, "a", "e", first_parent=True)
    assert found.first_bad and judge.repository.name[found.first_bad.oid] == "m"
    assert not {"s", "t", "u"} & set(judge.judged)


def test_skips_around_the_culprit_narrow_to_exactly_them_and_the_next_bad(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "f", skip="ef")
    found = setup.search(judge, "a", "j")
    assert found.ended is SearchEnd.NARROWED
    assert found.first_bad is None
    assert [judge.repository.name[commit.oid] for commit in found.suspects] == ["g", "f", "e"]
    assert "3" in found.summary


def test_skips_away_from_the_culprit_do_not_matter(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "h", skip="ef")
    found = setup.search(judge, "a", "j")
    assert found.first_bad and judge.repository.name[found.first_bad.oid] == "h"


def test_weak_is_a_skip_for_git_and_is_named(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "f", weak="f", skip="g")
    found = setup.search(judge, "a", "j")
    assert judge.repository.names([commit.oid for commit in found.suspects]) == {"f", "g", "h"}
    assert [judge.repository.name[step.candidate.revision] for step in found.weak] == ["f"]


def test_skips_in_a_branch_leave_only_what_may_be_it(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(BRANCH), "t", skip="st")
    found = setup.search(judge, "a", "e")
    assert judge.repository.names([commit.oid for commit in found.suspects]) == {"s", "t", "u"}


def test_first_parent_suspects_are_first_parents(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(BRANCH), "t", skip="m")
    found = setup.search(judge, "a", "e", first_parent=True)
    assert judge.repository.names([commit.oid for commit in found.suspects]) == {"m", "d"}


def test_known_skips_are_not_tested_again(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "f")
    skips = [judge.repository.oid[name] for name in "ef"]
    found = setup.search(judge, "a", "j", known_skips=skips)
    assert not {"e", "f"} & set(judge.judged)
    assert judge.repository.names([commit.oid for commit in found.suspects]) == {"e", "f", "g"}


def test_known_skips_alone_can_end_the_search(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "c")
    found = setup.search(judge, "a", "c", known_skips=[judge.repository.oid["b"]])
    assert judge.judged == []
    assert judge.repository.names([commit.oid for commit in found.suspects]) == {"b", "c"}


def test_paths_leave_the_other_commits_out(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "f")
    found = setup.search(judge, "a", "j", paths=["own/c", "own/f", "own/h"])
    assert found.first_bad and judge.repository.name[found.first_bad.oid] == "f"
    assert set(judge.judged) <= set("cfh")


def test_paths_that_the_culprit_does_not_touch_are_reported(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "i")
    found = setup.search(judge, "a", "j", paths=["own/c", "own/f"])
    assert found.ended is SearchEnd.OUTSIDE_PATHS
    assert "own/c, own/f" in found.summary


def test_paths_that_nothing_touches_are_reported(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "i")
    assert setup.search(judge, "a", "j", paths=["none/such"]).ended is SearchEnd.OUTSIDE_PATHS


def said(setup: SearchSetup, judge: PerfectJudge, found: SearchResult) -> tuple[str, ...]:
    """What a search from d to z takes for granted."""
    history, oid = setup.clone(judge.repository).history(), judge.repository.oid
    return stood_in(history, history.merge_bases(oid["d"], oid["z"]), found.steps)


def test_good_beside_bad_tests_the_merge_base_first(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(FORK), "y")
    messages: list[Progress] = []
    found = setup.search(judge, "d", "z", listener=messages.append)
    assert judge.judged[0] == "b"
    assert "merge base" in messages[0].detail
    assert found.first_bad and judge.repository.name[found.first_bad.oid] == "y"
    assert "no ancestor" in said(setup, judge, found)[0]


def test_bad_merge_base_is_an_end_of_its_own(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(FORK), "b", fix="c")
    found = setup.search(judge, "d", "z")
    assert found.ended is SearchEnd.MERGE_BASE_BAD
    assert found.merge_base and judge.repository.name[found.merge_base.oid] == "b"
    assert judge.judged == ["b"]
    assert "fixed on the way to good" in found.summary


def test_merge_base_that_cannot_be_judged_is_an_assumption(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(FORK), "y", skip="b")
    found = setup.search(judge, "d", "z")
    assert found.first_bad and judge.repository.name[found.first_bad.oid] == "y"
    assert any("cannot be judged" in line for line in said(setup, judge, found))


def test_fix_is_found(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "a", fix="g")
    found = setup.search(judge, "j", "a", direction=FIX)
    assert found.first_bad and judge.repository.name[found.first_bad.oid] == "g"
    assert "first fixed" in found.summary


def test_fix_among_skips_narrows(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(LINE), "a", fix="g", skip="fg")
    found = setup.search(judge, "j", "a", direction=FIX)
    assert judge.repository.names([commit.oid for commit in found.suspects]) == {"f", "g", "h"}


def test_fix_on_another_branch_than_the_bug_is_reported(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant(FORK), "c")
    found = setup.search(judge, "z", "d", direction=FIX)
    assert found.ended is SearchEnd.MERGE_BASE_BAD
    assert "no fix to find" in found.summary


@pytest.mark.parametrize(
    ("good", "bad", "way", "words"),
    [
        ("j", "a", BUG, "--find-fix"),
        ("a", "j", FIX, "newer one"),
        ("c", "c", BUG, "two commits"),
    ],
)
def test_ends_in_no_order_are_refused(setup: SearchSetup, good: str, bad: str, way: Direction, words: str) -> None:
    judge = PerfectJudge(setup.plant(LINE), "f")
    with pytest.raises(UsageError) as caught:
        setup.search(judge, good, bad, direction=way)
    assert words in caught.value.hint
    assert judge.judged == []


def test_ends_without_common_history_are_refused(setup: SearchSetup) -> None:
    judge = PerfectJudge(setup.plant([*chain("a", "b"), *chain("p", "q")]), "q")
    with pytest.raises(UsageError, match="no history"):
        setup.search(judge, "b", "q")


class _Stop(BaseException):
    """Like KeyboardInterrupt, which pytest keeps for itself."""


@pytest.mark.parametrize("error", [Interrupted("cancelled"), InfraError("disk full"), ValueError("a bug"), _Stop()])
def test_what_the_judge_raises_comes_out_and_leaves_nothing(setup: SearchSetup, error: BaseException) -> None:
    repository = setup.plant(LINE)

    def fail(name: str) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        setup.search(PerfectJudge(repository, "f", before=fail), "a", "j")
    assert caught.value is error
    assert not list(setup.processes.records.iterdir())
    found = setup.search(PerfectJudge(repository, "f"), "a", "j")
    assert found.first_bad and repository.name[found.first_bad.oid] == "f"


def test_step_that_fails_in_an_unforeseen_way_is_no_verdict(
    setup: SearchSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_like_that\n")  # python exits with 1, which git takes for bad
    monkeypatch.setattr(commits_room, "STEP", broken)
    judge = PerfectJudge(setup.plant(LINE), "f")
    with pytest.raises(InfraError, match="the campaign said nothing"):
        setup.search(judge, "a", "j")


def test_killed_git_is_infrastructure(setup: SearchSetup) -> None:
    def kill_git(name: str) -> None:
        for entry in Path("/proc").iterdir():
            try:
                argv = (entry / "cmdline").read_bytes()
                if b"bisect\0run" in argv and (entry / "cwd").readlink().is_relative_to(setup.folder):
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue

    judge = PerfectJudge(setup.plant(LINE), "f", before=kill_git)
    with pytest.raises(InfraError, match="git bisect ended"):
        setup.search(judge, "a", "j")


def test_progress_counts_steps_and_revisions(setup: SearchSetup) -> None:
    messages: list[Progress] = []
    setup.search(PerfectJudge(setup.plant(LINE), "f"), "a", "j", listener=messages.append)
    assert messages[0] == Progress(Phase.SEARCH, "1 of about 3: 4 revisions left", 0.0)
    assert [progress.phase for progress in messages] == ["search"] * len(messages)
    fractions = [progress.fraction or 0.0 for progress in messages]
    assert fractions == sorted(fractions)


def test_log_is_kept_after_each_step_and_can_be_replayed(setup: SearchSetup, tmp_path: Path) -> None:
    log = tmp_path / "bisect.log"
    seen: list[int] = []

    def note(name: str) -> None:
        seen.append(len(re.findall("^git bisect (good|bad)", log.read_text(), re.MULTILINE)))

    judge = PerfectJudge(setup.plant(LINE), "f", before=note)
    found = setup.search(judge, "a", "j", log=log)
    assert seen == list(range(len(judge.judged)))  # the verdicts before this step
    assert log.read_text() == found.log
    work = tmp_path / "replay"
    git(tmp_path, "clone", "-q", os.fspath(judge.repository.folder), os.fspath(work))
    git(work, "bisect", "replay", os.fspath(log))
    assert f"# first bad commit: [{judge.repository.oid['f']}]" in git(work, "bisect", "log")


def test_state_folder_deeper_than_a_socket_name(tmp_path: Path) -> None:
    setup = SearchSetup(tmp_path / ("deep" * 20) / ("er and" * 10))
    setup.folder.mkdir(parents=True)
    found = setup.search(PerfectJudge(setup.plant(LINE), "f"), "a", "j")
    assert found.first_bad and found.first_bad.subject.startswith("f")


def test_two_searches_in_one_clone_do_not_disturb_each_other(setup: SearchSetup) -> None:
    repository = setup.plant(LINE)
    meet = threading.Barrier(2, timeout=60)  # each step of one happens while the other is in a step
    found: dict[str, str] = {}

    def one(culprit: str) -> None:
        judge = PerfectJudge(repository, culprit, before=lambda name: meet.wait() and None)
        result = setup.search(judge, "b", "j", campaign=f"campaign-{culprit}")
        assert result.first_bad
        found[culprit] = repository.name[result.first_bad.oid]
        assert len(judge.judged) == 3

    threads = [threading.Thread(target=one, args=(culprit,)) for culprit in "di"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"d": "d", "i": "i"}


def test_one_campaign_cannot_search_twice_at_once(setup: SearchSetup) -> None:
    repository = setup.plant(LINE)
    with setup.clone(repository).bisect_worktree("c"), pytest.raises(InfraError, match="already searching"):
        setup.search(PerfectJudge(repository, "f"), "a", "j", campaign="c")


VICTIM = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from searching import SearchSetup
from planted import PerfectJudge, Planted
import test_commits
class Found(Planted):
    def __init__(self, folder, oid):
        self.folder, self.oid = folder, oid
        self.name = {{value: key for key, value in oid.items()}}
        self.parents = {{commit.name: commit.parents for commit in test_commits.LINE}}
def hang(name):
    if {steps} == len(judge.judged):
        print("hanging", flush=True)
        time.sleep(600)
setup = SearchSetup(Path({folder!r}))
judge = PerfectJudge(Found(Path({repository!r}), {oid!r}), "f", before=hang)
setup.search(judge, "a", "j")
"""


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_kill_9_leaves_no_process_and_the_next_search_finds_it(setup: SearchSetup, steps: int) -> None:
    repository = setup.plant(LINE)
    program = VICTIM.format(
        path=[os.fspath(Path(__file__).parent), *sys.path],  # other packages' tests have a conftest too
        steps=steps,
        folder=os.fspath(setup.folder),
        repository=os.fspath(repository.folder),
        oid=repository.oid,
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as victim:
        assert victim.stdout and victim.stdout.readline() == b"hanging\n"
        victim.kill()
    found = setup.search(PerfectJudge(repository, "f"), "a", "j")  # at once: what it left may still be dying
    assert found.first_bad and repository.name[found.first_bad.oid] == "f"
    end = time.monotonic() + 10
    while (left := _processes_in(setup.folder)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def _processes_in(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_answers_from_a_store_make_a_second_search_the_same(setup: SearchSetup) -> None:
    repository = setup.plant(BRANCH)
    judge = PerfectJudge(repository, "t")
    first = setup.search(judge, "a", "e")
    store: dict[Candidate, Judgement] = {step.candidate: step for step in first.steps}
    again = PerfectJudge(repository, "t")
    again.__class__ = type("FromStore", (PerfectJudge,), {"__call__": lambda self, candidate: store[candidate]})
    assert setup.search(again, "a", "e") == first
    assert all(step.verdict in (Verdict.GOOD, Verdict.BAD) for step in first.steps)
