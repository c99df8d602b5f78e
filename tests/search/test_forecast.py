# SPDX-License-Identifier: GPL-2.0-only
"""The forecast names the commit that git tests next: over generated histories with merges and skips."""

from pathlib import Path

import pytest

from bisector.direction import direction
from bisector.model import Candidate, EditKind, Judgement, TargetKind, Verdict
from bisector.search.clone import PrivateClone
from bisector.search.commits import search
from bisector.search.forecast import Forecast, Next, proof_candidates
from bisector.search.gitrepo import UserRepository
from bisector.system.proc import Processes
from tests.campaign.acting import history
from tests.campaign.generated import made
from tests.search.planted import Planted

WORDS = {Verdict.GOOD: "good", Verdict.BAD: "bad", Verdict.SKIP: "skip"}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("find_fix", [False, True])
def test_git_tests_what_was_foreseen(tmp_path: Path, seed: int, find_fix: bool) -> None:
    made_up = made(seed)
    planted = Planted(tmp_path / "linux", made_up.plan)
    processes = Processes(tmp_path / "processes")
    clone = PrivateClone.of(UserRepository(planted.folder), tmp_path, processes)
    ours, way = clone.history(), direction(find_fix)
    newest = max(planted.oid.values(), key=lambda oid: len(ours.left(oid, ())))
    oldest = next(oid for oid in planted.oid.values() if not ours.commit(oid).parents and ours.is_ancestor(oid, newest))
    culprit = sorted(ours.left(newest, (oldest,)), key=lambda commit: commit.oid)[seed % 3]
    log, foreseen, tested = tmp_path / "bisect.log", [], []

    with clone.bisect_worktree("c") as worktree, clone.bisect_worktree("c-ahead") as copy:
        forecast = Forecast(clone, copy, way, log)

        def judge(candidate: Candidate) -> Judgement:
            tested.append(Next(candidate.revision))
            side = way.new if ours.is_ancestor(culprit.oid, candidate.revision) else way.old
            verdict = Verdict.SKIP if int(candidate.revision[:2], 16) % 7 == 0 else side
            foreseen.append(forecast.after((way.git_word(verdict), candidate.revision)))
            return Judgement(candidate, verdict, "acted")

        ends = ours.commit(oldest), ours.commit(newest)
        found = search(clone, *ends, judge, direction=way, worktree=worktree, processes=processes, log=log)
    assert tested, "nothing was tested"
    assert foreseen[:-1] == tested[1:]
    last = foreseen[-1]
    assert not last.revision
    assert last.found == (found.first_bad.oid if found.first_bad else "")


def test_the_proofs_candidates_are_the_culprit_its_parent_and_its_edits(tmp_path: Path) -> None:
    planted = history(tmp_path / "linux", 6, bug=range(3, 6))
    ours = PrivateClone.of(UserRepository(planted.folder), tmp_path, Processes(tmp_path / "processes")).history()
    oid = planted.oid
    like = Candidate(TargetKind.KERNEL_SOURCE, "")
    found = list(proof_candidates(ours, like, oid["c3"], (oid["c0"], oid["c5"])))
    assert [(each.revision, [edit.kind for edit in each.edits]) for each in found] == [
        (oid["c3"], []),
        (oid["c2"], []),
        (oid["c5"], [EditKind.REVERT]),
        (oid["c0"], [EditKind.APPLY]),
    ]
