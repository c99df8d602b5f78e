# SPDX-License-Identifier: GPL-2.0-only
"""A candidate with the inputs of another build is judged by its image, and a proof builds what it proves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from test_judge import CASE, GOOD, NEVER, WrittenRunner, WrittenTarget, of

from bisector.execute.local import LocalExecutor
from bisector.interfaces import Phase, Progress
from bisector.judge import Judge
from bisector.model import Candidate, Image
from bisector.store import CampaignRow, Store
from bisector.tools import JudgeTools

SAID = "same inputs as good: nothing it changes is read by this build"


@dataclass
class Knowing(WrittenTarget):
    """Revisions that end in -docs have the inputs of the one without, once that was built."""

    def same_inputs(self, candidate: Candidate) -> Image | None:
        base = candidate.revision.removesuffix("-docs")
        if candidate.revision in self.built or base not in self.built or base == candidate.revision:
            return None
        return Image(identity=base, kernel=str(self.folder / base), same_inputs=base)


@dataclass
class Place:
    """A judge with what it works with."""

    judge: Judge
    target: Knowing
    runner: WrittenRunner
    store: Store
    heard: list[Progress] = field(default_factory=list)


Make = Callable[..., Place]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Judges over one store; each stands for a command."""
    pools: list[LocalExecutor] = []
    target = Knowing(folder=tmp_path)

    def build(*, build_all: bool = False) -> Place:
        store = Store(tmp_path / "state")
        if not store.campaigns():
            store.add_campaign(CampaignRow("c1", "r", "t", "", "", "good", "bad", False, "", 1.0, "running"))
        pools.append(LocalExecutor(builds=1, trials=1))
        runner, heard = WrittenRunner({"good": [GOOD]}), []
        tools = JudgeTools(target, runner, store, "c1", pools[-1], heard.append, NEVER, build_all=build_all)
        return Place(Judge(tools, control=of("good")), target, runner, store, heard)

    yield build
    for pool in pools:
        pool.shutdown()


def test_a_candidate_with_the_inputs_of_another_is_not_built_and_not_tried(make: Make) -> None:
    place = make()
    place.judge.ask(of("good"), CASE, "search")
    trials = len(place.runner.seen)
    judgement = place.judge.ask(of("good-docs"), CASE, "search")
    assert place.target.built == ["good"] and len(place.runner.seen) == trials
    assert judgement.same_inputs == "good" and judgement.reason.endswith(SAID)
    assert [each.detail for each in place.heard if each.phase is Phase.SAME_INPUTS] == [f"good-docs: {SAID}"]


def test_a_proof_builds_what_it_proves(make: Make) -> None:
    place = make()
    place.judge.ask(of("good"), CASE, "search")
    place.judge.ask(of("good-docs"), CASE, "search")
    for stage in ("proof", "proof-2"):
        judgement = place.judge.ask(of("good-docs"), CASE, stage)
        assert not judgement.same_inputs and "same inputs" not in judgement.reason
    assert place.target.built == ["good", "good-docs"]


def test_build_all_builds_all(make: Make) -> None:
    place = make(build_all=True)
    for revision in ("good", "good-docs"):
        assert not place.judge.ask(of(revision), CASE, "search").same_inputs
    assert place.target.built == ["good", "good-docs"]


def test_a_resumed_campaign_knows_what_it_did_not_build(make: Make) -> None:
    first = make()
    for revision in ("good", "good-docs"):
        first.judge.ask(of(revision), CASE, "search")
    again = make()
    judgement = again.judge.ask(of("good-docs"), CASE, "search")
    assert judgement.same_inputs == "good"
    assert again.target.built == ["good"] and not again.runner.seen


def test_build_all_builds_what_was_left_out_before(make: Make) -> None:
    first = make()
    for revision in ("good", "good-docs"):
        first.judge.ask(of(revision), CASE, "search")
    again = make(build_all=True)
    assert not again.judge.ask(of("good-docs"), CASE, "search").same_inputs
    assert again.target.built == ["good", "good-docs"]


def test_what_needs_no_build_is_known_without_one(make: Make) -> None:
    place = make()
    assert place.judge.known_image(of("good")) is None
    built = place.judge.image(of("good"))
    assert place.judge.known_image(of("good")) == built
    found = place.judge.known_image(of("good-docs"))
    assert isinstance(built, Image) and found == replace(built, same_inputs="good")
    assert place.target.built == ["good"]


def test_the_judgement_is_stored_with_what_was_built(make: Make) -> None:
    place = make()
    for revision in ("good", "good-docs"):
        place.judge.ask(of(revision), CASE, "search")
    assert [judged.same_inputs for _, judged in place.store.judgements("c1")] == ["", "good"]
    assert [image.same_inputs for image in place.store.images("c1")] == ["", "good"]
