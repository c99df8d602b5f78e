# SPDX-License-Identifier: GPL-2.0-only
"""What the agent sees of the kernel it runs on, and how it reports it: markers, the kernel log's slice, the result."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from ..layers.machine import read_text
from .codec import dump
from .command import Halt, find_tool, run
from .plan import (
    LEAK,
    LEFT_OUT,
    LEFT_OUT_EVENTS,
    AgentEvent,
    Fault,
    KernelFacts,
    LayerFacts,
    Result,
    StepFacts,
    marker,
)

HEAD = TAIL = 512 << 10  # bytes kept of a log's beginning and of its end
EVENTS = 500  # kept in a result
OF_ONE_NAME = 20  # of them: a flood of one says no more than the first ones, and must hide no other
DETAIL = 2000  # characters of an event's detail
WORDS = 2 << 20  # bytes of what all steps printed, as JSON: trial/workspace.py reads no result of more than twice that
SHORT = 4096  # characters of it that are kept whatever the other steps printed
KMSG_RECORD = 8192  # no record of /dev/kmsg is longer (PRINTKRB_RECORD_MAX and the prefix, kernel/printk)
CONSOLE_LEVEL = 7  # lets all but debug lines reach the console, our markers (level 5) and an oops alike
NT_GNU_BUILD_ID = 3


class BoundedLog:
    """A log file that keeps its first and its last half MiB; what lay between is counted and left out."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  # lives as long as the agent
        self._written = self._file.tell()  # by a boot of the VM before this one
        self._tail: deque[bytes] = deque()
        self._held = 0
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Add ``data`` (whole lines, if lines are to stay whole)."""
        if not self._lost and not self._held and self._written + len(data) <= HEAD:
            self._file.write(data)
            self._written += len(data)
            return
        self._tail.append(data)
        self._held += len(data)
        while self._held > TAIL:
            gone = len(self._tail.popleft())
            self._held -= gone
            self._lost += gone

    def close(self) -> None:
        """Write the end of the log."""
        if self._lost:
            self._file.write(f"... {self._lost} bytes left out ...\n".encode())
        self._file.write(b"".join(self._tail))
        self._file.close()


class KernelLog:
    """The kernel log from now on, copied to ``path`` by a thread of its own (a flood overruns the kernel's buffer)."""

    def __init__(self, path: str) -> None:
        self._log = BoundedLog(path)
        self._source = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._source, 0, os.SEEK_END)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        # Reading in rounds, not in a blocking read: one write to the shared folder for many records.
        while True:
            last = self._stop.is_set()
            lines = self._round()
            if lines:
                self._log.write(lines)
            elif last:
                return
            else:
                self._stop.wait(0.2)

    def _round(self) -> bytes:
        lines = []
        size = 0
        while size < 64 << 10:
            try:
                record = os.read(self._source, KMSG_RECORD)
            except BlockingIOError:
                break
            except BrokenPipeError:
                record = b"4,0,0,-;... records lost: the kernel's buffer was overrun ...\n"
            lines.append(kmsg_line(record))
            size += len(lines[-1])
        return b"".join(lines)

    def close(self) -> None:
        """Copy what is still there (for at most 5 s of a flood) and end the file."""
        self._stop.set()
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._log.close()


def kmsg_line(record: bytes) -> bytes:
    """A record of /dev/kmsg as dmesg shows it: ``[   12.345678] text`` (Documentation/ABI/testing/dev-kmsg)."""
    head, _, text = record.partition(b";")
    try:
        at = int(head.split(b",")[2])
    except (IndexError, ValueError):
        return record
    return b"[%5d.%06d] %s\n" % (at // 1000000, at % 1000000, text.split(b"\n")[0])


class Recorder:
    """Collects the facts of one trial and writes them to ``SHARED/result.json``; safe to use from several threads.

    ``before``: the result as a boot of the VM before this one left it, ``elapsed`` seconds ago began the first.
    ``whose``: the kernel that runs, where the trial boots several. ``names``: those of the plan's steps.
    """

    def __init__(
        self,
        shared: str,
        token: str,
        *,
        vm: bool,
        before: Result | None = None,
        elapsed: float = 0.0,
        whose: str = "",
        names: tuple[str, ...] = (),
    ) -> None:
        self._started = time.monotonic() - elapsed
        self._shared = shared
        self._token = token
        self._names = names
        self._vm = vm
        self._lock = threading.RLock()
        self._result = before or Result(token=token, kernel=kernel_facts(whose))
        if before and whose:
            self._result = replace(before, later_kernels=(*before.later_kernels, kernel_facts(whose)))
        self._kmsg = os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC) if vm else -1
        self._log = KernelLog(f"{shared}/kernel.log") if vm else None

    def now(self) -> float:
        """Seconds since the agent's start."""
        return time.monotonic() - self._started

    def mark(self, *words: str) -> None:
        """Put a marker on the console: through the kernel log in a VM, on stdout in a sandbox (law 5)."""
        line = marker(self._token, *words)
        if self._vm:
            os.write(self._kmsg, f"<5>{line}\n".encode())
        else:
            print(line, flush=True)

    def event(self, source: str, name: str, detail: str = "") -> None:
        """Note something that happened now."""
        with self._lock:
            known = len(self._result.events)
            alike = sum((one.source, one.name) == (source, name) for one in self._result.events)
            if known > EVENTS or (alike >= OF_ONE_NAME and name != LEAK):  # each of those is another place
                return
            if known == EVENTS and name != "deadline":
                source, name, detail = "agent", LEFT_OUT_EVENTS, ""
            event = AgentEvent(round(self.now(), 3), source, name, detail[:DETAIL])
            self._result = replace(self._result, events=(*self._result.events, event))

    def layers(self, layers: tuple[LayerFacts, ...]) -> None:
        """Set the facts of all layers."""
        with self._lock:
            self._result = replace(self._result, layers=layers)

    def step(self, facts: StepFacts) -> None:
        """Add a step's facts; the same step once more (ended by the deadline while it was ending) is not.

        Steps that ran beside each other stand in the plan's order, whichever ended first. Where all steps have printed
        more than a result holds, of this one only the end of its words is kept.
        """
        with self._lock:
            if self._result.step(facts.name) is not None:
                return
            steps = [*self._result.steps, facts]
            if len(facts.detail) > SHORT and sum(len(json.dumps(one.detail)) for one in steps) > WORDS:
                facts = replace(facts, detail=LEFT_OUT + facts.detail[-SHORT:])
                steps[-1] = facts
            if facts.group:
                steps.sort(key=lambda one: self._names.index(one.name))
            self._result = replace(self._result, steps=tuple(steps))

    def fault(self, fault: Fault) -> None:
        """Set the harness's own failure; the first one stays."""
        with self._lock:
            self._result = replace(self._result, fault=self._result.fault or fault)

    @property
    def failed(self) -> bool:
        """Whether the harness has failed: what is seen from now on counts for nothing."""
        return self._result.fault is not None

    def guest_accel(self, accel: str) -> None:
        """Set what the inner guest ran on."""
        with self._lock:
            self._result = replace(self._result, guest_accel=accel)

    def tools(self, options: Mapping[str, str]) -> None:
        """Run programs for their versions, each with its option."""
        versions = tuple((name, tool_version(name, option)) for name, option in options.items())
        with self._lock:
            self._result = replace(self._result, tools=versions)

    def write(self, *, complete: bool = False) -> None:
        """Write the result atomically: a kill leaves the last whole state."""
        with self._lock:
            self._note_taint()
            self._result = replace(self._result, complete=complete, elapsed=round(self.now(), 3))
            path = f"{self._shared}/result.json"
            with open(f"{path}.tmp", "w", encoding="utf-8") as file:
                file.write(dump(self._result))
            os.replace(f"{path}.tmp", path)

    def _note_taint(self) -> None:
        """Of the kernel that runs."""
        *before, kernel = self._result.kernel, *self._result.later_kernels
        kernel = replace(kernel, taint=kernel.taint | taint())
        first, *later = *before, kernel
        self._result = replace(self._result, kernel=first, later_kernels=tuple(later))

    def close(self) -> None:
        """Put the end marker out, and come back when the console has shown it (at most 5 s in a flood)."""
        if self._log:
            self._log.close()
        self.mark("end")
        if self._vm:
            drain = threading.Thread(target=drain_console, daemon=True)
            drain.start()
            drain.join(5.0)


def open_console() -> None:
    """Let every marker through to the console: no rate limit on /dev/kmsg, a console level that shows notices."""
    _write("/proc/sys/kernel/printk_devkmsg", "on\n")  # without the line end the kernel takes it for malformed
    level = read_text("/proc/sys/kernel/printk").split()
    if level and int(level[0]) < CONSOLE_LEVEL:
        _write("/proc/sys/kernel/printk", str(CONSOLE_LEVEL))


def inside_vm() -> bool:
    """Whether this is a VM that virtme started: nothing of the machine outside may ever be touched (law 5)."""
    return "virtme" in read_text("/proc/cmdline")


def do_without_udev() -> None:
    """End the VM's udevd, and make up for one that never began, as for systemd-tmpfiles (SERVICES, trial/vng.py)."""
    end_udev()
    _write("/sys/kernel/uevent_helper", "\n")  # else a kernel with that option starts a program for each event
    with contextlib.suppress(OSError):
        os.mkdir("/run/lock")


def end_udev() -> None:
    """End the VM's udevd, where virtme started it: it would open and probe our storage whenever it likes."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if read_text(f"/proc/{pid}/comm") in ("systemd-udevd", "(udev-worker)", "udevd"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def drain_console() -> None:
    """Wait until what is in the kernel log has left the machine.

    Opening /dev/console takes and releases the console lock, and its release prints what is pending
    (console_device() and console_unlock(), kernel/printk/printk.c); tcdrain waits for the UART.
    """
    import termios

    try:
        console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return
    with contextlib.suppress(termios.error, OSError):  # a console without a drain has shown it already
        termios.tcdrain(console)
    os.close(console)


def kernel_facts(whose: str = "") -> KernelFacts:
    """Facts of the running kernel; its command line in the VM alone, as a host's is none of a trial's business.

    ``whose``: as in KernelFacts.
    """
    names = os.uname()
    line = read_text("/proc/cmdline")
    try:
        with open("/sys/kernel/notes", "rb") as notes:
            identity = build_id(notes.read())
    except OSError:
        identity = ""
    return KernelFacts(names.release, names.version, identity, taint(), line if "virtme" in line else "", whose)


def build_id(notes: bytes) -> str:
    """The GNU build id in ELF notes, as hex; "" when there is none (elf(5), Elf_Nhdr)."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("=III", notes, at)
        name_at = at + 12
        value_at = name_at + (name_size + 3) // 4 * 4
        if kind == NT_GNU_BUILD_ID and notes[name_at : name_at + name_size] == b"GNU\0":
            return notes[value_at : value_at + size].hex()
        at = value_at + (size + 3) // 4 * 4
    return ""


def taint() -> int:
    """The kernel's taint mask, 0 when it shows none."""
    text = read_text("/proc/sys/kernel/tainted")
    return int(text) if text.isdecimal() else 0


def tool_version(name: str, option: str = "--version") -> str:
    """The first version number that a program prints of itself; "" when it is not there or says none."""
    if name == "python":
        return ".".join(map(str, sys.version_info[:3]))
    try:
        text = run([find_tool(name), option], timeout=60.0).output  # of a crowded host: 20 s were not enough for QEMU
    except (Halt, OSError):
        return ""
    found = re.search(r"\d+\.\d[\w.()~+-]*", text)
    return found.group() if found else ""


def _write(path: str, text: str) -> None:
    with (
        contextlib.suppress(OSError),
        open(path, "w", encoding="utf-8") as file,
    ):  # a kernel without the knob still logs the markers
        file.write(text)
