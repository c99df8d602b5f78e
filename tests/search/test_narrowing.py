# SPDX-License-Identifier: GPL-2.0-only
"""What would split a set that cannot be distinguished."""

from bisector.model import BuildFailure, Candidate, Commit, Judgement, TargetKind, Verdict
from bisector.search.narrowing import what_splits

COMMITS = [Commit(f"{number:040x}", f"commit {number}") for number in range(6)]


def judged(commit: Commit, verdict: Verdict, reason: str, failure: BuildFailure | None = None) -> Judgement:
    return Judgement(Candidate(TargetKind.KERNEL_SOURCE, commit.oid), verdict, reason, failure=failure)


def test_each_cause_is_named_once_with_its_commits_and_its_remedy() -> None:
    broken = BuildFailure("compile", ("x undeclared",))
    steps = [judged(commit, Verdict.SKIP, "compile failed: x undeclared", broken) for commit in COMMITS[:4]]
    steps.append(judged(COMMITS[4], Verdict.WEAK, "undecided after 400 trials"))
    text = what_splits(COMMITS, steps)
    assert "000000000000, 000000000000" in text
    assert "and 1 more (compile failed: x undeclared): name what fixes it in search.fixups" in text
    assert "more trials" in text
    assert text.count("To split them") == 1


def test_suspects_that_were_never_in_the_way_are_left_out() -> None:
    assert what_splits(COMMITS, [judged(COMMITS[0], Verdict.BAD, "reproduced in 1/1")]) == ""
