# SPDX-License-Identifier: GPL-2.0-only
"""A trial under way: what was seen so far, when to end it, and what its ending says."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bisector.agent.plan import Plan, Result
from bisector.causes import HANGS, Trouble
from bisector.interfaces import CancelToken, Listener, Phase, Progress
from bisector.model import ConsoleEvent, Ending, EventKind, Observation, Timing
from bisector.system.proc import Child
from bisector.system.starving import waited
from bisector.trial.boots import BootLog, FurtherBoot
from bisector.trial.console import Console, Event, Marker, QemuError, refuses_kvm
from bisector.trial.faults import in_words
from bisector.trial.logfile import BoundedLog
from bisector.trial.workspace import ResultBroken, Workspace

TICK = 0.2  # seconds between two polls of the clock and the request to stop
POLL = 0.5  # seconds between two polls of the disk and the result file
TRACE = 2.0  # seconds after a crash for its trace to reach the log
OVERTIME = 5.0  # seconds beyond the plan's deadline for the agent to report it itself
LATE = 2.0  # seconds between end marker and result for the second of them
BETWEEN = " | "  # stands between lines of the console in a detail; the sentence before the first says it all
REST = 2.0  # seconds for what the console still holds when the tree is dead


class Mark(StrEnum):
    """What is remembered with the time at which it was seen first."""

    BEGIN = "begin"  # the agent's first sign
    STORAGE = "storage"  # the storage is built and synced
    END = "end"  # the agent is done
    COMPLETE = "complete"  # a whole result lies there; the agent prints no marker for it


_NEXT = {Mark.BEGIN: Phase.STORAGE, Mark.STORAGE: Phase.WORKLOAD}
"""What the agent does next."""


@dataclass(frozen=True)
class End:
    """Why a trial ends, and details in words."""

    ending: Ending
    detail: str = ""
    trouble: Trouble = Trouble.OTHER  # of ending HARNESS


class Watcher:
    """Follows one process tree, a VM or a sandbox, from its start to the observation.

    Args:
        plan: with its token and accel filled in.
        build_ids: of the kernels that must run: whose → the build id, "" when that is not known; the first one first.
        boot: seconds to the agent's first sign.
    """

    def __init__(
        self, plan: Plan, build_ids: Mapping[str, str], boot: float, listener: Listener, cancel: CancelToken
    ) -> None:
        self._plan = plan
        self._boots = BootLog(plan, build_ids)
        self._boot = boot
        self._tell = listener
        self._cancel = cancel
        self._began = time.monotonic()
        self._decisive = {watch.name for watch in plan.watches if watch.decisive}
        self._marks: dict[Mark, float] = {}
        self._events: list[ConsoleEvent] = []
        self._crash: ConsoleEvent | None = None  # the kernel's under test, that ends the trial
        self._open: dict[str, float] = {}  # steps that began and have not ended, by the console, and when
        self._polled_at = 0.0  # when the disk and the result file were last looked at
        self._stamp = (0, 0)  # of the result file
        self._starved = 0.0  # seconds without a processor, see Observation

    @property
    def only_another_kernel(self) -> bool:
        """Whether no kernel was booted but one that is not under test."""
        return self._boots.only_another

    def harness(self, detail: str) -> Observation:
        """The harness failed. What the console had shown by then stands: its lines are in the observation."""
        return self._observation(End(Ending.HARNESS, detail), None)

    def follow(self, child: Child, workspace: Workspace, folder: Path) -> Observation:
        """Watch until something ends the trial; kill the tree; say what was seen. Raises OSError, ProgramMissing."""
        self._tell(Progress(Phase.BOOT))
        log = BoundedLog(folder / "console.log")
        end: End | None = None
        try:
            console = Console(child.fd, log, self._plan.watches, token=self._plan.token, began=self._began)
            while end is None:
                end = self._see_all(console.read(TICK), workspace)
                end = end or self._poll(child, workspace, console)
            self._starved = waited(child.pid)
            child.kill()
            end = self._see_the_rest(end, console, workspace)
            self._events = [console.with_trace(event) for event in self._events]
            log.close()
            return self._conclude(end, workspace)
        except OSError as error:  # a log that cannot be written; what was read stands
            child.kill()
            return self._without_result(end or End(Ending.HARNESS), in_words(error))
        finally:
            with contextlib.suppress(OSError):
                log.close()

    def _see_all(self, events: list[Event], workspace: Workspace) -> End | None:
        """Take in what the console showed, unless our own disk is full: then it may be that disk's doing."""
        if events and workspace.full():
            return End(Ending.HARNESS, _full(workspace))
        return next((found for event in events if (found := self._see(event))), None)

    def _see_the_rest(self, end: End, console: Console, workspace: Workspace) -> End:
        """Read what the console still holds: a result may be there before the lines that came ahead of it are read."""
        until = time.monotonic() + REST
        while end.ending not in (Ending.CANCELLED, Ending.DECISIVE) and not console.eof and time.monotonic() < until:
            found = self._see_all(console.read(TICK), workspace)
            if found is not None and found.ending is Ending.DECISIVE:
                end = found
        return end

    # ---- what the console says ----

    def _see(self, event: Event) -> End | None:
        if isinstance(event, QemuError):
            return self._crashed() if self._crash else End(Ending.HARNESS, f"QEMU: {event.text}", _of_qemu(event.text))
        if isinstance(event, Marker):
            return self._see_marker(event)
        self._events.append(event)
        if event.kind is EventKind.WATCH and event.name in self._decisive:
            return End(Ending.DECISIVE)
        if event.kind is EventKind.CRASH and event.name not in HANGS:
            self._crash = self._crash or event
        return None

    def _see_marker(self, marker: Marker) -> End | None:
        match marker.words:
            case ("guest", name, *rest):
                return self._see(ConsoleEvent(marker.at, "guest", EventKind.WATCH, name, " ".join(rest)))
            case ("step", name, "begin"):
                self._tell(Progress(Phase.WORKLOAD, name))
                self._open[name] = marker.at
            case ("step", name, "end"):
                self._open.pop(name, None)
            case (Mark.BEGIN | Mark.STORAGE | Mark.END as word,):
                self._mark(Mark(word), marker.at)
            case ("boot", whose):
                self._boots.began(whose, marker.at)
            case ("up",):
                self._boots.came_up()
        return None

    def _mark(self, mark: Mark, at: float) -> None:
        if mark in _NEXT and mark not in self._marks:
            self._tell(Progress(_NEXT[mark]))
        self._marks.setdefault(mark, at)

    # ---- what the clock, the disk and the process say ----

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _since(self, mark: Mark) -> float:
        return self._now() - self._marks[mark] if mark in self._marks else 0.0

    def _poll(self, child: Child, workspace: Workspace, console: Console) -> End | None:
        if self._cancel.cancelled():
            return End(Ending.CANCELLED)
        if console.unlogged is not None:
            return End(Ending.HARNESS, in_words(console.unlogged))
        if Mark.END in self._marks or self._now() - self._polled_at > POLL:
            self._polled_at = self._now()
            if workspace.full():
                return End(Ending.HARNESS, _full(workspace))
            self._look_at_result(workspace)
        done = max(self._since(Mark.END), self._since(Mark.COMPLETE))
        if (Mark.END in self._marks and self._stamp[0]) or done > LATE:
            return End(Ending.FINISHED)
        if self._crash is not None and self._now() - self._crash.at > TRACE:
            return self._crashed()
        if console.eof and _ended(child):
            return self._gone(workspace, console)
        if Mark.BEGIN not in self._marks and self._now() > self._boot:
            return End(Ending.NO_AGENT, f"no sign of the agent within {self._boot:g} s")
        if self._since(Mark.BEGIN) > self._plan.deadline + OVERTIME:
            return End(Ending.DEADLINE)
        return None

    def _look_at_result(self, workspace: Workspace) -> None:
        """Notice a result, be the console as it may (flooded, or stuck together with the kernel's print lock)."""
        try:
            entry = (workspace.places.shared / "result.json").lstat()
        except OSError:
            return
        self._mark(Mark.BEGIN, self._now())
        if self._stamp == (entry.st_mtime_ns, entry.st_ino):
            return
        self._stamp = (entry.st_mtime_ns, entry.st_ino)
        with contextlib.suppress(ResultBroken):  # reported at the end
            result = workspace.result(self._plan.token)
            if result is not None and result.complete:
                self._mark(Mark.COMPLETE, self._now())

    def _crashed(self) -> End:
        text = f"{self._crash.text}{self._boots.of(self._crash.at)}" if self._crash else ""
        if Mark.BEGIN in self._marks:
            return End(Ending.CRASH, text)
        return End(Ending.NO_AGENT, f"the kernel crashed before the agent began: {text}")

    def _gone(self, workspace: Workspace, console: Console) -> End:
        """The process tree ended by itself: did the VM, or did its harness?"""
        if self._crash is not None:
            return self._crashed()
        last = BETWEEN.join(console.last_lines(3))
        if not self._plan.vm:
            return End(Ending.HARNESS, f"the agent ended without a result: {last}")
        code = workspace.qemu_exit()
        if code is None:
            return End(Ending.HARNESS, f"vng ended without starting QEMU: {last}")
        if code > 128:
            return End(Ending.HARNESS, f"QEMU was killed by signal {code - 128}: {last}", _of_qemu(last))
        if code:
            return End(Ending.HARNESS, f"QEMU ended with exit code {code}: {last}", _of_qemu(last))
        if Mark.BEGIN in self._marks:
            return End(Ending.VM_GONE, "the VM was reset or powered off")
        return End(Ending.NO_AGENT, f"the VM ended before the agent began: {last}")

    # ---- at the end ----

    def _conclude(self, end: End, workspace: Workspace) -> Observation:
        if end.ending is Ending.CANCELLED:
            return self._observation(end, None)
        try:
            result = workspace.result(self._plan.token)
        except ResultBroken as error:
            return self._without_result(end, error.what)
        if wrong := self._boots.wrong_kernel(result):
            self._events = []  # of another kernel than the one under test
            return self.harness(wrong)
        missing = self._boots.missing(result)
        if missing and not (self._crash and self._crash.at < missing.at):
            return self._not_booted(missing, End(Ending.HARNESS, _full(workspace)) if workspace.full() else end)
        if end.ending is Ending.HARNESS:
            return self._observation(end, None)
        if workspace.full():  # what the VM saw may have been our own disk's failure
            return self._without_result(end, _full(workspace))
        if end.ending in (Ending.FINISHED, Ending.VM_GONE, Ending.NO_AGENT, Ending.DEADLINE):
            end = self._weigh(end, result)
        return self._observation(end, result)

    def _not_booted(self, boot: FurtherBoot, end: End) -> Observation:
        """A further boot of the VM never came as far as the agent: where that is not the candidate's kernel, nothing
        that it showed is the candidate's doing."""
        detail = end.detail or ("" if end.ending is Ending.DEADLINE else str(end.ending))
        words = ": ".join(filter(None, (f"the VM did not come up again with {boot.name}", detail)))
        if boot.is_tested:
            ending = end.ending if end.ending in (Ending.DECISIVE, Ending.HARNESS) else Ending.NO_AGENT
            self._marks.pop(Mark.BEGIN, None)  # of another kernel's agent
            return self._observation(replace(end, ending=ending, detail=words), None)
        self._events = [event for event in self._events if event.at < boot.at]
        return self.harness(words)

    def _without_result(self, end: End, detail: str) -> Observation:
        """The trial's facts cannot be believed: what the console had shown stands, else the harness failed."""
        if self._crash is not None and end.ending is not Ending.DECISIVE:
            end = self._crashed()
        if end.ending not in (Ending.DECISIVE, Ending.CRASH, Ending.NO_AGENT):
            return self.harness(detail)
        return self._observation(replace(end, detail="; ".join(filter(None, (end.detail, detail)))), None)

    def _weigh(self, end: End, result: Result | None) -> End:
        """What the result says of how the trial ended, whichever came first."""
        if self._crash is not None and (result is not None or end.ending is Ending.FINISHED):
            return self._crashed() if result is None else End(Ending.CRASH, self._crashed().detail)
        if result is None:
            return End(Ending.HARNESS, "the agent ended without a result") if end.ending is Ending.FINISHED else end
        if self._ran_out_of_time(result):
            return End(Ending.DEADLINE)
        if result.complete or result.fault:
            return End(Ending.FINISHED)
        if end.ending is Ending.FINISHED:
            return End(Ending.HARNESS, "the agent ended without saying why")
        return End(Ending.VM_GONE, "the VM ended by itself") if end.ending is Ending.NO_AGENT else end

    def _ran_out_of_time(self, result: Result) -> bool:
        """Whether the agent says so, or a step of it was ended by the deadline."""
        if any(event.source == "agent" and event.name == "deadline" for event in result.events):
            return True
        unfinished = any(not step.done for step in result.steps)
        return unfinished and result.fault is None and result.elapsed >= self._plan.deadline

    def _observation(self, end: End, result: Result | None) -> Observation:
        harness = end.ending is Ending.HARNESS
        if result is None and Mark.BEGIN in self._marks:  # the agent was there, and left no facts
            result = Result(token=self._plan.token)
        shown = [] if harness and Mark.BEGIN not in self._marks else self._events  # before that a control boot decides
        return Observation(
            ending=end.ending,
            result=None if harness else self._with_open_step(end, result),  # a broken harness has no facts
            console=tuple(sorted(shown, key=lambda event: event.at)),
            detail=end.detail,
            timing=self._timing(),
            accel=self._plan.accel,
            starved=round(self._starved, 3),
            trouble=end.trouble if harness else Trouble.NONE,
        )

    def _with_open_step(self, end: End, result: Result | None) -> Result | None:
        """The result with the steps that the machine stopped in, where its agent could not report them any more."""
        if result is None or end.ending is Ending.FINISHED:
            return result
        steps = list(result.steps)
        for step in self._plan.steps:
            if step.name in self._open and result.step(step.name) is None:
                at = self._open[step.name]
                begin = self._marks.get(Mark.BEGIN, at)
                begun = step.begun(round(max(0.0, at - begin), 3))
                steps.append(replace(begun, ended=round(self._now() - begin, 3)))
        order = {step.name: index for index, step in enumerate(self._plan.steps)}
        return replace(result, steps=tuple(sorted(steps, key=lambda one: order.get(one.name, -1))))

    def _timing(self) -> Timing:
        total = self._now()
        begin = self._marks.get(Mark.BEGIN, total)
        storage = max(self._marks.get(Mark.STORAGE, total), begin)
        end = max(self._marks.get(Mark.END, total), storage)
        return Timing(*(round(seconds, 3) for seconds in (begin, storage - begin, end - storage, total)))


def _of_qemu(text: str) -> Trouble:
    return Trouble.KVM if refuses_kvm(text) else Trouble.QEMU


def _ended(child: Child) -> bool:
    """Whether the whole tree is dead; waits a moment, because its output has ended and nothing else would wait."""
    try:
        child.wait(TICK)
    except TimeoutError:
        return False
    return True


def _full(workspace: Workspace) -> str:
    return f"the disk under {workspace.places.root} is full; free space, or set TMPDIR to another disk"
