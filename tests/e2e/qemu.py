# SPDX-License-Identifier: GPL-2.0-only
"""QEMU end to end: the recipe of the qcow2 race on a planted history over the distribution's own QEMU source.

    python -m tests.e2e.qemu [--tree TARBALL_OR_FOLDER] [--seeds N]

With the change that serialises discards no seed may corrupt the image, without it every seed must; the search must
name the commit that takes the change out, and with --find-fix the one that puts it in. Ends with ``N passed, N
failed``; exit code 1 when any failed, 3 when the test itself could not be run.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bisector.errors import BisectorError
from bisector.system.apt import Archive, host_mirror
from tests.e2e import prepare, qemu_history
from tests.e2e.edits import TreeUnfit
from tests.e2e.qemu_history import Manifest, Role
from tests.e2e.run import PR_SET_CHILD_SUBREAPER, ROOT, Checks, Said, _children, _object, fingerprint

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

    place: prepare.Place
    repo: Path
    manifest: Manifest
    logs: Path
    checks: Checks
    seconds: dict[str, float]

    def bisector(self, name: str, *arguments: str) -> Said:
        """Run our command line; what it says on stderr goes to ``logs/NAME.log``."""
        argv = [str(Path(sys.executable).with_name("bisector")), *arguments]
        prepare.stderr(f"$ {shlex.join(argv)}")
        with (self.logs / f"{name}.log").open("w") as log:
            environ = self.place.environment(os.environ)
            try:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environ, text=True,
                    timeout=LIMIT, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return Said(None, "", {})
            log.write(done.stdout)
        return Said(done.returncode, done.stdout, _object(done.stdout))

    def corruption(self, seeds: int) -> None:
        """Each seed on a QEMU with the change and on one without it; every trial's seed is another one."""
        where = ("test", str(RECIPE), "--repo", str(self.repo), "--json", "--rev")
        with prepare.phase("with the change", self.seconds):
            said = self.bisector("fixed", *where, "fixed", "--trials", str(seeds))
        fixed = _trials(said)
        self.checks.that("with the change: good", said.code == 0, f"exit code {said.code}")
        self.checks.that(f"with the change: corrupt in 0 of {seeds} seeds", _figure(fixed) == (0, seeds), _told(fixed))
        with prepare.phase("without the change", self.seconds):
            found = [_trials(self.bisector(f"end-{n}", *where, "end", "--trials", "1")) for n in range(seeds)]
        end = [trial for trials in found for trial in trials]
        self.checks.that(f"without it: corrupt in {seeds} of {seeds} seeds", _figure(end) == (seeds, seeds), _told(end))
        self.checks.that("every trial had a seed of its own", len({t["seed"] for t in fixed + end}) == 2 * seeds)
        self.checks.that("with and without it are two images", len({t["image"] for t in fixed + end}) == 2)

    def controls(self) -> None:
        """The recipe's controls on the QEMU with the change."""
        with prepare.phase("controls", self.seconds):
            where = ("--repo", str(self.repo), "--rev", "fixed", "--controls", "--json")
            said = self.bisector("controls", "test", str(RECIPE), *where)
        for cell in said.document.get("cells") or [{"cell": {"name": "none"}, "as_expected": False}]:
            self.checks.that(f"control {cell['cell']['name'] or '(none)'}: as expected", cell["as_expected"])

    def campaign(self, name: str, role: Role, good: str, bad: str, *more: str) -> None:
        """``bisector run`` between two tags must name the commit of ``role``."""
        with prepare.phase(name, self.seconds):
            ends = ("--repo", str(self.repo), "--good", good, "--bad", bad)
            said = self.bisector(name, "run", str(RECIPE), *ends, *more, "--json")
        outcome = said.document.get("outcome") or {}
        named = (outcome.get("culprit") or {}).get("oid")
        self.checks.that(f"{name}: exit code 0", said.code == 0, f"it was {said.code}")
        self.checks.that(f"{name}: names the planted commit", named == self.manifest.oid(role), f"it named {named}")
        prepare.stderr(f"{name}: {outcome.get('summary')}")
        self._verdicts(name, said.document.get("judgements") or [])

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
        self.checks.that(f"{name}: each verdict is right", bool(judgements) and not wrong, "; ".join(wrong))
        told = f"{len(images)} commits built, {len(set(images.values()))} images"
        same = len(set(images.values())) == len(contents)
        self.checks.that(f"{name}: what is not built changes no image", same, told)
        prepare.stderr(f"{name}: {told}")

    def whole(self, seeds: int) -> None:
        """All of it; the user's repository is compared over everything that ran."""
        before = fingerprint(self.repo)
        self.corruption(seeds)
        self.controls()
        self.campaign("introduction", Role.CULPRIT, "fixed", "end")
        self.campaign("fix", Role.FIX, "fixed", "start", "--find-fix")
        changed = [path for path, content in fingerprint(self.repo).items() if before.get(path) != content]
        self.checks.that("the user's repository is untouched", not changed, ", ".join(changed[:5]))
        self.checks.that("no process of ours is left", not _children(), ", ".join(_children()))


def _trials(said: Said) -> list[dict[str, Any]]:
    cells = said.document.get("cells") or []
    return [trial for cell in cells if cell["judgement"] for trial in cell["judgement"]["trials"]]


def _figure(trials: list[dict[str, Any]]) -> tuple[int, int]:
    signals = [trial["reading"]["signal"] for trial in trials]
    return signals.count("reproduced"), signals.count("reproduced") + signals.count("clean")


def _told(trials: list[dict[str, Any]]) -> str:
    reproduced, told = _figure(trials)
    return f"{reproduced} of {told}"


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.qemu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tree", type=Path, help="tarball or folder of QEMU 7.2 or later; default: the archive's")
    parser.add_argument("--seeds", type=int, default=8, help="trials with the change and without it")
    given = parser.parse_args(argv)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    place, checks = prepare.place(), Checks()
    seconds: dict[str, float] = {}
    logs = place.root / "logs" / time.strftime("qemu-%Y%m%d-%H%M%S")
    try:
        logs.mkdir(parents=True)
        repo = place.root / "qemu"
        with prepare.phase("source and history", seconds):
            manifest = (
                qemu_history.read(repo) if repo.exists() else qemu_history.build(given.tree or source(place), repo)
            )
        prepare.stderr(f"QEMU {manifest.version}: {json.dumps({role: oid[:12] for oid, role in _places(manifest)})}")
        EndToEnd(place, repo, manifest, logs, checks, seconds).whole(given.seeds)
    except BisectorError as error:
        prepare.stderr(f"{error.what}\n{error.hint}")
        return 3
    except (TreeUnfit, OSError) as error:
        prepare.stderr(str(error))
        return 3
    print("\n".join(f"{taken:7.1f} s  {name}" for name, taken in seconds.items()))
    print(f"logs: {logs}")
    for name in checks.failed:
        print(f"FAILED {name}")
    print(f"e2e-qemu: {checks.summary}")
    return 1 if checks.failed else 0


def _places(manifest: Manifest) -> list[tuple[str, str]]:
    wanted = (Role.FIX, Role.CULPRIT, Role.UNBUILDABLE)
    return [(oid, role) for oid, role in zip(manifest.commits, manifest.roles, strict=True) if role in wanted]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
