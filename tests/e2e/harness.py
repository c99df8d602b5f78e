# SPDX-License-Identifier: GPL-2.0-only
"""What every end-to-end script does alike: run commands as a person would, look from outside, sum up, exit."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bisector.errors import BisectorError
from bisector.system.records import left_behind
from tests.e2e import prepare
from tests.e2e.edits import TreeUnfit
from tests.e2e.layout import Unplaceable

ROOT = Path(__file__).resolve().parents[2]
OPEN_PROBE = ROOT / "recipes/virtio-open-lvm-raid1.yaml"
CELL = "guest.drives.vda.aio=native"
BISECTOR = str(Path(sys.executable).with_name("bisector"))
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
GONE_WITHIN = 5.0
"""Seconds in which everything that an ended command started must be gone."""


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

    @property
    def outcome(self) -> dict[str, Any]:
        return self.document.get("outcome") or {}

    @property
    def culprit(self) -> str:
        """The id of the commit that is named, or "none"."""
        return str((self.outcome.get("culprit") or {}).get("oid", "none"))

    @property
    def judgements(self) -> list[dict[str, Any]]:
        return self.document.get("judgements") or []


@dataclass(frozen=True)
class Scene:
    """Where one script plays. ``logs`` gets one file per command, ``seconds`` one figure per phase."""

    place: prepare.Place
    logs: Path
    checks: Checks
    seconds: dict[str, float]

    def bisector(self, name: str, limit: float, *arguments: str) -> Said:
        """Run our command line for ``limit`` seconds at most; its progress goes to ``logs/NAME.log`` and our stderr."""
        argv = [BISECTOR, *arguments]
        prepare.stderr(f"$ {shlex.join(argv)}")
        with (self.logs / f"{name}.log").open("w") as log:
            log.write(f"$ {shlex.join(argv)}\n")
            environ = self.place.environment(os.environ)
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
            )
            timer = threading.Timer(limit, child.kill)
            timer.start()
            teeing = threading.Thread(target=tee, args=(child.stderr, log))
            teeing.start()
            assert child.stdout is not None
            stdout = child.stdout.read()
            code = child.wait()
            late = not timer.is_alive()
            timer.cancel()
            teeing.join()
            log.write(stdout)
        return Said(None if late else code, stdout, json_object(stdout))

    def phase(self, name: str) -> Any:
        """A context whose time is reported at the end."""
        return prepare.phase(name, self.seconds)

    def untouched(self, what: str, folder: Path, before: dict[str, str]) -> None:
        """Check that ``folder`` is as ``before``, which ``fingerprint`` gave."""
        after = fingerprint(folder)
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        self.checks.that(f"{what} is untouched", not changed, ", ".join(changed[:5]))

    def no_orphans(self) -> None:
        """Every orphan became ours (we are the subreaper), and no record of a process is left behind.

        Another command may work in the same folders meanwhile: what it recorded is its own.
        """
        left = still_there()
        self.checks.that("no process of ours is left", not left, ", ".join(left))
        records = self.place.root / "state/bisector/processes"
        names = [path.name for path in left_behind(records)]
        self.checks.that("no process is recorded as living", not names, ", ".join(names))


def play(name: str, story: Callable[[Scene], None]) -> int:
    """Run ``story``, and print times, what failed and ``NAME: N passed, N failed``.

    Returns an exit code: 1 when a check failed, 3 when the test itself could not be run.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    place = prepare.place()
    scene = Scene(place, place.root / "logs" / time.strftime(f"{name}-%Y%m%d-%H%M%S"), Checks(), {})
    try:
        scene.logs.mkdir(parents=True)
        story(scene)
    except BisectorError as error:
        prepare.stderr(f"{error.what}\n{error.hint}")
        return 3
    except (TreeUnfit, Unplaceable, OSError) as error:
        prepare.stderr(str(error))
        return 3
    print("\n".join(f"{taken:7.1f} s  {phase}" for phase, taken in scene.seconds.items()))
    print(f"logs: {scene.logs}")
    for failed in scene.checks.failed:
        print(f"FAILED {failed}")
    print(f"{name}: {scene.checks.summary}")
    return 1 if scene.checks.failed else 0


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


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that ``text`` is, {} when it is none."""
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def still_there() -> list[str]:
    """What lives below us after it had its time to end, as pid and name."""
    end = time.monotonic() + GONE_WITHIN
    while (left := _children()) and time.monotonic() < end:
        _reap()
        time.sleep(0.1)
    return left


def tee(stream: Any, log: Any) -> None:
    """Write each line to the log and to our stderr."""
    for line in stream:
        log.write(line)
        log.flush()
        prepare.stderr(f"  | {line.rstrip()}")


def _children() -> list[str]:
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


def _reap() -> None:
    """Collect the ended orphans that became ours."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
