# SPDX-License-Identifier: GPL-2.0-only
"""What would split a set that cannot be distinguished."""

import pytest

from bisector.causes import Cause
from bisector.model import Candidate, Commit, Judgement, TargetKind, Verdict
from bisector.search.narrowing import what_splits

COMMITS = [Commit(f"{number:040x}", f"commit {number}") for number in range(6)]


def judged(commit: Commit, verdict: Verdict, reason: str, cause: Cause = Cause.NONE) -> Judgement:
    return Judgement(Candidate(TargetKind.KERNEL_SOURCE, commit.oid), verdict, reason, cause=cause)


def test_each_cause_is_named_once_with_its_commits_and_its_remedy() -> None:
    steps = [judged(commit, Verdict.SKIP, "compile failed: x undeclared", Cause.NOT_BUILT) for commit in COMMITS[:4]]
    steps.append(judged(COMMITS[4], Verdict.WEAK, "undecided after 400 trials", Cause.UNDECIDED))
    text = what_splits(COMMITS, steps)
    assert "000000000000, 000000000000" in text
    assert "and 1 more (compile failed: x undeclared): name what fixes it in search.fixups" in text
    assert "more trials" in text
    assert text.count("To split them") == 1


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_remedy(cause: Cause) -> None:
    text = what_splits(COMMITS[:1], [judged(COMMITS[0], Verdict.SKIP, "as planned", cause)])
    remedies = {Cause.NO_BOOT: "a config with which it boots", Cause.HARNESS: "may be the bug itself"}
    assert remedies.get(cause, "") in text
    assert "(as planned): " in text


def test_suspects_that_were_never_in_the_way_are_left_out() -> None:
    assert what_splits(COMMITS, [judged(COMMITS[0], Verdict.BAD, "reproduced in 1/1")]) == ""
