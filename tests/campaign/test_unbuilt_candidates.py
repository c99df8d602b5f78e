# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns in which most commits change nothing that a build reads, and commits that cannot be the culprit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from file_session import FileRunner, FileSession, FileTarget, History, line, observed, request

from bisector.agent.plan import Plan
from bisector.campaign.commits import CommitCampaign
from bisector.causes import BuildStage, FailureCause
from bisector.interfaces import CancelToken, Listener, Runner, Target
from bisector.mail.letter import Letter, body
from bisector.model import BuildFailure, Candidate, Image, Observation, Outcome, OutcomeKind
from bisector.recipe.model import Recipe
from bisector.report import facts, html, json_format, text
from bisector.search.clone import PrivateClone
from bisector.session import Setting
from bisector.target.inputs import Inputs


@dataclass
class InputsTarget(FileTarget):
    """Builds read the file ``behaviour``, and nothing else of a tree."""

    records: list[tuple[Inputs, Image]] = field(default_factory=list)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        made = super().image(candidate, listener=listener, cancel=cancel)
        if isinstance(made, Image):
            tree, name = self.clone.tree_of(candidate), str(replace(candidate, label=""))
            inputs = Inputs(tree, "", name, frozenset(["behaviour"]), kinds=frozenset([""]))
            self.records.append((inputs, made))
        return made

    def same_inputs(self, candidate: Candidate) -> Image | None:
        tree = self.clone.tree_of(candidate)
        for inputs, image in self.records:
            if inputs.first_read(self.clone.changes(inputs.tree, tree) or ()) is None:
                return None if tree == inputs.tree else replace(image, same_inputs=inputs.candidate)
        return None


@dataclass
class StagedRunner(FileRunner):
    """The image ``fickle`` reproduces at the ends alone."""

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        image = replace(image, identity=image.identity.partition("#")[0])
        seen = super().run(image, plan, folder, listener=listener, cancel=cancel)
        return observed("bad") if image.identity == "fickle" and folder.name.startswith("ends") else seen


class InputsSession(FileSession):
    """A session whose builds know what they read."""

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        self.built: list[str] = []
        return InputsTarget(clone, self.setting.folders.state, self.built)

    def runner(self, recipe: Recipe) -> Runner:
        self.seen: list[str] = []
        return StagedRunner(self.seen)


def campaign(
    history: History, setting: Setting, good: str, bad: str, **changes: object
) -> tuple[Outcome, facts.Facts, list[str]]:
    with InputsSession(setting) as session:
        row, outcome = CommitCampaign(request(history, good, bad, **changes), session).run()
        return outcome, facts.gather(session.store, row), session.built


MATTER = 6
EACH = 11


def many(history: History) -> None:
    """66 commits of which every eleventh changes what is built; the fifth such brings the bug."""
    for number in range(MATTER * EACH):
        kind = number // EACH
        history.commit(f"c{number}", "bad" if kind >= 4 else f"good {kind}", docs=f"{number}")


def test_builds_are_as_many_as_the_commits_that_matter_ask_for(history: History, setting: Setting) -> None:
    many(history)
    outcome, gathered, built = campaign(history, setting, "c0", "c65")
    assert outcome.kind is OutcomeKind.CULPRIT and outcome.culprit
    assert outcome.culprit.oid == history.oids[f"c{4 * EACH}"]
    ends, proof = 2, 2  # culprit and parent, built whole
    assert len(built) <= math.ceil(math.log2(MATTER)) + ends + proof
    assert outcome.same_inputs == gathered.same_inputs > 0
    assert len(built) == len(set(built))


def test_a_build_that_was_not_made_is_shown(history: History, setting: Setting) -> None:
    many(history)
    outcome, gathered, built = campaign(history, setting, "c0", "c65")
    named = next(judged.same_inputs for _, judged in gathered.judgements if judged.same_inputs)
    assert named in {oid[:12] for oid in built}
    said = f"same inputs as {named}: nothing it changes is read by this build"
    assert said in " ".join(text.render(gathered).split())
    assert f"{outcome.same_inputs} builds not made (same inputs)" in text.render(gathered)
    unbuilt = [each for each in gathered.builds if isinstance(each[1], Image) and each[1].same_inputs]
    one = replace(gathered, judgements=gathered.judgements[:1], builds=tuple(unbuilt[:1]))
    assert "\n1 verdict, " in text.render(one) and "1 build not made (same inputs)" in text.render(one)
    assert said in json_format.render(gathered)
    assert said in html.render(gathered)


def test_build_all_builds_every_candidate(history: History, setting: Setting) -> None:
    many(history)
    few = len(campaign(history, setting, "c0", "c65")[2])
    outcome, gathered, built = campaign(history, replace(setting, build_all=True), "c0", "c65")
    assert len(built) > few and outcome.same_inputs == 0
    assert {judged.candidate.revision for _, judged in gathered.judgements} == set(built)


def test_the_culprit_and_its_parents_are_built(history: History, setting: Setting) -> None:
    many(history)
    outcome, _, built = campaign(history, setting, "c0", "c65")
    assert {judged.candidate.revision for judged in outcome.proof} <= set(built)
    assert not any(judged.same_inputs for judged in outcome.proof)


def test_a_suspect_with_its_parents_image_is_not_the_culprit(history: History, setting: Setting) -> None:
    line(history, "good", "good", "bad", "bad", "bad")
    suspect = history.oids["c3"]
    outcome, *_ = campaign(history, setting, "c0", "c4", suspects=(suspect,))
    assert outcome.kind is OutcomeKind.CULPRIT and outcome.culprit
    assert outcome.culprit.oid == history.oids["c2"]


def test_a_commit_with_its_parents_image_is_never_printed_as_the_culprit(history: History, setting: Setting) -> None:
    line(history, "good", "fickle", "fickle")
    outcome, gathered, _ = campaign(history, setting, "c0", "c2")
    assert outcome.kind is OutcomeKind.NOT_CONFIRMED
    assert outcome.culprit is None and not outcome.suspects
    assert "it cannot be the culprit: its image is that of its parent" in outcome.summary
    assert "which is good in fresh trials" in " ".join(text.render(gathered).split())


def test_a_commit_with_its_parents_image_is_no_suspect(history: History, setting: Setting) -> None:
    line(history, "good", "broken", "oops", "oops", "bad")
    outcome, *_ = campaign(history, setting, "c0", "c4")
    assert outcome.kind is OutcomeKind.NARROWED
    assert {commit.oid for commit in outcome.suspects} == {history.oids[name] for name in ("c1", "c2", "c4")}
    assert "one of 3" in outcome.summary


@dataclass
class CarelessTarget(InputsTarget):
    """Its record lacks what is read: the culprit's own build gives another image than the record promised."""

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        made = super().image(candidate, listener=listener, cancel=cancel)
        docs = self.clone.git.ask("cat-file", "blob", f"{self.clone.tree_of(candidate)}:docs")
        return replace(made, identity=f"{made.identity}#{docs}") if isinstance(made, Image) else made


class CarelessSession(InputsSession):
    """A session with such a target."""

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        self.built: list[str] = []
        return CarelessTarget(clone, self.setting.folders.state, self.built)


def test_an_image_that_is_not_what_its_inputs_promised_is_said(history: History, setting: Setting) -> None:
    many(history)
    with CarelessSession(setting) as session:
        _, outcome = CommitCampaign(request(history, "c0", "c65"), session).run()
    assert outcome.kind is OutcomeKind.CULPRIT
    assert any("its own build gave another one: --build-all" in line for line in outcome.unchecked)


@dataclass
class FailingTarget(InputsTarget):
    """The culprit's own build fails; the search judged it by another one's image."""

    fails: str = ""

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        if candidate.revision == self.fails:
            return BuildFailure(BuildStage.COMPILE, ("it was killed",), cause=FailureCause.UNKNOWN)
        return super().image(candidate, listener=listener, cancel=cancel)


def test_a_culprit_that_no_fresh_trial_could_prove_is_not_confirmed(
    history: History, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a narrowed set of one, which a mail reported as a regression; the search alone may err often."""
    many(history)

    def failing(session: InputsSession, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        return FailingTarget(clone, session.setting.folders.state, [], fails=history.oids[f"c{4 * EACH}"])

    monkeypatch.setattr(InputsSession, "kernel_source", failing)
    with InputsSession(setting) as session:
        row, outcome = CommitCampaign(request(history, "c0", "c65"), session).run()
        drafted = body(Letter(facts.gather(session.store, row)))
    assert outcome.kind is OutcomeKind.NOT_CONFIRMED
    assert "and no fresh trial proves it: compile failed: it was killed" in outcome.summary
    assert "this mail claims no regression" in " ".join(drafted.split())
