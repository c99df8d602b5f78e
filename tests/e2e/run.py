# SPDX-License-Identifier: GPL-2.0-only
"""The end-to-end test: a real campaign on a planted history must name exactly the planted commit.

    python -m tests.e2e.run [--merge] [--culprit N] [--seed S] [--commits N] [--tree TARBALL] [--only-campaign]

Runs the command line as a person would, then looks at everything from outside: exit code, JSON, the user's repository,
processes. Ends with ``N passed, N failed``; exit code 1 when any failed, 3 when the test itself could not be run.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bisector.errors import BisectorError
from tests.e2e import fastimport, prepare
from tests.e2e.edits import TreeUnfit
from tests.e2e.history import Manifest
from tests.e2e.layout import UNTESTABLE, Unplaceable

ROOT = Path(__file__).resolve().parents[2]
OPEN_PROBE = ROOT / "recipes/virtio-open-lvm-raid1.yaml"
INNER_GUEST = ROOT / "recipes/virtio-dio-lvm-raid1.yaml"
CELL = "guest.drives.vda.aio=native"
CAMPAIGN_LIMIT = 50 * 60.0  # seconds
TEST_LIMIT = 15 * 60.0
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@dataclass
class Checks:
    """What was looked at, and what of it was wrong."""

    failed: list[str] = field(default_factory=list)
    passed: int = 0

    def that(self, name: str, holds: bool, detail: str = "") -> None:
        """One check with a name that says what must hold."""
        if holds:
            self.passed += 1
            prepare.stderr(f"PASS {name}")
        else:
            self.failed.append(name)
            prepare.stderr(f"FAIL {name}{': ' if detail else ''}{detail}")

    @property
    def summary(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed"


@dataclass(frozen=True)
class Said:
    """What a command left: exit code (None: killed at its limit), stdout, and its JSON ({} when it is none)."""

    code: int | None
    stdout: str
    document: dict[str, Any]


@dataclass(frozen=True)
class EndToEnd:
    """One whole test. ``logs`` gets one file per command."""

    place: prepare.Place
    repo: Path
    manifest: Manifest
    logs: Path
    checks: Checks
    seconds: dict[str, float]

    def bisector(self, name: str, limit: float, *arguments: str) -> Said:
        """Run our command line; its progress goes to ``logs/NAME.log`` and on to our stderr."""
        argv = [str(Path(sys.executable).with_name("bisector")), *arguments]
        prepare.stderr(f"$ {shlex.join(argv)}")
        with (self.logs / f"{name}.log").open("w") as log:
            log.write(f"$ {shlex.join(argv)}\n")
            environ = self.place.environment(os.environ)
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
            )
            timer = threading.Timer(limit, child.kill)
            timer.start()
            tee = threading.Thread(target=_tee, args=(child.stderr, log))
            tee.start()
            assert child.stdout is not None
            stdout = child.stdout.read()
            code = child.wait()
            late = not timer.is_alive()
            timer.cancel()
            tee.join()
            log.write(stdout)
        return Said(None if late else code, stdout, _object(stdout))

    def campaign(self) -> None:
        """``bisector run`` on the open probe, one cell."""
        ends = ("--repo", str(self.repo), "--good", "good", "--bad", "bad")
        with prepare.phase("campaign", self.seconds):
            said = self.bisector("campaign", CAMPAIGN_LIMIT, "run", str(OPEN_PROBE), *ends, "--cell", CELL, "--json")
        outcome = said.document.get("outcome") or {}
        named = (outcome.get("culprit") or {}).get("oid")
        self.checks.that("campaign: exit code 0", said.code == 0, f"it was {said.code}")
        self.checks.that("campaign: outcome is culprit", outcome.get("kind") == "culprit", str(outcome.get("summary")))
        self.checks.that("campaign: names the planted commit", named == self.manifest.culprit, f"it named {named}")
        self._verdicts(said.document.get("judgements") or [])

    def _verdicts(self, judgements: list[dict[str, Any]]) -> None:
        """Each verdict against what was planted; and that the search met what was planted for it."""
        roles = {commit.oid: commit.role for commit in self.manifest.commits}
        bad = set(fastimport.git(self.repo, "rev-list", "--ancestry-path", f"{self.manifest.culprit}..bad").split())
        bad.add(self.manifest.culprit)
        wrong, met = [], set()
        for judgement in judgements:
            candidate = judgement["candidate"]
            oid = candidate["revision"]
            if oid not in roles or candidate.get("edits"):  # a revert on top of an end is judged by the proof
                continue
            met.add(roles[oid])
            expected = "skip" if roles[oid] in set(UNTESTABLE) else "bad" if oid in bad else "good"
            if judgement["verdict"] != expected:
                wrong.append(f"{oid[:12]} ({roles[oid]}) is {expected}, was judged {judgement['verdict']}")
        self.checks.that("campaign: each verdict is right", bool(judgements) and not wrong, "; ".join(wrong))
        for role in (role for role in UNTESTABLE if role in self.manifest.asked):
            self.checks.that(f"campaign: met the commit that {role}", role in met)

    def inner_guest(self, end: str, expected: int) -> None:
        """``bisector test`` with an inner Linux guest on one end."""
        with prepare.phase(f"inner guest, {end} end", self.seconds):
            candidate = ("--repo", str(self.repo), "--rev", end)
            said = self.bisector(
                f"guest-{end}", TEST_LIMIT, "test", str(INNER_GUEST), *candidate, "--cell", CELL, "--json"
            )
        self.checks.that(f"inner guest: the {end} end is {end}", said.code == expected, f"exit code {said.code}")

    def no_orphans(self) -> None:
        """Every orphan became ours (we are the subreaper), and no record of a living process is left."""
        end = time.monotonic() + 5
        while (left := _children()) and time.monotonic() < end:
            time.sleep(0.2)
        self.checks.that("no process of ours is left", not left, ", ".join(left))
        records = self.place.root / "state/bisector/processes"
        names = [path.name for path in records.iterdir()] if records.exists() else []
        self.checks.that("no process is recorded as living", not names, ", ".join(names))

    def whole(self, only_campaign: bool) -> None:
        """All of it; the user's repository is compared over everything that ran."""
        with prepare.phase("hash of the repository before", self.seconds):
            before = fingerprint(self.repo)
        self.campaign()
        if not only_campaign:
            self.inner_guest("good", 0)
            self.inner_guest("bad", 1)
        with prepare.phase("hash of the repository after", self.seconds):
            after = fingerprint(self.repo)
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        self.checks.that("the user's repository is untouched", not changed, ", ".join(changed[:5]))
        self.no_orphans()


def fingerprint(folder: Path) -> dict[str, str]:
    """Every path below ``folder`` (``.git`` too) with its type, permissions and content; times do not count."""
    return {os.fspath(path.relative_to(folder)): _content(path) for path in _paths(folder)}


def _paths(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            yield Path(parent, name)


def _content(path: Path) -> str:
    mode = path.lstat().st_mode
    if path.is_symlink():
        return f"{mode:o} -> {path.readlink()}"
    if not path.is_file():
        return f"{mode:o}"
    with path.open("rb") as stream:
        return f"{mode:o} {hashlib.file_digest(stream, 'sha1').hexdigest()}"


def _object(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _tee(stream: Any, log: Any) -> None:
    for line in stream:
        log.write(line)
        log.flush()
        prepare.stderr(f"  | {line.rstrip()}")


def _children() -> list[str]:
    """Living processes below us, as pid and name."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            stat = _stat(pid)
            if stat and not stat.endswith(" Z"):
                found.append(stat)
    return found


def _stat(pid: str) -> str:
    try:
        text = Path("/proc", pid, "stat").read_text()
    except OSError:
        return ""
    return f"{text.rpartition(')')[0]}) {text.rpartition(')')[2].split()[0]}"


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = prepare.parser("tests.e2e.run", (__doc__ or "").split("\n")[0])
    parser.add_argument("--only-campaign", action="store_true", help="leave out the inner guest on both ends")
    given = parser.parse_args(argv)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    place, checks = prepare.place(), Checks()
    seconds: dict[str, float] = {}
    logs = place.root / "logs" / time.strftime("%Y%m%d-%H%M%S")
    try:
        logs.mkdir(parents=True)
        with prepare.phase("source and history", seconds):
            repo, manifest = prepare.planted(place, given)
        prepare.stderr(f"Linux {manifest.version}, culprit {manifest.culprit}, expected to meet: {manifest.asked}")
        EndToEnd(place, repo, manifest, logs, checks, seconds).whole(given.only_campaign)
    except BisectorError as error:
        prepare.stderr(f"{error.what}\n{error.hint}")
        return 3
    except (TreeUnfit, Unplaceable, OSError) as error:
        prepare.stderr(str(error))
        return 3
    print("\n".join(f"{taken:7.1f} s  {name}" for name, taken in seconds.items()))
    print(f"logs: {logs}")
    for name in checks.failed:
        print(f"FAILED {name}")
    print(f"e2e: {checks.summary}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
