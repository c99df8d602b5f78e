# SPDX-License-Identifier: GPL-2.0-only
"""A campaign builds with the toolchain it began with, also when it is resumed on a host that has another one now.

Kernels are small (tests/target/fake_kernel.py) and built by the real target; what a trial shows is acted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bisector import toolchain
from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.errors import InfraError, ToolchainChanged
from bisector.interfaces import Runner
from bisector.model import Outcome, OutcomeKind
from bisector.recipe.load import load
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.session import Session, Setting
from bisector.store import CampaignRow
from bisector.system import shipped
from bisector.system.xdg import Folders
from tests.campaign.acting import RECIPE, ActedRunner, World
from tests.search.planted import git
from tests.target.fake_kernel import MAKEFILE, FakeTree

TEXT = RECIPE.replace("LASTING", "count: 1").replace("[base, lvm-raid]", "[./my.config]")
COMPILER = '#!/bin/sh\n[ "$1" = --version ] && echo "gcc (Test) {0}" && exit\nexec {1} "$@"\n'
NAMED = MAKEFILE.replace('"by $(KBUILD_BUILD_USER)', '"by $$(gcc --version)')  # as a kernel names its compiler
COUNT, FIRST_BAD = 4, 2
KNOWN = tuple(re.findall(r"^CONFIG_(\w+)=", "".join(map(Path.read_text, shipped.kconfigs().glob("*.config"))), re.M))


@dataclass
class Host:
    """A host whose compiler may change: ``upgrade``. ``messages``: what the listener heard."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    world: World = field(default_factory=World)
    messages: list[str] = field(default_factory=list)
    oids: list[str] = field(default_factory=list)

    def upgrade(self, version: str) -> None:
        place = self.root / "bin"
        place.mkdir(exist_ok=True)
        (place / "gcc").write_text(COMPILER.format(version, shutil.which("gcc", path="/usr/bin:/bin")))
        (place / "gcc").chmod(0o755)
        self.monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH'].removeprefix(f'{place}:')}")

    def plant(self) -> None:
        """A strand of commits, of which the later ones have the bug."""
        repo = self.root / "linux"
        repo.mkdir()
        git(repo, "init", "-q", "-b", "main")
        (self.root / "my.config").write_text("CONFIG_BLOCK=y\n")
        for number in range(COUNT):
            disk = f"disk {number} {'bug' if number >= FIRST_BAD else ''}\n"
            files = {"Makefile": NAMED, "drivers/core.c": "core\n", "drivers/disk.c": disk}
            FakeTree(repo, files, kconfig=KNOWN).write()
            git(repo, "add", "-A")
            git(repo, "commit", "-q", "-m", f"c{number}")
            self.oids.append(git(repo, "rev-parse", "HEAD"))

    def run(self, *, resume: bool = False, fails_after: int = 10**9) -> tuple[CampaignRow, Outcome]:
        """A campaign, or the rest of one; the harness breaks for good after so many trials."""
        world = self.world
        world.fails_after = len(world.plans) + fails_after

        class ToolSession(Session):
            def runner(self, recipe: Recipe) -> Runner:
                return ActedRunner(world)

        file = self.root / "acted.yaml"
        file.write_text(TEXT)
        recipe = load(file)
        repo, ends = self.root / "linux", (self.oids[0], self.oids[-1])
        request = CommitRequest(recipe, resolved_yaml(recipe), repo, *ends, cells(recipe), resume=resume)
        places = Folders(self.root / "cache", self.root / "state")
        setting = Setting(places, {}, lambda progress: self.messages.append(progress.detail), 1)
        with ToolSession(setting) as session:
            return CommitCampaign(request, session).run()

    def broken_off(self, trials: int) -> None:
        """A campaign that the harness ended after so many trials."""
        with pytest.raises(InfraError):
            self.run(fails_after=trials)

    def compilers(self) -> set[str]:
        """What built the images that the cache holds."""
        images = (self.root / "cache" / "images").glob("*/image.json")
        return {dict(json.loads(image.read_text())["tools"])["compiler"] for image in images}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path, monkeypatch)
    found.upgrade("12.2")
    found.plant()
    return found


def test_another_compiler_builds_nothing_of_a_campaign_that_goes_on(host: Host) -> None:
    host.broken_off(trials=3)
    host.upgrade("13.1")
    with pytest.raises(ToolchainChanged) as error:
        host.run(resume=True)
    assert "gcc: gcc (Test) 12.2" in error.value.what and "gcc: gcc (Test) 13.1" in error.value.what
    assert "PATH" in error.value.hint and "without --resume" in error.value.hint
    assert host.compilers() == {"gcc: gcc (Test) 12.2"}
    assert any("Nothing is built anew" in message and "13.1" in message for message in host.messages)
    host.upgrade("12.2")
    _, outcome = host.run(resume=True)
    assert outcome.culprit and outcome.culprit.oid == host.oids[FIRST_BAD]
    assert host.compilers() == {"gcc: gcc (Test) 12.2"}


def test_a_campaign_of_an_earlier_version_is_held_to_what_built_its_images(host: Host) -> None:
    host.broken_off(trials=3)
    (memory,) = (host.root / "state" / "campaigns").glob(f"*/{toolchain.MEMORY}")
    memory.unlink()
    host.upgrade("13.1")
    with pytest.raises(ToolchainChanged, match=r"12\.2.*13\.1"):
        host.run(resume=True)


def test_what_is_built_is_enough_where_nothing_is_left_to_build(host: Host) -> None:
    """The last trials are lost, and every image is there: nothing of the second compiler comes in."""
    _, whole = host.run()
    trials = len(host.world.plans)
    host.broken_off(trials=trials - 3)  # another campaign, which is broken off in its proof
    host.upgrade("13.1")
    _, outcome = host.run(resume=True)
    assert outcome.kind is whole.kind is OutcomeKind.CULPRIT
    assert outcome.culprit == whole.culprit
    assert host.compilers() == {"gcc: gcc (Test) 12.2"}


def test_a_campaign_begun_anew_builds_all_by_the_new_compiler(host: Host) -> None:
    host.broken_off(trials=3)
    host.upgrade("13.1")
    _, outcome = host.run()
    assert outcome.culprit and outcome.culprit.oid == host.oids[FIRST_BAD]
    judged = [each for each in (outcome.good, outcome.bad, *outcome.judgements, *outcome.proof) if each]
    folder = host.root / "cache" / "images"
    built = {dict(json.loads((folder / each.image / "image.json").read_text())["tools"])["compiler"] for each in judged}
    assert built == {"gcc: gcc (Test) 13.1"}


def test_a_compiler_that_changes_while_a_campaign_runs_builds_nothing(host: Host) -> None:
    begin: Callable[[str], None] = host.messages.append

    class Upgrading(list[str]):
        def append(self, message: str) -> None:
            begin(message)
            if message.startswith("Search between"):
                host.upgrade("13.1")

    host.messages = Upgrading()
    with pytest.raises(ToolchainChanged, match=r"12\.2.*13\.1"):
        host.run()
    assert host.compilers() == {"gcc: gcc (Test) 12.2"}
