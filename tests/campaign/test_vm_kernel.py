# SPDX-License-Identifier: GPL-2.0-only
"""A campaign that tries QEMU keeps the kernel that its VMs began with, whatever packages come and go.

The cache of images is the real one; the packages, the builds and what a trial shows are acted.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bisector.agent.plan import Plan, Result, StepFacts
from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.errors import InfraError, UsageError
from bisector.interfaces import CancelToken, Listener, Progress, Runner, Target
from bisector.model import Candidate, Ending, Image, Observation, OutcomeKind, TargetKind, Timing
from bisector.recipe.load import loads
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.session import Session, Setting
from bisector.system.xdg import Folders
from bisector.target.images import Images
from tests.campaign.file_session import FileTarget, History, line

RECIPE = """\
recipe: versions
target: {qemu: {build: [qemu-img]}}
vm: {memory: 512M, cpus: 1, accel: tcg}
trials: 2
steps:
  - version: {run: [qemu-img, --version]}
bad_when:
  broken: {exit: {version: 7}}
good_when:
  ours: {exit: {version: 0}}
"""


@dataclass
class Shelf:
    """Released kernels, oldest first, by version."""

    cache: Path
    versions: list[str]
    asked: list[str] = field(default_factory=list)

    def candidate(self, wanted: str) -> Candidate:
        self.asked.append(wanted)
        if wanted not in self.versions:
            raise UsageError(f"no kernel package {wanted}")
        return Candidate(TargetKind.KERNEL_PACKAGE, wanted)

    def newest(self) -> Candidate:
        self.asked.append("newest")
        return Candidate(TargetKind.KERNEL_PACKAGE, self.versions[-1])

    def key(self, candidate: Candidate) -> str:
        return candidate.revision

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image:
        images = Images(self.cache)
        with images.staging() as staged:
            (staged / "kernel").write_text(f"Linux {candidate.revision}")
            return images.keep(candidate.revision, staged, Image("", "", release=candidate.revision))


@dataclass
class CommandRunner:
    """The behaviour of an image is its exit code. Notes what VMs boot; after ``most`` trials the harness breaks."""

    kernels: list[str]
    most: int

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        if len(self.kernels) >= self.most:
            return Observation(Ending.HARNESS, detail="QEMU was killed by signal 9")
        self.kernels.append(plan.kernel)
        step = StepFacts("version", 0, 1, done=True, exit=int(image.identity))
        return Observation(Ending.FINISHED, Result(complete=True, steps=(step,)), timing=Timing(6, 2, 4, 12))


@dataclass
class Host:
    """A host with an archive, and a history of QEMU of which the last two commits are bad."""

    folders: Folders
    history: History
    shelf: Shelf
    kernels: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    def run(self, *, resume: bool = False, trials: int = 1000) -> OutcomeKind:
        """A campaign, or the rest of one, whose harness breaks after so many trials more."""
        host, most = self, len(self.kernels) + trials

        class ShelfSession(Session):
            def source(self, recipe: Recipe, cells: object, clone: object) -> Target:
                return FileTarget(clone, self.setting.folders.state, [])

            def runner(self, recipe: Recipe) -> Runner:
                return CommandRunner(host.kernels, most)

            def _packages(self, *_: object) -> Shelf:
                return host.shelf

        def listener(progress: Progress) -> None:
            self.heard.append(progress.detail)

        oids = list(self.history.oids.values())
        recipe = loads(RECIPE, "versions.yaml")
        request = CommitRequest(
            recipe, resolved_yaml(recipe), self.history.folder, oids[0], oids[-1], cells(recipe)[:1], resume=resume
        )
        with ShelfSession(Setting(self.folders, {}, listener, jobs=1)) as session:
            return CommitCampaign(request, session).run()[1].kind

    @property
    def booted(self) -> set[str]:
        """Versions of the kernels that VMs booted."""
        images = Images(self.folders.cache)
        return {held.release if (held := images.held(each)) else each for each in self.kernels}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    repo = tmp_path / "qemu"
    repo.mkdir()
    history = History(repo)
    history.git("init", "-q")
    line(history, "0", "0", "0", "0", "7", "7")
    folders = Folders(cache=tmp_path / "cache", state=tmp_path / "state")
    return Host(folders, history, Shelf(folders.cache, ["6.12.1", "6.18.1"]))


def broken_off(host: Host) -> None:
    with pytest.raises(InfraError):
        host.run(trials=3)
    assert host.booted == {"6.18.1"}
    host.shelf.versions.append("6.19.1")
    host.shelf.asked.clear()


def test_a_newer_package_is_not_booted_by_a_campaign_that_began_before_it(host: Host) -> None:
    broken_off(host)
    assert host.run(resume=True) is OutcomeKind.CULPRIT
    assert host.booted == {"6.18.1"}
    assert host.shelf.asked == []  # what the cache has needs no archive
    assert host.run() is OutcomeKind.CULPRIT
    assert host.booted == {"6.18.1", "6.19.1"}


def test_a_kernel_that_the_cache_lost_is_fetched_by_its_version(host: Host) -> None:
    broken_off(host)
    shutil.rmtree(host.folders.cache / "images")
    assert host.run(resume=True) is OutcomeKind.CULPRIT
    assert host.booted == {"6.18.1"}


def test_a_kernel_that_is_gone_ends_the_campaign_with_what_to_do(host: Host) -> None:
    broken_off(host)
    shutil.rmtree(host.folders.cache / "images")
    host.shelf.versions.remove("6.18.1")
    tried = len(host.kernels)
    with pytest.raises(InfraError, match=r"began with the kernel 6\.18\.1 .* no kernel package 6\.18\.1") as failed:
        host.run(resume=True)
    assert "without --resume" in failed.value.hint
    assert len(host.kernels) == tried


def test_a_package_whose_content_changed_is_another_kernel(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(host)
    shutil.rmtree(host.folders.cache / "images")
    monkeypatch.setattr(Shelf, "image", lambda self, candidate, **_: replace(image, identity="another"))
    image = Image("", str(host.folders.state / "kernel"), release="6.18.1")
    with pytest.raises(InfraError, match="another kernel"):
        host.run(resume=True)
