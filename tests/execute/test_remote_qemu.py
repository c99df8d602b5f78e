# SPDX-License-Identifier: GPL-2.0-only
"""Programs of QEMU that workers build: real workers, git and bundles; the tree is a small one (fake_qemu.py)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bisector.execute.remote import Call
from bisector.interfaces import CancelToken, ignore
from bisector.model import BuildFailure, Candidate, Image, TargetKind
from bisector.recipe.load import load
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import UserRepository
from bisector.system.sandbox import CONFINED
from bisector.system.xdg import Folders
from bisector.target.qemu_source import QemuSource

pytest.importorskip("distributed")

from bisector import worker
from bisector.remote import other_tools
from bisector.remote_build import RemoteBuild
from bisector.worker_build import BuildAnswer
from tests.execute.lab import ROOT, Lab
from tests.search.planted import git
from tests.target.fake_qemu import FILES, MESON, PKG_CONFIG

RECIPE = ROOT / "recipes/qcow2-discard-race.yaml"


@dataclass
class QemuLab(Lab):
    """A repository of small QEMUs."""

    def commit(self, files: dict[str, str] | None = None) -> Candidate:
        """A commit more."""
        if not self.repo.exists():
            self.repo.mkdir()
            git(self.repo, "init", "-q", "-b", "main")
        for name, text in (FILES | (files or {})).items():
            path = self.repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.repo / "configure").chmod(0o755)
        git(self.repo, "add", "-A")
        git(self.repo, "commit", "-q", "-m", "a change", "--allow-empty")
        return Candidate(TargetKind.QEMU_SOURCE, git(self.repo, "rev-parse", "HEAD"))

    def target(self, cache: str = "cache") -> QemuSource:  # type: ignore[override]
        """What builds them."""
        clone = PrivateClone.of(UserRepository(self.repo), self.root / "state", self.processes)
        place = self.root / cache
        return QemuSource(clone, place / "build-dirs", place, ("qemu-img", "qemu-io"), self.processes, jobs=2)


def tools(folder: Path, pkg_config: str = PKG_CONFIG) -> str:
    """A PATH with these tools first."""
    folder.mkdir()
    for name, text in (("meson", MESON), ("pkg-config", pkg_config)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuLab]:
    """Two workers."""
    made = QemuLab(tmp_path_factory.mktemp("lab"))
    made.commit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", tools(made.root / "tools"))
        with made.cluster():
            yield made


def test_a_worker_builds_the_programs_that_this_host_would_and_both_keep_them(lab: QemuLab) -> None:
    where = 'static const char *where(void) { return "%s"; }\n'
    first, second = (lab.commit({"include/where.h": where % name}) for name in ("here", "there"))
    target, other = lab.target(), lab.target("other")
    made = [lab.image(target, each) for each in (first, second)]  # type: ignore[arg-type]
    assert made[0].host.startswith("worker-")
    alone = [other.image(each, listener=ignore, cancel=CancelToken()) for each in (first, second)]
    assert [image.identity for image in made] == [image.identity for image in alone if isinstance(image, Image)]
    assert not list((lab.root / "cache").glob("build-dirs/*"))  # nothing was built on this host
    for image, says in zip(made, ("here", "there"), strict=True):
        assert (lab.cache_of(image.host) / "images" / image.identity / "bin/qemu-img").is_file()
        assert subprocess.check_output([Path(image.programs) / "qemu-img"], text=True) == f"{says}\n"
    assert "Compiling C object qemu-img.o" in target.images.log_of(target.key(second)).read_text()


def test_what_does_not_compile_is_recorded_here(lab: QemuLab) -> None:
    wrong = lab.commit({"include/where.h": "wrong\n"})
    target = lab.target()
    made = lab.failure(target, wrong)  # type: ignore[arg-type]
    assert "where.h" in "".join(made.errors) and target.known(target.key(wrong)) == made


def test_a_worker_that_sends_other_programs_than_it_says_is_not_believed(
    lab: QemuLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate, liars = lab.commit({"include/where.h": 'static const char *where(void) { return "lie"; }\n'}), []
    honest = RemoteBuild._kept

    def lying(self: RemoteBuild, key: str, call: Call, answer: BuildAnswer) -> Image | BuildFailure:
        liars.append(call.worker.name)
        if len(liars) == 1 and isinstance(answer.made, Image):
            answer = replace(answer, made=replace(answer.made, identity="0" * 64))
        return honest(self, key, call, answer)

    monkeypatch.setattr(RemoteBuild, "_kept", lying)
    made = lab.image(lab.target(), candidate)  # type: ignore[arg-type]
    assert made.host == liars[1] != liars[0]


def test_a_host_with_other_libraries_would_build_something_else(tmp_path: Path) -> None:
    recipes = (load(RECIPE),)
    newer = PKG_CONFIG.replace("1.2.13", "1.3.1")
    hosts = [
        worker.Site(
            Folders(tmp_path / "cache", tmp_path / "state"),
            {**os.environ, "PATH": path},
            worker.site(CONFINED).processes,
        )
        for path in (tools(tmp_path / "here"), tools(tmp_path / "there", newer))
    ]
    ours, theirs = (worker.toolchain(recipes, each) for each in hosts)
    assert {"compiler", "linker", "meson", "ninja", "glib-2.0", "zlib", "C library"} == {name for name, _ in ours}
    assert other_tools(ours, ours) == ()
    assert other_tools(theirs, ours) == ("it has zlib 1.3.1, and this campaign builds with zlib 1.2.13",)
