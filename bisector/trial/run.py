# SPDX-License-Identifier: GPL-2.0-only
"""One trial in a VM: image and plan in, observation out. Ends at the first thing that decides it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bisector.agent.plan import Plan, Result
from bisector.errors import BisectorError
from bisector.model import CancelToken, ConsoleEvent, Ending, Image, Listener, Observation, Progress, Timing
from bisector.system.proc import Child, Processes, ProgramMissing
from bisector.trial import vng
from bisector.trial.console import Complaint, Console, Marker, Sight
from bisector.trial.logfile import BoundedLog
from bisector.trial.workspace import ResultBroken, Workspace

TICK = 0.2  # seconds between two looks at the clock, the cancel wish and the disk
TRACE = 2.0  # seconds after a crash for its trace to reach the log
OVERTIME = 5.0  # seconds beyond the plan's deadline for the agent to tell of it itself
LATE = 2.0  # seconds after the end marker for the result to be there
BOOT = {"tcg": 90.0, "kvm": 45.0}  # seconds to the agent's first sign


@dataclass(frozen=True)
class VmRunner:
    """Runs trials through virtme-ng. Picklable.

    Args:
        processes: starts and records what runs.
        accel: "kvm" or "tcg" (``accel.py`` finds out which); a plan's own ``accel`` goes before.
        boot_deadline: seconds to the agent's first sign; 0: 90 s emulated, 45 s with KVM.
        vng: the program, by name or path; by default the one beside our Python, else in PATH.
        environ: where PATH and TMPDIR are read; this process's when None.
    """

    processes: Processes
    accel: str = "tcg"
    boot_deadline: float = 0.0
    vng: str = ""
    environ: Mapping[str, str] | None = field(default=None)

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        """Run one trial; what it leaves (plan, result, console.log, command) goes into ``folder``.

        Never raises for what a kernel does, nor for a failing harness, which is the ending HARNESS.
        """
        accel = plan.accel or self.accel
        plan = replace(plan, accel=accel, token=plan.token or secrets.token_hex(6))
        environ = os.environ if self.environ is None else self.environ
        trial = _Trial(plan, image, self.boot_deadline or BOOT[accel], listener, cancel)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            program = self.vng or find_vng(environ)
            qemu = shutil.which("qemu-system-x86_64", path=environ.get("PATH", os.defpath))
            if qemu is None:
                return trial.harness("qemu-system-x86_64 was not found in PATH; install qemu-system-x86")
            with Workspace(environ) as workspace:
                workspace.fill(plan)
                workspace.fill_for_vm(image, plan, qemu)
                argv = vng.arguments(image, plan, workspace.places, accel=accel, vng=program)
                (folder / "command").write_text(shlex.join(argv) + "\n")
                env = vng.environment(workspace.places, environ, program)
                with self.processes.start(argv, cwd=Path("/"), env=env) as child:
                    observation = trial.follow(child, workspace, folder)
                workspace.keep(folder)
                return observation
        except ProgramMissing as error:
            return trial.harness(f"{error.what}; install virtme-ng")
        except BisectorError as error:
            return trial.harness(error.what + (f"; {error.hint}" if error.hint else ""))
        except re.error as error:
            return trial.harness(f"a watch of the plan is no regular expression: {error}")
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            return trial.harness(f"{error.strerror or error}{where}; make room, or set TMPDIR to another disk")


def find_vng(environ: Mapping[str, str]) -> str:
    """The vng that was installed with us, else the one in PATH (its name, when there is none: starting it will say)."""
    return (
        shutil.which("vng", path=str(Path(sys.executable).parent))
        or shutil.which("vng", path=environ.get("PATH"))
        or "vng"
    )


class _Trial:
    """A trial under way: what was seen so far, and when to end."""

    def __init__(self, plan: Plan, image: Image, boot: float, listener: Listener, cancel: CancelToken) -> None:
        self._plan = plan
        self._image = image
        self._boot = boot
        self._tell = listener
        self._cancel = cancel
        self._began = time.monotonic()
        self._decisive = {watch.name for watch in plan.watches if watch.decisive}
        self._marks: dict[str, float] = {}  # first time of begin, storage, end
        self._events: list[ConsoleEvent] = []
        self._crashed_at: float | None = None
        self._looked_at = 0.0  # when the disk and the result were last looked at
        self._stamp = (0, 0)

    def harness(self, detail: str) -> Observation:
        """The harness failed: says nothing about the kernel."""
        return self._observation(Ending.HARNESS, None, detail)

    def follow(self, child: Child, workspace: Workspace, folder: Path) -> Observation:
        """Watch the VM until something ends the trial; kill it; say what was seen."""
        self._tell(Progress("boot"))
        log = BoundedLog(folder / "console.log")
        try:
            console = Console(child.fd, log, self._plan.watches, token=self._plan.token, began=self._began)
            ending, detail = None, ""
            while ending is None:
                for sight in console.read(TICK):
                    ending, detail = self._see(sight) if ending is None else (ending, detail)
                if ending is None:
                    ending, detail = self._clock(child, workspace, console)
            child.kill()
            return self._conclude(ending, detail, workspace, console)
        finally:
            log.close()

    # ---- while it runs ----

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _see(self, sight: Sight) -> tuple[Ending | None, str]:
        if isinstance(sight, Complaint):
            return Ending.HARNESS, f"QEMU: {sight.text}"
        if isinstance(sight, Marker):
            return self._see_marker(sight)
        self._events.append(sight)
        if sight.kind == "watch" and sight.name in self._decisive:
            return Ending.DECISIVE, ""
        if sight.kind == "crash" and sight.where == "vm" and self._crashed_at is None:
            self._crashed_at = sight.at
        return None, ""

    def _see_marker(self, marker: Marker) -> tuple[Ending | None, str]:
        match marker.words:
            case ("guest", name, *rest):
                return self._see(ConsoleEvent(marker.at, "guest", "watch", name, " ".join(rest)))
            case ("step", name, "begin"):
                self._tell(Progress("workload", name))
            case (word,):
                first = word not in self._marks
                self._marks.setdefault(word, marker.at)
                if first and word in ("begin", "storage"):
                    self._tell(Progress({"begin": "storage", "storage": "workload"}[word]))
        return None, ""

    def _clock(self, child: Child, workspace: Workspace, console: Console) -> tuple[Ending | None, str]:
        """What time, a wish to stop, a full disk or the end of the process say."""
        now = self._now()
        if self._cancel.cancelled():
            return Ending.CANCELLED, ""
        if now - self._looked_at > 0.5 or "end" in self._marks:
            self._looked_at = now
            if workspace.full():
                return Ending.HARNESS, f"the disk of {workspace.places.root} is full; make room, or set TMPDIR"
            if self._told_all(workspace):
                return Ending.FINISHED, ""
        if "end" in self._marks and now - self._marks["end"] > LATE:
            return Ending.FINISHED, ""
        if self._crashed_at is not None and now - self._crashed_at > TRACE:
            return Ending.CRASH, ""
        if console.eof and child.poll() is not None:
            return self._gone(workspace, console)
        if "begin" not in self._marks:
            late = now > self._boot
            return (Ending.NO_AGENT, f"no sign of the agent within {self._boot:g} s") if late else (None, "")
        if now - self._marks["begin"] > self._plan.deadline + OVERTIME:
            return Ending.DEADLINE, ""
        return None, ""

    def _told_all(self, workspace: Workspace) -> bool:
        """Whether a final result is there, be the console as it may. Also notices that the agent began."""
        try:
            entry = (workspace.places.shared / "result.json").lstat()
        except OSError:
            return False
        self._marks.setdefault("begin", self._now())
        if self._stamp == (entry.st_mtime_ns, entry.st_ino):
            return False
        self._stamp = (entry.st_mtime_ns, entry.st_ino)
        with contextlib.suppress(ResultBroken):  # told at the end
            result = workspace.result(self._plan.token)
            return result is not None and _final(result)
        return False

    def _gone(self, workspace: Workspace, console: Console) -> tuple[Ending, str]:
        """The process tree ended by itself: did the VM, or did its harness?"""
        if self._crashed_at is not None and "begin" in self._marks:
            return Ending.CRASH, ""
        last = " | ".join(console.last_lines(3))
        try:
            code = int(workspace.places.qemu_exit.read_text())
        except (OSError, ValueError):
            return Ending.HARNESS, f"vng ended without starting QEMU: {last}"
        if code > 128:
            return Ending.HARNESS, f"QEMU was killed by signal {code - 128}"
        if code:
            return Ending.HARNESS, f"QEMU ended with exit code {code}: {last}"
        if "begin" in self._marks:
            return Ending.VM_GONE, "the VM was reset or powered off"
        return Ending.NO_AGENT, f"the VM ended before the agent began: {last}"

    # ---- at its end ----

    def _conclude(self, ending: Ending, detail: str, workspace: Workspace, console: Console) -> Observation:
        if ending is Ending.CANCELLED:
            return self._observation(ending, None, detail)
        if ending is not Ending.HARNESS and workspace.full():
            return self.harness(f"the disk of {workspace.places.root} is full; make room, or set TMPDIR")
        self._events = [
            console.crash() or event if event.kind == "crash" and event.where == "vm" else event
            for event in self._events
        ]
        try:
            result = workspace.result(self._plan.token)
        except ResultBroken as error:
            return (
                self.harness(error.what) if ending is not Ending.DECISIVE else self._observation(ending, None, detail)
            )
        if ending in (Ending.FINISHED, Ending.VM_GONE, Ending.NO_AGENT, Ending.DEADLINE):
            ending, detail = self._weigh(ending, detail, result)
        if result is not None and self._wrong_kernel(result):
            return self.harness(
                f"the wrong kernel booted: build id {result.kernel.build_id}, expected {self._image.build_id}"
            )
        return self._observation(ending, result, detail)

    def _weigh(self, ending: Ending, detail: str, result: Result | None) -> tuple[Ending, str]:
        """What the result says of how the trial ended, whatever came first."""
        if self._crashed_at is not None and (result is not None or "begin" in self._marks):
            return Ending.CRASH, detail
        if result is not None and (result.complete or result.fault):
            return Ending.FINISHED, detail
        if result is not None and _out_of_time(result):
            return Ending.DEADLINE, detail
        if ending is Ending.FINISHED:
            return Ending.HARNESS, "the agent ended without a result"
        if result is not None and ending is Ending.NO_AGENT:
            return Ending.VM_GONE, "the VM ended by itself"
        return ending, detail

    def _wrong_kernel(self, result: Result) -> bool:
        booted, expected = result.kernel.build_id, self._image.build_id
        return bool(booted and expected) and booted != expected

    def _observation(self, ending: Ending, result: Result | None, detail: str) -> Observation:
        return Observation(
            ending=ending,
            result=result,
            console=tuple(sorted(self._events, key=lambda event: event.at)),
            detail=detail,
            timing=self._timing(),
            accel=self._plan.accel,
        )

    def _timing(self) -> Timing:
        total = self._now()
        begin = self._marks.get("begin", total)
        storage = max(self._marks.get("storage", total), begin)
        end = max(self._marks.get("end", total), storage)
        boot, built, worked = begin, storage - begin, end - storage
        return Timing(*(round(seconds, 3) for seconds in (boot, built, worked, total)))


def _out_of_time(result: Result) -> bool:
    return any(event.source == "agent" and event.name == "deadline" for event in result.events)


def _final(result: Result) -> bool:
    """Whether the agent will say no more."""
    return result.complete
