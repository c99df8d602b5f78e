# SPDX-License-Identifier: GPL-2.0-only
"""Whole campaigns over real git repositories and the real store. Kernel and VM stand as a file of the history: each
commit's ``behaviour`` says what its kernel would do, because a thousand real boots do not fit into a test."""

import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bisector.agent.plan import LayerFacts, Plan, Result, StepFacts
from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.direction import FIX
from bisector.errors import InfraError, UsageError
from bisector.interfaces import CancelToken, Listener, Runner, Target, ignore
from bisector.model import (
    BuildFailure,
    Candidate,
    ConsoleEvent,
    Ending,
    Image,
    Observation,
    Outcome,
    OutcomeKind,
    Signal,
    Timing,
    Verdict,
)
from bisector.recipe.load import find, loads
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.report import facts, json_format, text
from bisector.search.clone import PrivateClone
from bisector.session import Session, Setting
from bisector.system.xdg import Folders

SHIPPED = find("virtio-open-lvm-raid1").read_text()
FIXED = SHIPPED.replace("confidence: {max_error: 0.01}\n", "trials: 2\n")


@dataclass
class History:
    """A repository in which each commit says how its kernel behaves."""

    folder: Path
    oids: dict[str, str] = field(default_factory=dict)

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        argv = ["git", "-C", str(self.folder), *identity, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, name: str, behaviour: str, docs: str = "") -> None:
        (self.folder / "behaviour").write_text(behaviour + "\n")
        (self.folder / "docs").write_text(docs or name)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", name)
        self.oids[name] = self.git("rev-parse", "HEAD")


def observed(behaviour: str) -> Observation:
    if behaviour == "panics":
        return Observation(Ending.NO_AGENT)
    if behaviour == "oops":
        crash = ConsoleEvent(3.0, "vm", "crash", "oops", "BUG: kernel NULL pointer dereference")
        return Observation(Ending.CRASH, Result(), (crash,))
    health = {"bad": "degraded", "syncing": "syncing", "syncing too": "syncing"}.get(behaviour, "healthy")
    layers = (LayerFacts("boot", "/dev/x", 511, 512, health),)
    result = Result(complete=True, layers=layers, steps=(StepFacts("probe", 0, 1, done=True, exit=0),))
    return Observation(Ending.FINISHED, result, timing=Timing(6, 2, 4, 12), accel="tcg")


@dataclass
class FileTarget:
    """Builds nothing: the image is the content of ``behaviour``."""

    clone: PrivateClone
    folder: Path
    built: list[str]

    def key(self, candidate: Candidate) -> str:
        return self.clone.tree_of(candidate)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        tree = self.clone.tree_of(candidate)
        behaviour = self.clone.git.ask("cat-file", "blob", f"{tree}:behaviour")
        self.built.append(candidate.revision)
        files = self.clone.git.ask("ls-tree", "--name-only", tree).split()
        hole = self.clone.git.ask("cat-file", "blob", f"{tree}:hole") if "hole" in files else ""
        if "broken" in (behaviour, hole):
            return BuildFailure("compile", ("drivers/md/dm-raid.c:1: error: x undeclared",))
        kernel = self.folder / f"{behaviour}.kernel"
        kernel.write_text(behaviour)
        return Image(identity=behaviour, kernel=str(kernel))


@dataclass
class FileRunner:
    """Answers what the image says; ``fail_after`` trials the harness breaks for good."""

    seen: list[str]
    fail_after: int = 10**6
    rate: float = 1.0

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        if len(self.seen) >= self.fail_after:
            return Observation(Ending.HARNESS, detail="QEMU was killed by signal 9")
        self.seen.append(image.identity)
        if not plan.steps:
            return observed("good")
        if image.identity == "bad" and random.Random(plan.seed).random() >= self.rate:
            return observed("good")
        return observed(image.identity)


class FileBench(Session):
    """A session whose kernels are files."""

    fail_after = 10**6
    rate = 1.0

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        self.built: list[str] = []
        return FileTarget(clone, self.setting.folders.state, self.built)

    def runner(self, recipe: Recipe) -> Runner:
        self.seen: list[str] = []
        return FileRunner(self.seen, self.fail_after, self.rate)


Open = Callable[..., FileBench]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(Folders(tmp_path / "cache", tmp_path / "state"), {}, ignore, 1)


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "linux")
    made.folder.mkdir()
    made.git("init", "-q")
    return made


def line(history: History, *behaviours: str) -> None:
    for number, behaviour in enumerate(behaviours):
        history.commit(f"c{number}", behaviour)


def request(history: History, good: str, bad: str, **changes: object) -> CommitRequest:
    recipe = loads(FIXED, "fixed.yaml")
    wanted = CommitRequest(
        recipe, resolved_yaml(recipe), history.folder, history.oids[good], history.oids[bad], cells(recipe)[:1]
    )
    return replace(wanted, **changes)


def outcome_of(history: History, setting: Setting, good: str, bad: str, **changes: object) -> Outcome:
    with FileBench(setting) as bench:
        row, outcome = CommitCampaign(request(history, good, bad, **changes), bench).run()
        gathered = facts.gather(bench.store, row)
        assert row.outcome == outcome
        assert ("fix" if outcome.find_fix else outcome.kind.value) in text.render(gathered)
        assert json_format.render(gathered).startswith("{")
    return outcome


def test_linear_history_gives_the_planted_culprit(history: History, setting: Setting) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    outcome = outcome_of(history, setting, "c0", "c16")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
    assert [j.candidate.label for j in outcome.proof] == ["culprit", "culprit^1"]
    assert "git bisect start" in outcome.bisect_log


def test_unbuildable_panicking_and_oopsing_commits_are_stepped_over(history: History, setting: Setting) -> None:
    line(history, *["good"] * 7, "broken", "good", "bad", "panics", "bad", "oops", *["bad"] * 4)
    outcome = outcome_of(history, setting, "c0", "c16")
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]


def test_unjudgeable_neighbour_of_the_culprit_narrows(history: History, setting: Setting) -> None:
    line(history, *["good"] * 5, "broken", *["bad"] * 5)
    outcome = outcome_of(history, setting, "c0", "c10")
    assert outcome.kind is OutcomeKind.NARROWED
    assert {s.oid for s in outcome.suspects} == {history.oids["c5"], history.oids["c6"]}
    fresh = {(j.candidate.revision, j.verdict) for j in outcome.proof}
    assert fresh == {(history.oids["c6"], Verdict.BAD), (history.oids["c4"], Verdict.GOOD)}


def test_culprit_inside_a_merged_branch(history: History, setting: Setting) -> None:
    line(history, "good", "good", "good")
    history.git("checkout", "-q", "-b", "side", history.oids["c1"])
    history.commit("s1", "good")
    history.commit("s2", "bad")
    history.git("checkout", "-q", "main")
    history.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "merge", "side")
    history.commit("m1", "bad")
    history.commit("m2", "bad")
    outcome = outcome_of(history, setting, "c0", "m2")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid in (history.oids["s2"], history.oids["m1"])


def test_ends_alike_say_so(history: History, setting: Setting) -> None:
    line(history, "good", "good", "good")
    outcome = outcome_of(history, setting, "c0", "c2")
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "both ends are good" in outcome.summary


@pytest.mark.parametrize("recipe", [FIXED, SHIPPED])
def test_a_recipe_that_says_nothing_stops_after_three_trials(history: History, setting: Setting, recipe: str) -> None:
    """An array that never comes into sync is neither degraded nor healthy, at either end."""
    line(history, "syncing", "syncing", "syncing too")
    loaded = loads(recipe, "silent.yaml")
    with FileBench(setting) as bench:
        wanted = request(history, "c0", "c2", recipe=loaded, source=resolved_yaml(loaded))
        row, outcome = CommitCampaign(wanted, bench).run()
        assert len(bench.store.trials(row.id)) == 3
        assert {str(trial.candidate.revision) for trial in bench.store.trials(row.id)} == {
            history.oids["c0"],
            history.oids["c2"],
        }
        report = text.render(facts.gather(bench.store, row))
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert outcome.summary.startswith("the first 3 trials were all neither bad nor good for one reason")
    assert "bad_when or good_when" in outcome.summary
    assert "step probe: exit 0" in report


def test_one_trial_that_says_something_lets_the_campaign_go_on(history: History, setting: Setting) -> None:
    line(history, "syncing", "good", "bad")
    outcome = outcome_of(history, setting, "c0", "c2")
    assert "cannot be judged" in outcome.summary


def test_ends_the_other_way_round_are_named(history: History, setting: Setting) -> None:
    line(history, "bad", "bad", "good")
    outcome = outcome_of(history, setting, "c0", "c2")
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "other way round" in outcome.summary


def test_bad_before_good_is_refused_before_anything_is_built(history: History, setting: Setting) -> None:
    line(history, "bad", "good")
    with FileBench(setting) as bench, pytest.raises(UsageError, match="is an ancestor"):
        CommitCampaign(request(history, "c1", "c0"), bench).run()
    assert not list((setting.folders.state / "campaigns").glob("*"))


def test_find_fix_gives_the_first_good_commit(history: History, setting: Setting) -> None:
    line(history, *["bad"] * 6, *["good"] * 5)
    outcome = outcome_of(history, setting, "c10", "c0", direction=FIX)
    assert [j.candidate.label for j in outcome.proof][:2] == ["fix", "fix^1"]
    assert "culprit" not in outcome.summary
    assert not outcome.newer_untested
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c6"]


def test_an_end_that_cannot_be_built_is_unresolved(history: History, setting: Setting) -> None:
    line(history, "good", "good", "broken")
    outcome = outcome_of(history, setting, "c0", "c2")
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert "undeclared" in outcome.summary


def test_harness_failure_keeps_what_is_finished_and_resume_goes_on(history: History, setting: Setting) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    FileBench.fail_after = 5
    try:
        with FileBench(setting) as bench, pytest.raises(InfraError, match="signal 9"):
            CommitCampaign(request(history, "c0", "c16"), bench).run()
        first = list(bench.seen)
    finally:
        FileBench.fail_after = 10**6
    with FileBench(setting) as bench:
        row, outcome = CommitCampaign(request(history, "c0", "c16", resume=True), bench).run()
        judged = [(stage, judgement.candidate) for stage, judgement in bench.store.judgements(row.id)]
    assert len(judged) == len(set(judged))
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
    assert first
    whole = first + bench.seen
    with FileBench(replace(setting, folders=Folders(setting.folders.cache, setting.folders.state / "other"))) as bench:
        CommitCampaign(request(history, "c0", "c16"), bench).run()
    assert sorted(whole) == sorted(bench.seen)


def test_resume_without_anything_to_resume_is_a_usage_error(history: History, setting: Setting) -> None:
    line(history, "good", "bad")
    with FileBench(setting) as bench, pytest.raises(UsageError, match="no unfinished campaign"):
        CommitCampaign(request(history, "c0", "c1", resume=True), bench).run()


def test_resume_of_a_changed_recipe_is_refused(history: History, setting: Setting) -> None:
    line(history, *["good"] * 3, *["bad"] * 3)
    FileBench.fail_after = 1
    try:
        with FileBench(setting) as bench, pytest.raises(InfraError):
            CommitCampaign(request(history, "c0", "c5"), bench).run()
    finally:
        FileBench.fail_after = 10**6
    with FileBench(setting) as bench, pytest.raises(UsageError, match="recipe has changed"):
        CommitCampaign(request(history, "c0", "c5", resume=True, source="recipe: other\n"), bench).run()


def test_a_campaign_at_work_cannot_be_resumed_by_another_process(history: History, setting: Setting) -> None:
    line(history, *["good"] * 3, *["bad"] * 3)
    FileBench.fail_after = 1
    try:
        with FileBench(setting) as bench, pytest.raises(InfraError):
            CommitCampaign(request(history, "c0", "c5"), bench).run()
    finally:
        FileBench.fail_after = 10**6
    with (
        FileBench(setting) as bench,
        bench.lock(bench.store.campaigns()[0].id),
        pytest.raises(InfraError, match="another process"),
    ):
        CommitCampaign(request(history, "c0", "c5", resume=True), bench).run()


def test_a_fixup_is_laid_over_the_hole_in_history(history: History, setting: Setting) -> None:
    """c3 breaks the build in a file of its own and c9 repairs it; the culprit c6 lies between."""
    for number in range(12):
        if number == 3:
            (history.folder / "hole").write_text("broken\n")
        if number == 9:
            (history.folder / "hole").write_text("repaired\n")
        docs = "c8" if number == 9 else ""  # the repair touches nothing else
        history.commit(f"c{number}", "bad" if number >= 6 else "good", docs)
    assert outcome_of(history, setting, "c0", "c11").kind is OutcomeKind.NARROWED
    text = FIXED
    fixups = f"fixups: [{{broken_by: {history.oids['c3']}, fixed_by: {history.oids['c9']}}}]"
    recipe = loads(text.replace("bad: v6.18}", f"bad: v6.18, {fixups}}}"), "repaired.yaml")
    outcome = outcome_of(history, setting, "c0", "c11", recipe=recipe, source=resolved_yaml(recipe))
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c6"]
    assert any("search.fixups" in line for line in outcome.assumptions)


# ---- with a budget of error instead of a fixed number of trials


def unsure(history: History, good: str, bad: str, **changes: object) -> CommitRequest:
    recipe = loads(SHIPPED, "unsure.yaml")
    whole = request(history, good, bad, **changes)
    return replace(whole, recipe=recipe, source=resolved_yaml(recipe))


@pytest.fixture(params=[1.0, 0.5])
def rate(request: pytest.FixtureRequest) -> Iterator[float]:
    FileBench.rate = request.param
    yield request.param
    FileBench.rate = 1.0


def test_flaky_bug_is_found_with_its_chance_of_error(history: History, setting: Setting, rate: float) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    with FileBench(setting) as bench:
        _, outcome = CommitCampaign(unsure(history, "c0", "c16"), bench).run()
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
    assert "chance of error below" in outcome.summary
    assert any("kept below 0.01" in line for line in outcome.assumptions)
    if rate == 1.0:  # deterministic stays cheap: one trial for a bad candidate, at most four for a good one
        for step in outcome.judgements:
            assert len(step.trials) <= (1 if step.verdict is Verdict.BAD else 4)


def test_flaky_fix_is_found(history: History, setting: Setting, rate: float) -> None:
    line(history, *["bad"] * 6, *["good"] * 5)
    with FileBench(setting) as bench:
        _, outcome = CommitCampaign(unsure(history, "c10", "c0", direction=FIX), bench).run()
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c6"]


def test_unjudgeable_neighbour_narrows_with_a_budget_too(history: History, setting: Setting, rate: float) -> None:
    line(history, *["good"] * 5, "broken", *["bad"] * 5)
    with FileBench(setting) as bench:
        _, outcome = CommitCampaign(unsure(history, "c0", "c10"), bench).run()
    assert outcome.kind is OutcomeKind.NARROWED
    assert {s.oid for s in outcome.suspects} == {history.oids["c5"], history.oids["c6"]}


def test_two_good_ends_are_alike_with_a_budget(history: History, setting: Setting) -> None:
    line(history, "good", "good", "good")
    with FileBench(setting) as bench:
        _, outcome = CommitCampaign(unsure(history, "c0", "c2"), bench).run()
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "never reproduced" in outcome.summary


def test_a_resumed_flaky_campaign_repeats_no_trial(history: History, setting: Setting) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    FileBench.rate, FileBench.fail_after = 0.5, 30
    try:
        with FileBench(setting) as bench, pytest.raises(InfraError):
            CommitCampaign(unsure(history, "c0", "c16"), bench).run()
        FileBench.fail_after = 10**6
        with FileBench(setting) as bench:
            row, outcome = CommitCampaign(unsure(history, "c0", "c16", resume=True), bench).run()
            stored = [t for t in bench.store.trials(row.id) if t.reading.signal is not Signal.INFRA]
            assert len(stored) == 30 + len(bench.seen)
    finally:
        FileBench.rate, FileBench.fail_after = 1.0, 10**6
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
