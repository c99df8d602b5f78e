# SPDX-License-Identifier: GPL-2.0-only
"""No culprit without every parent freshly tested (law 3)."""

from __future__ import annotations

import pytest

from bisector.direction import FIX
from bisector.errors import Interrupted
from bisector.model import Candidate, Commit, Edit, Judgement, TargetKind, Verdict
from bisector.search.proof import Proven, prove

COMMITS = {
    oid * 40: Commit(oid * 40, f"commit {oid}", parents=tuple(parent * 40 for parent in parents))
    for oid, parents in {"c": "1", "d": "123", "1": "", "2": "", "3": "", "0": ""}.items()
}
SINGLE, MERGE, ROOT = COMMITS["c" * 40], COMMITS["d" * 40], COMMITS["0" * 40]
GOOD, BAD, SKIP, WEAK = Verdict.GOOD, Verdict.BAD, Verdict.SKIP, Verdict.WEAK


class Fresh:
    """Answers by the first digit of the commit and keeps what was asked."""

    def __init__(self, **verdicts: Verdict) -> None:
        self.verdicts = {name.removeprefix("_"): verdict for name, verdict in verdicts.items()}
        self.asked: list[Candidate] = []

    def __call__(self, asked: Candidate) -> Judgement:
        self.asked.append(asked)
        return Judgement(asked, self.verdicts[asked.revision[0]], "as planned")


def test_bad_culprit_with_a_good_parent_is_confirmed() -> None:
    fresh = Fresh(c=BAD, _1=GOOD)
    proof = prove(SINGLE, fresh, lookup=COMMITS.__getitem__)
    assert proof.kind is Proven.CONFIRMED
    assert [asked.label for asked in fresh.asked] == ["culprit", "culprit^1"]
    assert [judgement.candidate for judgement in proof.judgements] == fresh.asked
    assert "its parent is good" in proof.summary


def test_merge_is_tested_against_every_parent() -> None:
    fresh = Fresh(d=BAD, _1=GOOD, _2=GOOD, _3=GOOD)
    proof = prove(MERGE, fresh, lookup=COMMITS.__getitem__)
    assert proof.kind is Proven.CONFIRMED
    assert [asked.revision[0] for asked in fresh.asked] == ["d", "1", "2", "3"]
    assert "each of its 3 parents" in proof.summary


@pytest.mark.parametrize("verdict", [GOOD, SKIP, WEAK])
def test_culprit_that_is_not_bad_again_is_not_confirmed(verdict: Verdict) -> None:
    fresh = Fresh(c=verdict)
    proof = prove(SINGLE, fresh, lookup=COMMITS.__getitem__)
    assert proof.kind is Proven.NOT_CONFIRMED
    assert proof.against == SINGLE
    assert len(fresh.asked) == 1
    assert str(verdict) in proof.summary


def test_bad_parent_contradicts_and_is_named() -> None:
    fresh = Fresh(d=BAD, _1=GOOD, _2=BAD)
    proof = prove(MERGE, fresh, lookup=COMMITS.__getitem__)
    assert proof.kind is Proven.NOT_CONFIRMED
    assert proof.against == COMMITS["2" * 40]
    assert "culprit^2" in proof.summary
    assert len(proof.judgements) == 3


@pytest.mark.parametrize("verdict", [SKIP, WEAK])
def test_parents_that_cannot_be_judged_are_suspects_too(verdict: Verdict) -> None:
    fresh = Fresh(d=BAD, _1=verdict, _2=GOOD, _3=verdict)
    proof = prove(MERGE, fresh, lookup=COMMITS.__getitem__)
    assert proof.kind is Proven.NARROWED
    assert proof.suspects == (MERGE, COMMITS["1" * 40], COMMITS["3" * 40])
    assert len(proof.judgements) == 4


def test_bad_parent_outweighs_one_that_cannot_be_judged() -> None:
    proof = prove(MERGE, Fresh(d=BAD, _1=SKIP, _2=BAD), lookup=COMMITS.__getitem__)
    assert proof.kind is Proven.NOT_CONFIRMED


def test_fix_is_good_where_its_parent_is_bad() -> None:
    assert prove(SINGLE, Fresh(c=GOOD, _1=BAD), lookup=COMMITS.__getitem__, direction=FIX).kind is Proven.CONFIRMED
    assert prove(SINGLE, Fresh(c=GOOD, _1=GOOD), lookup=COMMITS.__getitem__, direction=FIX).kind is Proven.NOT_CONFIRMED


def test_root_has_no_parent_to_blame() -> None:
    proof = prove(ROOT, Fresh(_0=BAD), lookup=COMMITS.__getitem__)
    assert proof.kind is Proven.CONFIRMED
    assert "no parent" in proof.summary


def test_edits_of_the_search_are_laid_over_the_proof() -> None:
    edits = (Edit("fixup", "f" * 40),)
    fresh = Fresh(c=BAD, _1=GOOD)
    prove(SINGLE, fresh, lookup=COMMITS.__getitem__, edits=edits, target=TargetKind.QEMU_SOURCE)
    assert {asked.edits for asked in fresh.asked} == {edits}
    assert {asked.target for asked in fresh.asked} == {TargetKind.QEMU_SOURCE}


def test_what_the_judge_raises_comes_out() -> None:
    def interrupted(asked: Candidate) -> Judgement:
        raise Interrupted("asked to stop")

    with pytest.raises(Interrupted):
        prove(SINGLE, interrupted, lookup=COMMITS.__getitem__)
