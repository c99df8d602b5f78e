# SPDX-License-Identifier: GPL-2.0-only
"""Searches over releases, with real packages in a folder and the real store. A kernel's release tells what it does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bisector.agent.plan import LayerFacts, Plan, Result, StepFacts
from bisector.campaign import both
from bisector.campaign.releases import ReleaseCampaign, ReleaseRequest
from bisector.direction import FIX
from bisector.errors import InfraError, Interrupted, UsageError
from bisector.interfaces import CancelToken, Listener, Runner, Target, ignore
from bisector.model import (
    BuildFailure,
    Candidate,
    Ending,
    Image,
    Observation,
    Outcome,
    OutcomeKind,
    Timing,
    Verdict,
)
from bisector.recipe.load import load
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.report import facts, json_format, text
from bisector.search.clone import PrivateClone
from bisector.session import Session, Setting
from bisector.system.xdg import Folders
from tests.campaign.file_session import FileSession, FileTarget, History
from tests.target.deb_archive import build_deb, kernel_files

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("dpkg-deb", "gcc")), reason="needs dpkg-deb and gcc"
)


class ReleaseRunner:
    """Answers by the image's release: bad, good, or no boot."""

    def __init__(self, bad: Callable[[str], bool], broken: tuple[str, ...], seen: list[str]) -> None:
        self.bad, self.broken, self.seen = bad, broken, seen

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        assert (Path(image.modules) / f"lib/modules/{image.release}/modules.dep").is_file()
        release = image.release.removesuffix("-amd64")
        if release in self.broken:
            return Observation(Ending.NO_AGENT)
        self.seen.append(release)
        health = "degraded" if self.bad(release) else "healthy"
        result = Result(
            complete=True,
            layers=(LayerFacts("boot", "/dev/x", 511, 512, health),),
            steps=(StepFacts("probe", 0, 1, done=True, exit=0),),
        )
        return Observation(Ending.FINISHED, result, timing=Timing(6, 2, 4, 12), accel="tcg")


class ReleaseSession(Session):
    """A session whose kernels answer by their release."""

    bad: Callable[[str], bool] = staticmethod(lambda release: release.startswith("6.18"))
    broken: tuple[str, ...] = ()

    def runner(self, recipe: Recipe) -> Runner:
        self.seen: list[str] = []
        return ReleaseRunner(self.bad, self.broken, self.seen)


RELEASES = ("6.12.43", "6.12.95", "6.16.3", "6.16.12", "6.17.8", "6.17.13", "6.18.5", "6.18.15", "7.2.6")


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("debs")
    for release in RELEASES:
        build_deb(folder, f"linux-image-{release}-amd64", f"{release}-1", kernel_files(f"{release}-amd64"))
    return folder


@pytest.fixture
def session(tmp_path: Path) -> Iterator[ReleaseSession]:
    with ReleaseSession(Setting(Folders(tmp_path / "cache", tmp_path / "state"), {}, ignore, 1)) as made:
        yield made


def request(debs: Path, good: str = "6.12", bad: str = "6.18", **how: object) -> ReleaseRequest:
    recipe = load("virtio-dio-lvm-raid1-releases")
    search = recipe.search.model_copy(update={"images": (str(debs),), "suites": ()})
    recipe = recipe.model_copy(update={"search": search})
    wanted = ReleaseRequest(recipe, resolved_yaml(recipe), good, bad, cells(recipe))
    return replace(wanted, **how)  # type: ignore[arg-type]


def test_the_range_is_found_and_reported_with_the_command_that_goes_on(session: ReleaseSession, debs: Path) -> None:
    row, outcome = ReleaseCampaign(request(debs), session).run()
    assert outcome.kind is OutcomeKind.RANGE
    assert outcome.summary == "6.17 good, 6.18 bad: look between v6.17 and v6.18"
    assert (str(outcome.good.candidate), str(outcome.bad.candidate)) == ("6.17.13", "6.18.5")  # type: ignore[union-attr]
    assert session.seen == ["6.12.95", "6.18.5", "6.17.8", "6.17.13"]
    report = text.render(facts.gather(session.store, row))
    assert "candidates  4 of at most 6, for 4 series (6.12, 6.16, 6.17, 6.18)" in report
    assert "--good v6.17 --bad" in report
    assert "6.17.13-1" in report
    assert all(len(line) <= 80 for line in report.splitlines() if "/" not in line)
    assert '"next_command"' in json_format.render(facts.gather(session.store, row))


def test_a_scan_shows_introduction_and_fix(session: ReleaseSession, debs: Path) -> None:
    _, outcome = ReleaseCampaign(request(debs, bad="7.2", scan=True), session).run()
    assert outcome.kind is OutcomeKind.RANGE
    assert outcome.summary == (
        "good 6.12 to 6.17, bad 6.18, good 7.2; introduced between 6.17.13 and 6.18.5; fixed between 6.18.15 and 7.2.6"
    )


def test_alike_ends_are_no_range(session: ReleaseSession, debs: Path) -> None:
    _, outcome = ReleaseCampaign(request(debs, bad="7.2"), session).run()
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "--scan tests every series" in outcome.summary


def test_a_fix_is_found(session: ReleaseSession, debs: Path) -> None:
    _, outcome = ReleaseCampaign(request(debs, good="7.2", bad="6.18", direction=FIX), session).run()
    assert outcome.summary == "6.18 bad, 7.2 good: look between v6.18 and v7.2"
    assert outcome.releases is not None
    assert outcome.releases.next_command.endswith("--find-fix --repo LINUX --good v7.2 --bad v6.18")


def test_a_release_that_does_not_boot_is_stepped_over(session: ReleaseSession, debs: Path) -> None:
    session.broken = ("6.17.8",)
    _, outcome = ReleaseCampaign(request(debs), session).run()
    assert outcome.summary == "6.17 good, 6.18 bad: look between v6.17 and v6.18"
    skipped = [str(one.candidate) for one in outcome.judgements if one.verdict is Verdict.SKIP]
    assert skipped == ["6.17.8"]


def test_an_oldest_release_that_does_not_boot_is_stepped_over_too(session: ReleaseSession, debs: Path) -> None:
    session.broken = ("6.12.95",)
    _, outcome = ReleaseCampaign(request(debs), session).run()
    assert outcome.kind is OutcomeKind.RANGE


def test_a_host_that_boots_nothing_gives_no_verdict(session: ReleaseSession, debs: Path) -> None:
    session.broken = RELEASES
    with pytest.raises(InfraError, match="never reached the agent"):
        ReleaseCampaign(request(debs), session).run()
    assert session.store.campaigns()[0].outcome is None


def test_a_package_without_modules_is_left_out_and_not_judged(
    session: ReleaseSession, debs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "debs"
    shutil.copytree(debs, folder)
    empty = {path: data for path, data in kernel_files("6.17.8-amd64").items() if ".ko" not in path}
    build_deb(folder, "linux-image-6.17.8-amd64", "6.17.8-1", empty)
    _, outcome = ReleaseCampaign(request(folder), session).run()
    assert outcome.summary == "6.17 good, 6.18 bad: look between v6.17 and v6.18"
    left_out = next(one for one in outcome.judgements if str(one.candidate) == "6.17.8")
    assert left_out.verdict is Verdict.SKIP
    assert "left out: no modules" in left_out.reason


def test_an_interrupted_search_goes_on_where_it_was(session: ReleaseSession, debs: Path) -> None:
    whole = session.bad

    def cut(release: str) -> bool:
        if release == "6.17.8":
            raise InfraError("the network is gone")
        return whole(release)

    session.bad = cut
    with pytest.raises(InfraError):
        ReleaseCampaign(request(debs), session).run()
    session.bad = whole
    _, outcome = ReleaseCampaign(request(debs, resume=True), session).run()
    assert outcome.kind is OutcomeKind.RANGE
    assert session.seen == ["6.17.8", "6.17.13"]
    assert len(session.store.campaigns()) == 1


def test_what_an_earlier_campaign_tried_is_not_tried_again_and_said(session: ReleaseSession, debs: Path) -> None:
    first, _ = ReleaseCampaign(request(debs), session).run()
    _, outcome = ReleaseCampaign(request(debs), session).run()
    assert outcome.kind is OutcomeKind.RANGE
    assert session.seen == []
    assert f"4 trials were taken over from campaign {first.id}" in outcome.assumptions[-1]
    _, third = ReleaseCampaign(request(debs), session).run()
    assert f"campaign {first.id}" in third.assumptions[-1]  # where they were made, not where they were copied
    ReleaseCampaign(request(debs, fresh=True), session).run()
    assert len(session.seen) == 4


def test_a_resumed_search_takes_each_earlier_trial_over_once(session: ReleaseSession, debs: Path) -> None:
    """It is stopped in its first trial of its own, three times: two trials of an earlier search stay two."""
    wanted = request(debs, source="changed in its title\n")
    with pytest.raises(Interrupted):
        ReleaseCampaign(request(debs), _stopping(session, 2)).run()
    earlier = session.store.campaigns()[0]
    assert [trial.taken_from for trial in session.store.trials(earlier.id)] == [None, None]
    for resume in (False, True, True):
        with pytest.raises(Interrupted):
            ReleaseCampaign(replace(wanted, resume=resume), _stopping(session, 0)).run()
        mine = session.store.trials(session.store.campaigns()[-1].id)
        assert [trial.taken_from for trial in mine] == [earlier.id] * 2
        assert len({trial.folder for trial in mine}) == 2
    _, outcome = ReleaseCampaign(replace(wanted, resume=True), _stopping(session, 99)).run()
    assert f"2 trials were taken over from campaign {earlier.id}" in outcome.assumptions[-1]


def test_what_is_taken_over_is_read_by_the_conditions_of_today(session: ReleaseSession, debs: Path) -> None:
    """The workload is the same and degraded arrays are good now: an earlier verdict of them says nothing."""
    ReleaseCampaign(request(debs), session).run()
    old = request(debs)
    swapped = old.recipe.model_copy(update={"bad_when": old.recipe.good_when, "good_when": old.recipe.bad_when})
    _, outcome = ReleaseCampaign(replace(old, recipe=swapped, source=resolved_yaml(swapped)), session).run()
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "the other way round" in outcome.summary


def _stopping(session: ReleaseSession, trials: int) -> ReleaseSession:
    """A session that is cancelled after so many trials."""

    class Stopping:
        left = trials

        def run(self, image: Image, plan: Plan, folder: Path, **how: Any) -> Observation:
            if self.left == 0:
                return Observation(Ending.CANCELLED)
            self.left -= 1
            return made.run(image, plan, folder, **how)

    made = ReleaseSession.runner(session, None)  # type: ignore[arg-type]
    session.runner = lambda recipe, campaign="": Stopping()  # type: ignore[method-assign]
    return session


def test_what_is_going_to_be_downloaded_is_said_before_it_is(session: ReleaseSession, debs: Path) -> None:
    said: list[str] = []
    session.setting = replace(session.setting, listener=lambda progress: said.append(progress.detail))
    story = ReleaseCampaign(request(debs), session)
    supply = story.supply()
    assert supply.packages is not None
    story.run(supply)
    assert said[0].endswith("candidates, nothing to download")  # a folder of packages: they are here
    sizes = iter(range(1, 100))
    supply.packages.to_download = lambda candidate: next(sizes) * 10_000_000  # type: ignore[method-assign]
    most = int(re.search(r"at most (\d+) candidates", said[0])[1])  # type: ignore[index]
    largest = sorted((10 * number for number in range(1, len(supply.releases) + 1)), reverse=True)
    assert supply.text(scan=False).endswith(
        f"at most {most} candidates, {sum(largest[:most]):,} MB to download at most"
    )
    assert supply.text(scan=True).startswith(f"Releases: {len(supply.releases)} in")


def test_a_recipe_that_says_nothing_stops_at_its_second_release(session: ReleaseSession, debs: Path) -> None:
    old = request(debs)
    bad = next(iter(old.recipe.bad_when.values()))
    recipe = old.recipe.model_copy(update={"bad_when": {"one": bad}, "good_when": {"two": bad}})
    session.bad = staticmethod(lambda release: False)  # type: ignore[method-assign]
    _, outcome = ReleaseCampaign(replace(old, recipe=recipe, source=resolved_yaml(recipe)), session).run()
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert outcome.summary.startswith("the first 4 trials were all neither bad nor good")
    assert len(session.seen) == 4


def test_a_lack_of_releases_between_the_ends_is_said(session: ReleaseSession, debs: Path) -> None:
    with pytest.raises(UsageError, match=r"from 8\.1 to 8\.2, and there is 7\.2\.6"):
        ReleaseCampaign(request(debs, "8.1", "8.2"), session).run()


def test_images_of_any_ci_serve_too(session: ReleaseSession, tmp_path: Path) -> None:
    for number, release in enumerate(("6.17.0", "6.18.0")):
        build = tmp_path / f"build{number}"
        (build / "arch/x86/boot").mkdir(parents=True)
        (build / "include/config").mkdir(parents=True)
        (build / "include/config/kernel.release").write_text(f"{release}\n")
        image = bytearray(0x1000)
        image[0x202:0x206] = b"HdrS"
        (build / "arch/x86/boot/bzImage").write_bytes(bytes(image) + release.encode())
    wanted = request(tmp_path, "6.17", "6.18")
    names = tuple(str(tmp_path / f"build{number}") for number in range(2))
    recipe = wanted.recipe.model_copy(
        update={"search": wanted.recipe.search.model_copy(update={"images": names, "suites": ()})}
    )
    supply = ReleaseCampaign(replace(wanted, recipe=recipe), session).supply()
    assert [str(one) for one in supply.releases] == ["6.17.0", "6.18.0"]
    assert supply.packages is None


# ---- into the source -----------------------------------------------------------------------------------------------


def test_neighbouring_ends_go_straight_into_the_source(session: ReleaseSession, debs: Path) -> None:
    assert both._narrowed(request(debs, "v6.17", "v6.18"), session) is None
    assert both._narrowed(request(debs, "5ff3f74e145a", "v6.18"), session) is None
    assert session.store.campaigns() == ()


def test_far_ends_are_narrowed_first_and_a_finished_range_is_not_searched_again(
    session: ReleaseSession, debs: Path
) -> None:
    wanted = request(debs, "v6.12", "v6.18")
    narrowed = both._narrowed(wanted, session)
    assert narrowed is not None
    facts_ = narrowed[1].releases
    assert facts_ is not None
    assert facts_.tags == (("v6.17", "v6.18"), ("v6.18", "v6.18.5"))
    again = both._narrowed(replace(wanted, resume=True), session)
    assert again is not None
    assert again[0].id == narrowed[0].id


class Configured(FileTarget):
    """Its images show a config, as built ones do."""

    def image(self, candidate: Candidate, **more: Any) -> Image | BuildFailure:
        made = super().image(candidate, **more)
        assert isinstance(made, Image)
        config = self.folder / "config"
        config.write_text("CONFIG_MD=y\nCONFIG_BLK_DEV_NVME=y\nCONFIG_SOUND=y\n")
        return replace(made, config=str(config))


class BothSession(FileSession):
    """Packages answer by their release, commits by the file ``behaviour`` of their tree."""

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        return Configured(clone, self.setting.folders.state, [])

    def runner(self, recipe: Recipe) -> Runner:
        packages = ReleaseRunner(lambda release: release.startswith("6.18"), (), [])
        commits = super().runner(recipe)

        class Both:
            def run(self, image: Image, *words: Any, **more: Any) -> Observation:
                return (packages if image.release else commits).run(image, *words, **more)

        return Both()


def tagged(tmp_path: Path, **tags: tuple[str, ...]) -> History:
    """A line of commits; each tag is set on the last of its commits, which behave as listed."""
    history = History(tmp_path / "linux")
    history.folder.mkdir()
    history.git("init", "-q")
    for tag, behaviours in tags.items():
        for number, behaviour in enumerate(behaviours):
            history.commit(f"{tag}-{number}", behaviour)
        history.git("tag", tag.replace("_", "."))
    return history


def slid(tmp_path: Path, debs: Path, history: History, **how: object) -> tuple[Outcome, Session]:
    with BothSession(Setting(Folders(tmp_path / "cache", tmp_path / "state"), {}, ignore, 1)) as session:
        row, outcome = both.run(request(debs, "v6.12", "v6.18", **how), history.folder, session)
        assert session.store.campaign(row.id).outcome == outcome
        return outcome, session


def test_from_the_range_into_the_source_to_the_culprit(tmp_path: Path, debs: Path) -> None:
    history = tagged(tmp_path, v6_12=("good",), v6_17=("good",), v6_18=("good", "good", "bad", "bad"), v6_18_5=("bad",))
    outcome, _ = slid(tmp_path, debs, history)
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["v6_18-2"]
    assert outcome.assumptions[0].startswith("releases first: 6.17 good, 6.18 bad")


def test_a_base_that_answers_otherwise_leads_into_the_stable_branch(tmp_path: Path, debs: Path) -> None:
    history = tagged(tmp_path, v6_17=("good",), v6_18=("good", "good"), v6_18_5=("good", "bad", "bad"))
    outcome, _ = slid(tmp_path, debs, history)
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["v6_18_5-1"]


def test_a_repository_without_the_tags_ends_with_the_range(tmp_path: Path, debs: Path) -> None:
    outcome, _ = slid(tmp_path, debs, tagged(tmp_path, v5_0=("good", "good")))
    assert outcome.kind is OutcomeKind.RANGE


def test_alike_ends_in_the_source_name_the_symbols_that_differ(tmp_path: Path, debs: Path) -> None:
    history = tagged(tmp_path, v6_17=("good",), v6_18=("good",), v6_18_5=("good",))
    outcome, _ = slid(tmp_path, debs, history)
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "The packages differ" in outcome.summary
    assert "MD y/n" not in outcome.summary  # the same there and here
    assert "BLK_DEV_NVME y/n" in outcome.summary
    assert "SOUND" not in outcome.summary
