# SPDX-License-Identifier: GPL-2.0-only
"""Reads the VM's console with a clock: markers of the agent, watches of the recipe, crashes, errors of QEMU.

The only place of pexpect, which reads from a process that ``system/proc.py`` started. A console may flood (50 MB/s
were tried) or send a line without end: each ``read`` does a bounded amount of work and returns, and text is split into
lines only where a cheap search found something worth it.
"""

from __future__ import annotations

import codecs
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pexpect
from pexpect.fdpexpect import fdspawn

from bisector.agent.plan import Watch, marker
from bisector.causes import HANGS
from bisector.model import ConsoleEvent, EventKind
from bisector.trial import crash
from bisector.trial.logfile import BoundedLog

CHUNK = 64 << 10  # bytes per read: a pipe holds no more
ROUND = 1 << 20  # bytes per call of Console.read, so that the clock is looked at
LINE = 16 << 10  # characters of a line that are looked at
EVENTS = 20  # of one watch; a flood of the same line says no more than the first ones
TRACE = 200  # lines after a crash that may belong to its trace
STAMPED = 40  # characters that may be the beginning of what printk puts before a message
TEXT = 500  # characters of a line kept in an event

# Words of QEMU itself on its stderr: accel/kvm/kvm-all.c, softmmu/runstate.c (7.2).
_KVM_ERROR = "KVM internal error"
# And what it says when KVM cannot be used: accel/kvm/kvm-all.c, target/i386/kvm/kvm.c (7.2); strerror(3) behind it.
_KVM_REFUSED = re.compile(
    r"KVM internal error|failed to set MSR|failed to initialize kvm|[Cc]ould not access KVM|kvm_init_vcpu: |ioctl\(KVM_"
)
_PASSES = re.compile(r"Cannot allocate memory|temporarily unavailable|[Dd]evice or resource busy|Interrupted system")
_TERMINATED = re.compile(r"^qemu-system-\w+: terminating on signal (\d+)")
# A pattern with one of these may see, in a chunk, other neighbours than it has in its line.
_NEIGHBOURS = ("(?<", "(?=", "(?!", r"\A", r"\Z", r"\b", r"\B", "^", "$")


@dataclass(frozen=True)
class Marker:
    """A line of our agent. ``words``: begin; storage; step NAME begin or end; guest WATCH LINE; end."""

    at: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class QemuError:
    """QEMU said that it cannot go on: the harness's failure, never the kernel's."""

    at: float
    text: str


Event = Marker | ConsoleEvent | QemuError


@dataclass
class _LineSearch:
    watch: Watch
    pattern: re.Pattern[str]
    prefilter: bool
    left: int


class Console:
    """The console of one trial.

    ``began``: the trial's start (time.monotonic); ``eof``: nothing comes any more. Raises re.error for a bad watch.
    """

    def __init__(self, fd: int, log: BoundedLog, watches: Iterable[Watch], *, token: str, began: float) -> None:
        self._source = fdspawn(fd, timeout=None, maxread=CHUNK, use_poll=True)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._log = log
        self._began = began
        self._marker = marker(token) + " "
        self._watches = [
            _LineSearch(watch, re.compile(watch.pattern), not _looks_around(watch.pattern), watch.most or EVENTS)
            for watch in watches
            if watch.where == "vm"  # the agent reads the inner guest's
        ]
        self._partial = ""  # the last line, as far as it has come
        self._cut = False  # the rest of the line is left unread
        self._crashes: list[tuple[ConsoleEvent, list[str]]] = []  # each with the lines after it
        self._last: deque[str] = deque(maxlen=40)
        self.eof = False
        self.unlogged: OSError | None = None  # the log cannot be written; what comes is read all the same

    def read(self, seconds: float) -> list[Event]:
        """What came, in order; waits at most ``seconds`` for it."""
        end = time.monotonic() + seconds
        events: list[Event] = []
        size = 0
        while not self.eof and not events and size < ROUND:
            try:
                data = self._source.read_nonblocking(CHUNK, max(0.0, end - time.monotonic()))
            except pexpect.TIMEOUT:
                break
            except pexpect.EOF:
                self.eof = True
                data = b"\n"  # ends the last line
            size += len(data)
            if not self.eof:
                self._keep(data)
            events = self._take(self._decoder.decode(data))
        return events

    def _keep(self, data: bytes) -> None:
        try:
            if self.unlogged is None:
                self._log.write(data)
        except OSError as error:
            self.unlogged = error

    def last_lines(self, count: int = 8) -> list[str]:
        """The console's last lines that hold something, for people."""
        return [line for line in self._last if line.strip()][-count:]

    def with_trace(self, event: ConsoleEvent) -> ConsoleEvent:
        """A crash with the fingerprint of its trace, as far as that came; any other event as it is."""
        trace = next((lines for one, lines in self._crashes if one is event), None)
        return event if trace is None else replace(event, fingerprint=crash.fingerprint([event.text, *trace]))

    def _take(self, text: str) -> list[Event]:
        text = self._partial + text
        if self._cut:  # inside a line that is too long already: until it ends, or the kernel begins a message
            end, stamp = text.find("\n"), crash.STAMP.search(text)
            starts = [at for at in (end + 1 if end >= 0 else -1, stamp.start() if stamp else -1) if at >= 0]
            if not starts:
                self._partial = text[-STAMPED:]
                return []
            text, self._cut = text[min(starts) :], False
        whole, newline, self._partial = text.rpartition("\n")
        while len(self._partial) > LINE:
            first, *rest = _pieces(self._partial)
            whole, newline = whole + newline + first, "\n"
            self._partial, self._cut = (rest[0], False) if rest else (self._partial[-STAMPED:], True)
        if not newline:
            return []
        self._remember(whole)
        if not self._worth(whole):
            return []
        now = time.monotonic() - self._began
        events: list[Event] = []
        lines = (piece for line in whole.split("\n") for piece in _pieces(line))
        for number, line in enumerate(lines):  # a microsecond apart: their order is evidence
            events += self._line(line[:LINE].rstrip("\r"), round(now + number / 1e6, 6))
        return events

    def _remember(self, whole: str) -> None:
        lines = whole[-LINE:].split("\n")
        self._last.extend(line.rstrip("\r")[:TEXT] for line in lines[-40:])

    def _worth(self, whole: str) -> bool:
        """Whether to look at the single lines; true too often does no harm."""
        if self._crashes and len(self._crashes[-1][1]) < TRACE:
            return True
        if self._marker in whole or _KVM_ERROR in whole or "terminating on signal" in whole:
            return True
        if any(hint in whole for hint in crash.HINTS):
            return True
        return any(w.left and (not w.prefilter or w.pattern.search(whole)) for w in self._watches)

    def _line(self, line: str, at: float) -> list[Event]:
        place = line.find(self._marker)
        if place >= 0:
            return self._marked(line[:place], line[place + len(self._marker) :], at)
        if _KVM_ERROR in line or _TERMINATED.match(line):
            return [QemuError(at, line[:TEXT])]
        events: list[Event] = []
        messages = (line, *crash.parts(line)[1:])  # one may begin where another has not ended
        for watching in self._watches:
            if watching.left and any(map(watching.pattern.search, messages)):
                watching.left -= 1
                events.append(ConsoleEvent(at, "vm", EventKind.WATCH, watching.watch.name, line[:TEXT]))
        if found := self._crashed(line, at):
            events.append(found)
        elif self._crashes and len(self._crashes[-1][1]) < TRACE:
            self._crashes[-1][1].append(line)
        return events

    def _crashed(self, line: str, at: float) -> ConsoleEvent | None:
        """The crash that begins with this line: the first one, and the first one behind a hang."""
        if self._crashes and self._crashes[-1][0].name not in HANGS:
            return None
        kind = crash.crash_kind(line)
        if not kind or (self._crashes and kind in HANGS):
            return None
        event = ConsoleEvent(at, "vm", EventKind.CRASH, kind, line[:TEXT])
        self._crashes.append((event, []))
        return event

    def _marked(self, before: str, after: str, at: float) -> list[Event]:
        """A line with a marker in it, and what stands before and behind it: consoles run into each other."""
        words, behind = after, ""
        if not after.startswith("guest ") and (stamp := crash.STAMP.search(after)):
            words, behind = after[: stamp.start()].rstrip(), after[stamp.start() :]
        around = [text for text in (before, behind) if any(hint in text for hint in crash.HINTS)]
        return [Marker(at, tuple(words.split(" "))), *(event for text in around for event in self._line(text, at))]


def refuses_kvm(text: str) -> bool:
    """Whether QEMU says that KVM cannot run a VM here, for a cause that stays: no lack of memory, say."""
    return bool(_KVM_REFUSED.search(text)) and not _PASSES.search(text)


def _looks_around(pattern: str) -> bool:
    return any(word in pattern for word in _NEIGHBOURS)


def _pieces(line: str) -> Iterator[str]:
    """The line as far as it is looked at; of one that is too long also what begins with a message of the kernel's."""
    while len(line) > LINE:
        stamp = crash.STAMP.search(line, LINE - STAMPED)
        yield line[: min(LINE, stamp.start()) if stamp else LINE]
        if stamp is None:
            return
        line = line[stamp.start() :]
    yield line


def open_log(path: Path) -> BoundedLog:
    """The console's log: at most 4 MiB and one line."""
    return BoundedLog(path)
