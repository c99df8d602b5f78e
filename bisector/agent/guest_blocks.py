# SPDX-License-Identifier: GPL-2.0-only
"""Stamp and verify in a running inner guest: it runs what inner_blocks.py says, and goes on after a pause."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from .blocks import BLOCK
from .command import Halt
from .inner_blocks import SERIAL, Chunks, Exchange, NoAnswer, StampRun, exchange_options
from .inner_storage import InnerStorage
from .integrity import judge
from .machine import errno_in
from .outcome import Outcome
from .plan import Guest, Step
from .qemu import Qemu
from .stamps import StampTarget, summary_of

RunCommand = Callable[[Qemu, str, float], tuple[int | None, str]]
"""Runs a shell command in a life of the guest, for at most so many seconds: exit code (None: no answer), output."""


class GuestBlocks:
    """The disk that blocks travel over, for all lives of a guest.

    ``unanswered`` says what no answer to a command means: the guest paused, its QEMU ended, or time was up.
    """

    def __init__(self, path: str, run_command: RunCommand, unanswered: Callable[[Qemu, Outcome], Outcome]) -> None:
        self._exchange = Exchange(path)
        self._run_command = run_command
        self._unanswered = unanswered
        self._rest: Callable[[Outcome, float], Outcome] | None = None

    def options(self) -> list[str]:
        """QEMU's options for the disk."""
        return exchange_options(self._exchange.path)

    def go_on(self, seen: Outcome, seconds: float) -> Outcome:
        """What a pause left undone, after the command that it cut short has ended, as ``seen``."""
        rest, self._rest = self._rest, None
        return rest(seen, seconds) if rest else seen

    def drop(self) -> None:
        """Do not go on with what a pause left undone: the guest got something else to do."""
        self._rest = None

    def stamp(
        self, qemu: Qemu, path: str, step: Step, stamped: StampTarget, record: Callable[[str], None], seconds: float
    ) -> Outcome:
        """Stamp to the end, generation upon generation for the step's own seconds."""
        stamping = self._stamping(qemu, path, step, stamped, record, step.seconds)
        return self._write(qemu, stamping, seconds)

    def _write(self, qemu: Qemu, stamping: StampRun, seconds: float) -> Outcome:
        until = time.monotonic() + seconds
        for command in stamping.commands:
            code, text = self._run_command(qemu, command, until - time.monotonic())
            if code is None:
                self._rest = lambda seen, left: self._written(qemu, stamping, seen, left)
                return self._unanswered(qemu, Outcome(count=stamping.count, detail=text))
            if code != 0:
                return _failed(code, text, stamping)
        return Outcome(exit=0, count=stamping.count)

    def _written(self, qemu: Qemu, stamping: StampRun, seen: Outcome, seconds: float) -> Outcome:
        """Go on with a stamp, the write that a pause cut short having ended as ``seen``."""
        if seen.exit:
            return _failed(seen.exit, seen.detail, stamping)
        return self._write(qemu, stamping, seconds)

    def begin(
        self, qemu: Qemu, path: str, step: Step, stamped: StampTarget, record: Callable[[str], None], seconds: float
    ) -> Outcome | None:
        """Stamp for the step's own seconds, and leave it in the middle of a write (None).

        An outcome says that it did not come so far. The time in which blocks are made out here is not counted.
        """
        until = time.monotonic() + seconds
        after = step.seconds
        stamping = self._stamping(qemu, path, step, stamped, record, after + seconds)
        for command in stamping.commands:
            begun = time.monotonic()
            code, text = qemu.answer(qemu.send(command), min(after, until - begun))
            if code is None and not qemu.paused and qemu.exit is None and begun + after <= until:
                return None
            if code is None:
                return self._unanswered(qemu, Outcome(count=stamping.count, detail=text))
            if code != 0:
                return _failed(code, text, stamping)
            after -= time.monotonic() - begun
        raise AssertionError("a stamp that is to be killed has an end")

    def _stamping(
        self, qemu: Qemu, path: str, step: Step, stamped: StampTarget, record: Callable[[str], None], seconds: float
    ) -> StampRun:
        until = time.monotonic() + seconds
        return StampRun(
            self._exchange,
            (self._disk(qemu), path),
            stamped,
            step.size // BLOCK,
            direct=step.direct,
            record=record,
            more=lambda: time.monotonic() < until,
        )

    def verify(
        self, qemu: Qemu, path: str, before: list[str], stamped: StampTarget, *, direct: bool, seconds: float
    ) -> Outcome:
        """Verify what was stamped at ``path``, after the guest did the commands ``before``."""
        until = time.monotonic() + seconds

        def run_command(command: str) -> tuple[int | None, str]:
            return self._run_command(qemu, command, until - time.monotonic())

        try:
            for command in before:
                code, text = run_command(command)
                if code is None:
                    raise NoAnswer(text)
                if code != 0:
                    return Outcome(exit=code, errno=errno_in(text), detail=text)
            chunks = Chunks(self._exchange, (path, self._disk(qemu)), run_command, direct=direct)
            found = summary_of(judge(chunks, stamped.pattern, stamped.journal))
        except NoAnswer as silence:
            # From the beginning, however the read ended: what was read before the pause may have changed.
            self._rest = lambda seen, left: self.verify(qemu, path, before, stamped, direct=direct, seconds=left)
            return self._unanswered(qemu, Outcome(detail=str(silence)))
        differs = int(found.findings > 0)
        return Outcome(True, differs, found.errno, found.judged, found.findings, found.classes, "\n".join(found.lines))

    def _disk(self, qemu: Qemu) -> str:
        disk = qemu.disk(SERIAL)
        if not disk:
            raise Halt("step", "the inner guest's kernel shows no virtio-blk disk, over which blocks travel")
        return disk

    def close(self) -> None:
        """Let go of the disk's file."""
        self._exchange.close()


def _failed(code: int, text: str, stamping: StampRun) -> Outcome:
    return Outcome(exit=code, errno=errno_in(text), count=stamping.count, failed=1, detail=text)


def below(
    guest: Guest,
    inner: InnerStorage,
    nodes: Mapping[str, str],
    name: str,
    run: Callable[[str, float], tuple[int | None, str]],
) -> tuple[tuple[str, int], ...]:
    """Layers of the VM that hold the bytes of ``name`` as they stand, and how many bytes into them they begin.

    Args:
        nodes: of drives and passed disks in the guest.
        run: runs a shell command in the guest for so many seconds, as ``RunCommand`` does.
    """
    drives = {drive.name: drive for drive in guest.drives}
    found = []
    for leg, array, _ in inner.legs(name):
        shift = 0
        if array:
            code, text = run(inner.offset_command(array, leg, nodes), 30.0)
            if code != 0 or not text.strip().isdecimal():
                continue
            shift = int(text) * 512
        if leg not in drives:
            found.append((leg, shift))
        elif drives[leg].format == "raw":
            found.append((drives[leg].of, shift))
    return tuple(found)
