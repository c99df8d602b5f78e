# SPDX-License-Identifier: GPL-2.0-only
"""QEMU end to end: the recipe of the qcow2 race on a planted history over the distribution's own QEMU source.

    python -m tests.e2e.qemu [--tree TARBALL_OR_FOLDER] [--seeds N]

With the change that serialises discards no seed may corrupt the image, without it every seed must; the search must
name the commit that takes the change out, and with --find-fix the one that puts it in. Ends with ``e2e-qemu: N
passed, N failed``; exit code 1 when any failed, 3 when the test itself could not be run.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bisector.system.apt import Archive, host_mirror
from tests.e2e import prepare, qemu_history
from tests.e2e.harness import ROOT, Said, Scene, fingerprint, play
from tests.e2e.qemu_history import Manifest, Role

RECIPE = ROOT / "recipes/qcow2-discard-race.yaml"
FIRST, LAST = (7, 2), (10, 0, 99)  # versions that the change was written for
FIGURE = 1 + next(n for n, commit in enumerate(qemu_history.PLAN) if commit.role is Role.CHANGED)
LIMIT = 3600.0  # seconds of one command; a first build takes one to ten minutes of two cores


def source(place: prepare.Place) -> Path:
    """The upstream tarball of this release's own QEMU, as the distribution has it. Raises InfraError."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    archive = Archive(place.processes, place.root / "apt" / codename, (codename,), host_mirror(place.processes))
    archive.update()
    version, tarball = archive.download_source_between("qemu", FIRST, LAST, place.root / "sources")
    prepare.stderr(f"took the tarball of qemu {version.version}")
    return tarball


@dataclass(frozen=True)
class EndToEnd:
    """One whole test."""

    scene: Scene
    repo: Path
    manifest: Manifest

    def bisector(self, name: str, *arguments: str) -> Said:
        """Run our command line; its log is ``NAME.log``."""
        return self.scene.bisector(name, LIMIT, *arguments)

    def corruption(self, seeds: int) -> None:
        """Each seed on a QEMU with the change and on one without it; every trial's seed is another one."""
        checks = self.scene.checks
        where = ("test", str(RECIPE), "--repo", str(self.repo), "--json", "--rev")
        with self.scene.phase("with the change"):
            said = self.bisector("fixed", *where, "fixed", "--trials", str(seeds))
        fixed = _trials(said)
        checks.that("with the change: good", said.code == 0, f"exit code {said.code}")
        checks.that(f"with the change: corrupt in 0 of {seeds} seeds", _figure(fixed) == (0, seeds), _readings(fixed))
        with self.scene.phase("without the change"):
            found = [_trials(self.bisector(f"end-{n}", *where, "end", "--trials", "1")) for n in range(seeds)]
        end = [trial for trials in found for trial in trials]
        checks.that(f"without it: corrupt in {seeds} of {seeds} seeds", _figure(end) == (seeds, seeds), _readings(end))
        checks.that("every trial had a seed of its own", len({t["seed"] for t in fixed + end}) == 2 * seeds)
        checks.that("with and without it are two images", len({t["image"] for t in fixed + end}) == 2)

    def controls(self) -> None:
        """The recipe's controls on the QEMU with the change."""
        with self.scene.phase("controls"):
            where = ("--repo", str(self.repo), "--rev", "fixed", "--controls", "--json")
            said = self.bisector("controls", "test", str(RECIPE), *where)
        for cell in said.document.get("cells") or [{"cell": {"name": "none"}, "as_expected": False}]:
            self.scene.checks.that(f"control {cell['cell']['name'] or '(none)'}: as expected", cell["as_expected"])

    def campaign(self, name: str, role: Role, good: str, bad: str, *more: str) -> None:
        """``bisector run`` between two tags must name the commit of ``role``."""
        with self.scene.phase(name):
            ends = ("--repo", str(self.repo), "--good", good, "--bad", bad)
            said = self.bisector(name, "run", str(RECIPE), *ends, *more, "--json")
        named, checks = said.culprit, self.scene.checks
        checks.that(f"{name}: exit code 0", said.code == 0, f"it was {said.code}")
        checks.that(f"{name}: names the planted commit", named == self.manifest.oid(role), f"it named {named}")
        prepare.stderr(f"{name}: {said.outcome.get('summary')}")
        self._verdicts(name, said.judgements)

    def _verdicts(self, name: str, judgements: list[dict[str, Any]]) -> None:
        """Each as planted; and commits with the same answer, but for one that changes a figure, share one image."""
        wrong: list[str] = []
        images: dict[str, str] = {}
        contents = set()
        for judgement in judgements:
            oid = judgement["candidate"]["revision"]
            if judgement["candidate"].get("edits"):  # a revert on top of an end is judged by the proof
                continue
            if judgement["verdict"] != self.manifest.answer(oid):
                wrong.append(f"{oid[:12]} is {self.manifest.answer(oid)}, was judged {judgement['verdict']}")
            if judgement["image"]:
                images[oid] = judgement["image"]
                contents.add((judgement["verdict"], self.manifest.commits.index(oid) >= FIGURE))
        self.scene.checks.that(f"{name}: each verdict is right", bool(judgements) and not wrong, "; ".join(wrong))
        counts = f"{len(images)} commits built, {len(set(images.values()))} images"
        same = len(set(images.values())) == len(contents)
        self.scene.checks.that(f"{name}: what is not built changes no image", same, counts)
        prepare.stderr(f"{name}: {counts}")

    def whole(self, seeds: int) -> None:
        """All of it; the user's repository is compared over everything that ran."""
        before = fingerprint(self.repo)
        self.corruption(seeds)
        self.controls()
        self.campaign("introduction", Role.CULPRIT, "fixed", "end")
        self.campaign("fix", Role.FIX, "fixed", "start", "--find-fix")
        self.scene.untouched("the user's repository", self.repo, before)
        self.scene.no_orphans()


def _trials(said: Said) -> list[dict[str, Any]]:
    cells = said.document.get("cells") or []
    return [trial for cell in cells if cell["judgement"] for trial in cell["judgement"]["trials"]]


def _figure(trials: list[dict[str, Any]]) -> tuple[int, int]:
    signals = [trial["reading"]["signal"] for trial in trials]
    return signals.count("reproduced"), signals.count("reproduced") + signals.count("clean")


def _readings(trials: list[dict[str, Any]]) -> str:
    reproduced, conclusive = _figure(trials)
    return f"{reproduced} of {conclusive}"


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.qemu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tree", type=Path, help="tarball or folder of QEMU 7.2 or later; default: the archive's")
    parser.add_argument("--seeds", type=int, default=8, help="trials with the change and without it")
    given = parser.parse_args(argv)

    def story(scene: Scene) -> None:
        repo = scene.place.root / "qemu"
        with scene.phase("source and history"):
            manifest = (
                qemu_history.read(repo)
                if repo.exists()
                else qemu_history.build(given.tree or source(scene.place), repo)
            )
        prepare.stderr(f"QEMU {manifest.version}: {json.dumps({role: oid[:12] for oid, role in _places(manifest)})}")
        EndToEnd(scene, repo, manifest).whole(given.seeds)

    return play("e2e-qemu", story)


def _places(manifest: Manifest) -> list[tuple[str, str]]:
    wanted = (Role.FIX, Role.CULPRIT, Role.UNBUILDABLE)
    return [(oid, role) for oid, role in zip(manifest.commits, manifest.roles, strict=True) if role in wanted]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
