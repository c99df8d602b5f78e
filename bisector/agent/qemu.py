# SPDX-License-Identifier: GPL-2.0-only
"""One life of the inner QEMU: its process, its monitor, and the two serial ports of its guest."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .command import TAIL, Halt, find_tool, kill
from .lines import pump, qmp_answer, qmp_event
from .machine import Ports
from .plan import LEFT_OUT

KEPT_LINES = 40  # of QEMU's own output
CONTROL_LINE = 1 << 20  # bytes of a line of the guest's init: more than is kept of any command's output
ANSWER = 1 << 18  # lines of such output, again more than are kept
LOST = "the guest was reset"
"""What comes in place of the output of a command that a reset cut off."""
QUIT = '{"execute": "quit"}'
QMP_LINE = 4 << 20  # bytes of an answer of QMP's
EVENTS = 1000  # of QMP's that one wait keeps
QUIT_TIME = 10.0  # seconds that QEMU has for its end after "quit"


@dataclass(frozen=True)
class Listeners:
    """Who hears what QEMU and its guest say."""

    output: Callable[[str], None]
    console: Callable[[str], None]
    event: Callable[[str, str], None]


class Qemu:
    """Runs QEMU and follows it. Every wait has its time; nothing here blocks on a QEMU that is stuck.

    ``greeted``: the monitor takes commands; ``replies``: number of a command → whether it worked, and what QEMU said;
    ``changes``: how often the guest was suspended to RAM, and was woken; ``resets``: how often it was reset.
    """

    def __init__(
        self, command: Callable[[Ports], list[str]], listeners: Listeners, *, serial: bool, programs: str = ""
    ) -> None:
        self._listeners = listeners
        self._changed = threading.Condition()
        self._exit: int | None = None
        self._paused = False
        self._ready = False
        self._output: deque[str] = deque(maxlen=KEPT_LINES)
        self._disks: dict[str, str] = {}
        self._answers: dict[int, deque[str]] = {}
        self._exits: dict[int, int] = {}
        self._heard = False
        self._leaving = False
        self._control = -1
        self._sent = 0
        self._given: set[int] = set()  # numbers of commands that the guest has not answered
        self._lost: set[int] = set()  # of those that it never will: it was reset
        self.resets = 0
        self._alone = 0  # number of a command that none is sent behind until it is answered
        self.greeted = False
        self._awaited: list[tuple[tuple[str, ...], list[tuple[str, str]]]] = []
        self.changes = {"SUSPEND": 0, "WAKEUP": 0}
        self.replies: dict[int, tuple[bool, str]] = {}
        pairs = [socket.socketpair() for _ in range(3 if serial else 1)]
        ours = [pair[0].detach() for pair in pairs]
        theirs = [pair[1].detach() for pair in pairs]
        self._child = self._spawn(command(Ports(*theirs)), theirs, programs)
        self._qmp = ours[0]
        pump(ours[0], self._on_qmp, self._note, QMP_LINE, heads=True)
        if serial:
            self._control = ours[2]
            pump(ours[1], self._on_console, self._note)
            pump(ours[2], self._on_control, self._note, CONTROL_LINE, heads=True)

    def _spawn(self, argv: list[str], theirs: list[int], programs: str) -> subprocess.Popen[bytes]:
        out, into = os.pipe()
        try:
            child = subprocess.Popen(
                [find_tool(argv[0], programs), *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=into,
                stderr=subprocess.STDOUT,
                pass_fds=theirs,
                start_new_session=True,
            )
        except OSError as error:
            raise Halt("tools", f"{argv[0]} cannot be started: {error}") from None
        finally:
            for descriptor in (into, *theirs):
                os.close(descriptor)
        output = pump(out, self._on_output, self._note)
        threading.Thread(target=self._reap, args=(child, output), daemon=True).start()
        return child

    def _reap(self, child: subprocess.Popen[bytes], output: threading.Thread) -> None:
        code = child.wait()
        output.join(2.0)  # its last words come before its end is known
        with self._changed:
            self._exit = code
            self._changed.notify_all()

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _on_output(self, line: str) -> None:
        self._output.append(line)
        self._listeners.output(line)

    def _on_console(self, line: str) -> None:
        self._heard = True
        self._listeners.console(line)
        self._note()  # somebody may wait for this line

    def _on_qmp(self, line: str) -> None:
        if line.startswith('{"QMP"'):
            self._say('{"execute": "qmp_capabilities"}')
            with self._changed:
                self.greeted = True
                self._changed.notify_all()
                if self._leaving:
                    self._say(QUIT)
        if answer := qmp_answer(line):
            self.replies[answer[0]] = answer[1:]
            self._note()
        event = qmp_event(line)
        if event is None:
            return
        self._listeners.event(*event)
        with self._changed:
            for names, heard in self._awaited:
                if event[0] in names and len(heard) < EVENTS:
                    heard.append(event)
            if event[0] in self.changes:
                self.changes[event[0]] += 1
            if event[0] == "RESET":
                self._begin_anew()
            self._paused = event[0] == "STOP" or (self._paused and event[0] != "RESUME")
            self._changed.notify_all()

    def _begin_anew(self) -> None:
        """The guest was reset: it takes no commands until its init says so, and those that it had are lost."""
        self.resets += 1
        self._ready = self._heard = False
        self._disks.clear()
        self._lost |= self._given
        self._given.clear()

    def _on_control(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        first, _, text = rest.partition(" ")
        with self._changed:
            self._ready = self._ready or line == "ready"
            if kind == "B":
                self._disks[first] = text
            elif kind == "O":
                self._answers.setdefault(_number(first), deque(maxlen=ANSWER)).append(text)
            elif kind == "T":  # it printed more than is kept: now the end of that
                self._answers[_number(first)] = deque([LEFT_OUT], ANSWER)
            elif kind == "E" and _number(text) >= 0:
                self._exits[_number(first)] = _number(text)
                self._given.discard(_number(first))
            self._changed.notify_all()

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # QEMU is gone; its exit code says why
            os.write(self._qmp, f"{line}\n".encode())

    @property
    def exit(self) -> int | None:
        """QEMU's exit code, None while it runs."""
        return self._exit

    @property
    def ready(self) -> bool:
        """Whether the guest's init takes commands."""
        return self._ready

    @property
    def heard(self) -> bool:
        """Whether the guest said anything on its console."""
        return self._heard

    @property
    def paused(self) -> bool:
        """Whether the guest is stopped (by QEMU itself, for an I/O error, say)."""
        return self._paused

    @property
    def output(self) -> str:
        """The last lines of QEMU's own output."""
        return "\n".join(self._output)

    def wait(self, seconds: float, reached: Callable[[], bool]) -> bool:
        """Wait until ``reached`` or QEMU's end, for at most ``seconds``; whether it was reached."""
        with self._changed:
            self._changed.wait_for(lambda: reached() or self._exit is not None, seconds)
            return reached()

    def run_command(self, command: str, seconds: float) -> tuple[int | None, str]:
        """Exit code and output of a shell command in the guest; the code is None when it never came (or paused)."""
        return self.answer(self.send(command), seconds)

    def send(self, command: str, keep: int = TAIL, *, alone: bool = False) -> int:
        """Give the guest a shell command, of whose output the last ``keep`` bytes come; the number of its answer.

        ``alone``: none is sent before that one has its answer. A guest that suspends its serial port loses what comes.
        """
        with self._changed:  # another step may give the monitor a command
            self._changed.wait_for(lambda: self._alone in (0, *self._exits, *self._lost) or self._exit is not None)
            self._sent += 1
            self._given.add(self._sent)
            self._alone = self._sent if alone else 0
            with contextlib.suppress(OSError):
                os.write(self._control, f"{self._sent} {keep} {command}\n".encode())
            return self._sent

    def answered(self, number: int) -> bool:
        """Whether the command ``number`` has ended, or cannot: the guest is paused, or was reset."""
        return number in self._exits or number in self._lost or self._paused

    def answer(self, number: int, seconds: float) -> tuple[int | None, str]:
        """The answer to the command ``number``, as ``run_command`` gives it."""
        self.wait(seconds, lambda: self.answered(number))
        with self._changed:
            if number in self._lost:
                return None, LOST
            lines = self._answers.get(number, ())
            if number in self._exits:
                self._answers.pop(number, None)  # a step may give many thousands
            return self._exits.get(number), "\n".join(lines).replace(f"{LEFT_OUT}\n", LEFT_OUT, 1)

    @contextlib.contextmanager
    def listening(self, *names: str) -> Iterator[list[tuple[str, str]]]:
        """Meanwhile the events of these names, each with its data, go into the list, however many others come."""
        heard: list[tuple[str, str]] = []
        one = (names, heard)
        with self._changed:
            self._awaited.append(one)
        try:
            yield heard
        finally:
            with self._changed:
                self._awaited = [other for other in self._awaited if other is not one]

    def execute(self, command: str) -> int:
        """Give the monitor a command (JSON, an object); the number of its answer in ``replies``."""
        with self._changed:
            self._sent += 1
            self._say(f'{{"id": {self._sent}, {command.strip()[1:]}')
            return self._sent

    def disk(self, serial: str) -> str:
        """The guest's node with this serial, "" when the guest has none. A VPD page has a head before the number."""
        return next((f"/dev/{device}" for device, text in self._disks.items() if text.endswith(serial)), "")

    def forget(self, serial: str) -> None:
        """A disk has gone; another may have its name in the guest. Init says ``blocks`` for what is there."""
        with self._changed:
            self._disks = {device: text for device, text in self._disks.items() if not text.endswith(serial)}

    def go_on(self) -> None:
        """Let a paused guest run again; the RESUME event follows."""
        self._say('{"execute": "cont"}')

    def cut(self) -> int | None:
        """Kill QEMU as it stands, as a loss of power would; its exit code, None when it is stuck in the kernel."""
        kill(self._child)
        self.wait(5.0, lambda: False)
        return self._exit

    def quit(self, seconds: float = QUIT_TIME) -> int | None:
        """End QEMU through its monitor, else by force; its exit code, None when it is stuck in the kernel.

        Never by a power-off of the guest: nested KVM dies of it ("KVM internal error. Suberror: 3").
        """
        if self._exit is None:
            with self._changed:  # before its greeting the monitor takes no command
                self._leaving = True
                if self.greeted:
                    self._say(QUIT)
            self.wait(seconds, lambda: False)
        if self._exit is None:
            kill(self._child)
            self.wait(1.0, lambda: False)
        return self._exit


def _number(text: str) -> int:
    """A number of the guest's init, -1 for what is none: the port may garble it."""
    return int(text) if text.isdecimal() and len(text) < 10 else -1
