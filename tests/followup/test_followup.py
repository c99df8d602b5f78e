# SPDX-License-Identifier: GPL-2.0-only
"""Is it fixed already? Real campaigns over real repositories, whose kernels are files; what comes after the outcome."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bisector.agent.plan import Plan
from bisector.campaign import single
from bisector.campaign.commits import CommitCampaign
from bisector.cli import main
from bisector.errors import BisectorError, InfraError, Interrupted
from bisector.exitcodes import ExitCode
from bisector.followup import RecheckResult, recheck
from bisector.interfaces import Runner, ignore
from bisector.mail import fixed
from bisector.mail.fixed import HINT, FixStatus, Place
from bisector.mail.letter import Letter, body
from bisector.model import Image, Observation, OutcomeKind, Verdict
from bisector.recipe.load import load
from bisector.recipe.matrix import cells, override
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.report import html, picture, text
from bisector.report.facts import gather
from bisector.search.gitrepo import History as Repository
from bisector.session import Setting
from bisector.store import CampaignRow
from bisector.system.xdg import Folders
from tests.campaign.file_session import FileSession, History, line, observed, request


@pytest.fixture
def history(tmp_path: Path) -> History:
    return regressed(tmp_path)


def regressed(folder: Path) -> History:
    """Good up to c3, bad from c4 on; c8 is the bad end."""
    made = History(folder / "linux")
    made.folder.mkdir()
    made.git("init", "-q")
    line(made, *["good"] * 4, *["bad"] * 5)
    made.git("tag", "v6.18", made.oids["c8"])
    return made


def fix_of(history: History, name: str, behaviour: str, what: str = "c4", **files: str) -> str:
    """A commit that names ``what`` as fixed."""
    for file, content in files.items():
        (history.folder / file).write_text(content)
    history.commit(name, behaviour)
    history.git("commit", "-q", "--amend", "-m", f'{name}\n\nFixes: {history.oids[what][:12]} ("{what}")')
    history.oids[name] = history.git("rev-parse", "HEAD")
    return history.oids[name]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[FileSession]:
    with FileSession(Setting(Folders(tmp_path / "cache", tmp_path / "state"), {}, ignore, 1)) as made:
        yield made


def campaign(history: History, session: FileSession, **changes: object) -> CampaignRow:
    row, outcome = CommitCampaign(request(history, "c0", "c8", **changes), session).run()
    assert outcome.kind is OutcomeKind.CULPRIT
    return row


def again(row: CampaignRow, session: FileSession) -> RecheckResult:
    return recheck(row, load("virtio-open-lvm-raid1"), session)


def mail(row: CampaignRow, session: FileSession, found: FixStatus) -> str:
    return " ".join(body(Letter(gather(session.store, row), fixed=found)).split())


def test_the_newest_mainline_and_a_fix_are_tried_and_reported(history: History, session: FileSession) -> None:
    fix = fix_of(history, "mend", "good")
    history.commit("later", "good")
    history.git("tag", "v6.19")
    row = campaign(history, session)
    found = again(row, session)
    assert [(n.name, n.verdict, n.reproduced) for n in found.fixed.newest] == [("v6.19", Verdict.GOOD, 0)]
    assert [(each.commit.oid, [(t.where, t.verdict) for t in each.tried]) for each in found.fixed.later] == [
        (fix, [(Place.TOP, Verdict.GOOD)])
    ]
    facts = gather(session.store, session.store.campaign(row.id))
    before = replace(facts, judgements=tuple(each for each in facts.judgements if each[0] != "fixed"))
    for render in (text.render, html.render):
        assert "whether a newer kernel than the bad end" in render(before)
        assert "whether a newer kernel than the bad end" not in render(facts)
    draft = mail(row, session, found.fixed)
    assert "On top of the bad end the kernel is good (0 of " in draft
    assert "The newest mainline at hand, v6.19, is good (0 of " in draft
    assert "whether a newer kernel than the bad end" not in draft
    assert "#regzbot fix" not in draft
    assert found.fixed.hints == (f'#regzbot fix: {fix[:12]} ("mend")',)


@dataclass(frozen=True)
class Recheck:
    """A finished campaign, and what was found after it."""

    session: FileSession
    row: CampaignRow  # as it was before
    found: RecheckResult


@pytest.fixture(scope="module")
def rechecked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recheck]:
    """One campaign for the tests that only look at it."""
    folder = tmp_path_factory.mktemp("rechecked")
    planted = regressed(folder)
    fix_of(planted, "mend", "good")
    with FileSession(Setting(Folders(folder / "cache", folder / "state"), {}, ignore, 1)) as made:
        row = made.store.campaign(campaign(planted, made).id)
        yield Recheck(made, row, again(row, made))


def test_the_outcome_is_stored_before_and_stays_as_it_is(rechecked: Recheck) -> None:
    store = rechecked.session.store
    after = store.campaign(rechecked.row.id)
    assert (after.outcome, after.state) == (rechecked.row.outcome, "finished")
    assert len(store.trials(rechecked.row.id, stage="fixed")) >= 2


def test_a_good_answer_stands_on_as_many_trials_as_the_proof(rechecked: Recheck) -> None:
    assert rechecked.row.outcome is not None
    proven = [each.counts[1] for each in rechecked.row.outcome.proof if each.verdict is Verdict.GOOD]
    (newest,) = rechecked.found.fixed.newest
    assert newest.conclusive >= max(proven) > 0


def test_what_was_tried_is_not_tried_again(rechecked: Recheck) -> None:
    trials = len(rechecked.session.store.trials(rechecked.row.id))
    second = again(rechecked.row, rechecked.session)
    assert len(rechecked.session.store.trials(rechecked.row.id)) == trials
    assert second.lines == ("nothing newer than the bad end is at hand",)
    assert second.fixed == rechecked.found.fixed


def test_reports_show_what_came_after(rechecked: Recheck) -> None:
    facts = gather(rechecked.session.store, rechecked.session.store.campaign(rechecked.row.id))
    rows = [each for each in picture.funnel(facts) if each.stage == "fixed"]
    assert [(each.verdict, each.at) for each in rows] == [("good", 95.0)] * 2
    assert "fixed   good" in text.render(facts)
    assert "fixed" in html.render(facts)
    assert facts.bad is not None and facts.bad.trial is not None
    assert facts.bad.trial.stage.startswith("proof")  # the evidence stays the proof's


def test_a_mainline_that_is_still_bad_is_said(history: History, session: FileSession) -> None:
    history.commit("later", "bad")
    row = campaign(history, session)
    found = again(row, session)
    assert [(n.name, n.verdict) for n in found.fixed.newest] == [("main", Verdict.BAD)]
    assert "The newest mainline at hand, main, is bad (1 of 1 trials reproduced)." in mail(row, session, found.fixed)


class NativeSession(FileSession):
    """Kernels as files, of which the bad ones fail in the cell ``native`` alone."""

    def runner(self, recipe: Recipe) -> Runner:
        inner = super().runner(recipe)

        class InNative:
            def run(self, image: Image, plan: Plan, folder: Path, **rest: Any) -> Observation:
                shown = inner.run(image, plan, folder, **rest)
                return shown if plan.guest and plan.guest.drives[0].aio == "native" else observed("good")

        return InNative()


@pytest.mark.parametrize("given", [(), ("guest.drives.vda.aio=native",), ("guest.drives.vda.aio=threads",)])
def test_a_test_of_all_cells_answers_for_the_one_that_was_searched(
    history: History, tmp_path: Path, given: tuple[str, ...]
) -> None:
    history.commit("later", "bad")
    history.git("tag", "v6.19")
    recipe = load("virtio-open-lvm-raid1")
    with NativeSession(Setting(Folders(tmp_path / "cache", tmp_path / "state"), {}, ignore, 1)) as session:
        row = campaign(history, session, recipe=recipe, source=resolved_yaml(recipe), cells=cells(recipe))
        assert row.outcome is not None and row.outcome.cell == "guest.drives.vda.aio=native"
        tested = recipe
        for word in given:
            tested = override(tested, word)
        wanted = single.SingleRequest(tested, resolved_yaml(tested), history.folder, "v6.19", None, overrides=given)
        rows = single.run(wanted, session).rows
        if not given:
            assert [each.judgement.verdict for each in rows if each.judgement] == [Verdict.BAD, Verdict.GOOD]
        (newest,) = fixed.examine(gather(session.store, row, of_recipe=True), Repository(history.folder)).newest
    expected = None if "threads" in "".join(given) else Verdict.BAD
    assert (newest.name, newest.verdict) == ("v6.19", expected)


def test_a_fix_that_was_tried_and_is_bad_is_no_hint(history: History, session: FileSession) -> None:
    fix = fix_of(history, "mend", "bad")
    row = campaign(history, session)
    assert fixed.examine(gather(session.store, row, of_recipe=True), Repository(history.folder)).hints
    found = again(row, session)
    (later,) = found.fixed.later
    assert {(t.where, t.verdict) for t in later.tried} == {
        (Place.AT, Verdict.BAD),
        (Place.TOP, Verdict.BAD),
    }  # it is main's tip too
    assert later.commit.oid == fix
    assert found.fixed.hints == ()
    assert "On top of the bad end the kernel is bad" in mail(row, session, found.fixed)


def test_a_fix_that_does_not_apply_is_tried_where_it_stands(history: History, session: FileSession) -> None:
    history.commit("moved", "elsewhere and bad")  # no kernel of this history behaves so: it is never tried
    fix = fix_of(history, "mend", "good")
    history.git("checkout", "-q", history.oids["c8"])
    history.git("branch", "-q", "-f", "main", history.oids["c8"])
    history.git("branch", "-q", "fixes", fix)
    row = campaign(history, session)
    found = again(row, session)
    (later,) = found.fixed.later
    assert [(t.where, t.verdict) for t in later.tried] == [(Place.TOP, Verdict.SKIP), (Place.AT, Verdict.GOOD)]
    draft = mail(row, session, found.fixed)
    assert "On top of the bad end the kernel could not be judged: edits failed" in draft
    assert "At it the kernel is good (0 of " in draft


def test_a_fix_that_the_bad_end_holds_is_no_fix(tmp_path: Path, session: FileSession) -> None:
    history = History(tmp_path / "linux")
    history.folder.mkdir()
    history.git("init", "-q")
    line(history, *["good"] * 4, *["bad"] * 3)
    fix_of(history, "c7", "bad")
    history.commit("c8", "bad")
    row = campaign(history, session)
    found = again(row, session)
    assert found.fixed.hints == ()
    assert session.store.trials(row.id, stage="fixed") == ()
    assert "The bad end holds it and is bad all the same." in mail(row, session, found.fixed)


def test_where_nothing_regressed_nothing_is_tried(history: History, session: FileSession) -> None:
    row, _ = CommitCampaign(request(history, "c0", "c3"), session).run()
    assert again(row, session).lines == ("there is no regression in a repository to look for a fix of",)


@pytest.mark.parametrize("fault", ["stopped", "harness"])
def test_a_fault_afterwards_leaves_the_outcome(history: History, session: FileSession, fault: str) -> None:
    fix_of(history, "mend", "good")
    row = campaign(history, session)
    if fault == "stopped":
        session.cancel.cancel()
    else:
        session.fail_after = 0
    with pytest.raises(Interrupted if fault == "stopped" else InfraError):
        again(row, session)
    kept = session.store.campaign(row.id)
    assert (kept.outcome, kept.state) == (row.outcome, "finished")
    found = fixed.examine(gather(session.store, kept, of_recipe=True), Repository(history.folder))
    assert [each.verdict for each in found.newest] == [None]
    assert "was not tested" in mail(kept, session, found)


def test_the_clone_of_a_repository_that_is_gone_is_said(history: History, session: FileSession) -> None:
    row = campaign(history, session)
    with pytest.raises(Exception, match="there is no such folder"):
        again(replace(row, repo="/nonexistent/linux"), session)


@pytest.mark.parametrize("fault", [None, InfraError("QEMU was killed"), Interrupted("stopped between trials")])
def test_the_command_tells_it_and_ends_as_the_outcome_does(
    history: History,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: BisectorError | None,
) -> None:
    fix = fix_of(history, "mend", "good")
    monkeypatch.setattr("bisector.session.Session", FileSession)
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    if fault:

        def fails(*_: object) -> None:
            raise fault

        monkeypatch.setattr("bisector.followup.recheck", fails)
    ends = ["--good", history.oids["c0"], "--bad", history.oids["c8"], "--releases", "off"]
    words = ["run", "virtio-open-lvm-raid1", "--repo", str(history.folder), *ends, "--check-fixed"]
    assert main([*words, "--cell", "guest.drives.vda.aio=native"]) == ExitCode.OK
    shown = capfd.readouterr()
    assert history.oids["c4"][:12] in shown.out
    assert "#regzbot" not in shown.out
    if fault:
        assert f"the outcome stands: {fault}" in shown.err
    else:
        assert "main is good" in shown.err
        assert f"{HINT}\n#regzbot fix: " in shown.err
        assert f'#regzbot fix: {fix[:12]} ("mend")' in shown.err
