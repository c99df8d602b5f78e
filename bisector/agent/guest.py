# SPDX-License-Identifier: GPL-2.0-only
"""The inner guest of a plan: what the verbs start, stop and ask for I/O."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace

from .command import Halt
from .disks import SERIAL_LENGTH
from .initramfs import guest_root
from .lines import printable
from .machine import Ports, dd_command, dd_records, errno_in, kvm_opens, qemu_command
from .observe import BoundedLog, Recorder
from .plan import Guest as GuestPlan
from .plan import Io, Plan
from .qemu import Listeners, Qemu
from .steps import GuestControl, Outcome, fill
from .storage import Storage

FIRST_SIGN = 20.0  # seconds in which a guest on KVM must say something
WATCH_LIMIT = 20  # matches of one watch that are told; a flood repeats itself
LINE_LIMIT = 300
KVM_BROKEN = re.compile(r"KVM internal error|failed to initialize kvm|Could not access KVM", re.IGNORECASE)


class Guest(GuestControl):
    """Starts QEMU on the plan's drives, and speaks with the guest's init over its second serial port."""

    def __init__(self, plan: Plan, guest: GuestPlan, storage: Storage, recorder: Recorder, shared: str, scratch: str):
        if guest.os not in ("none", "linux") or guest.storage or guest.passthrough:
            what = f"os {guest.os}" if guest.os not in ("none", "linux") else "storage or passthrough"
            raise Halt("plan", f"a guest with {what} is not supported by this version")
        self._guest = guest
        self._recorder = recorder
        self._nodes = {drive.of: storage.node(drive.of) for drive in guest.drives}
        self._kernel = f"{shared}/guest-kernel"
        self._initramfs = f"{scratch}/initramfs"
        self._files = (f"{shared}/files", tuple(file.name for file in plan.files))
        self._watches = [(w.name, re.compile(w.pattern)) for w in plan.watches if w.where == "guest"]
        self._told = dict.fromkeys((name for name, _ in self._watches), 0)
        self._output = BoundedLog(f"{shared}/qemu.log")
        self._console = BoundedLog(f"{shared}/guest-console.log")
        self._listeners = Listeners(self._on_output, self._on_console, self._on_event)
        self._qemu: Qemu | None = None
        self._seed = plan.seed
        if guest.os == "linux":
            self._prepare()

    def _prepare(self) -> None:
        if not os.path.exists(self._kernel):
            raise Halt("plan", "the inner guest's kernel is not in the shared folder (guest-kernel)")
        with open(self._initramfs, "wb") as file:
            file.write(guest_root(*self._files))

    def _on_output(self, line: str) -> None:
        self._output.write(f"{line}\n".encode())

    def _on_event(self, name: str, detail: str) -> None:
        self._recorder.event("qmp", name, detail)

    def _on_console(self, line: str) -> None:
        self._console.write(f"[{self._recorder.now():9.3f}] {line}\n".encode())
        for name, pattern in self._watches:
            if self._told[name] < WATCH_LIMIT and pattern.search(line):
                self._told[name] += 1
                self._recorder.event("guest", name, line[:LINE_LIMIT])
                self._recorder.mark("guest", name, printable(line, LINE_LIMIT))

    def start(self, seconds: float) -> Outcome:
        """Open the drives (os=none), or boot the guest until its init takes commands (os=linux)."""
        if self._qemu is not None and self._qemu.exit is None:
            raise Halt("plan", "the inner guest is started while it runs")
        return self._open(seconds) if self._guest.os == "none" else self._boot(seconds)

    def _open(self, seconds: float) -> Outcome:
        self._recorder.guest_accel("tcg")
        qemu = self._launch("tcg", serial=False)
        code = qemu.quit(seconds)
        if code is None or code < 0:
            return Outcome(
                done=code is not None, exit=code, detail=qemu.output or "QEMU did not open its drives in time"
            )
        opened = 0 if code else len(self._guest.drives)
        return Outcome(exit=code, errno=errno_in(qemu.output) if code else "", count=opened, detail=qemu.output)

    def _boot(self, seconds: float) -> Outcome:
        until = time.monotonic() + seconds
        wanted = self._guest.accel
        if wanted == "kvm" or (wanted == "auto" and kvm_opens()):
            self._recorder.guest_accel("kvm")
            qemu = self._launch("kvm", serial=True)
            if wanted == "kvm" or self._lives(qemu, until):
                return self._booted(qemu, until)
            qemu.quit(1.0)
            self._recorder.event("agent", "guest-kvm-failed", qemu.output or "no sign of life")
        self._recorder.guest_accel("tcg")
        return self._booted(self._launch("tcg", serial=True), until)

    def _lives(self, qemu: Qemu, until: float) -> bool:
        """Whether a guest on KVM gets going. /dev/kvm that opens proves nothing: only this does.

        A KVM that cannot run the guest's code ends QEMU, or pauses the guest, or leaves it without a word.
        """

        def broken() -> bool:
            return qemu.exit is not None or qemu.paused or bool(KVM_BROKEN.search(qemu.output))

        first_sign = min(FIRST_SIGN, until - time.monotonic())
        if not qemu.wait(first_sign, lambda: qemu.heard or qemu.ready or broken()):
            return False
        qemu.wait(until - time.monotonic(), lambda: qemu.ready or broken())
        return not broken()

    def _booted(self, qemu: Qemu, until: float) -> Outcome:
        if qemu.wait(until - time.monotonic(), lambda: qemu.ready):
            return Outcome(exit=0, count=len(self._guest.drives))
        if qemu.exit is None:
            return Outcome(done=False, detail="the inner guest did not reach its init in time")
        # Refused options are an observation; a guest that panicked ends QEMU with 0, and that is no start.
        return Outcome(done=qemu.exit != 0, exit=qemu.exit, errno=errno_in(qemu.output), detail=qemu.output)

    def _launch(self, accel: str, *, serial: bool) -> Qemu:
        boot = (self._kernel, self._initramfs) if serial else None

        def command(ports: Ports) -> list[str]:
            argv = qemu_command(self._guest, self._nodes, accel, ports, boot)
            self._on_output("# " + " ".join(argv))
            return argv

        self._qemu = Qemu(command, self._listeners, serial=serial)
        return self._qemu

    def stop(self) -> Outcome:
        """End QEMU; its exit code."""
        if self._qemu is None or self._qemu.exit is not None:
            return Outcome(exit=None if self._qemu is None else self._qemu.exit, detail="the guest was not running")
        code = self._qemu.quit()
        return Outcome(done=code is not None, exit=code, detail=self._qemu.output)

    def resume(self) -> Outcome:
        """Let the guest go on after a pause."""
        qemu = self._running()
        if isinstance(qemu, Outcome):
            return qemu
        qemu.go_on()
        return Outcome(done=qemu.wait(5.0, lambda: not qemu.paused), exit=0)

    def io(self, drive: str, io: Io, repeat: float, seconds: float) -> Outcome:
        """dd on the drive with this name, once or for ``repeat`` seconds; ends too when the guest pauses."""
        qemu = self._running()
        if isinstance(qemu, Outcome):
            return qemu
        device = qemu.disk(drive[:SERIAL_LENGTH])
        if not device:
            return Outcome(done=False, detail=f"the guest's kernel shows no disk with serial {drive}")
        start = time.monotonic()
        seen = Outcome(exit=0)
        while True:
            code, text = qemu.ask(dd_command(device, io), seconds - (time.monotonic() - start))
            seen = _add(seen, code, text)
            if code is None:
                return self._unanswered(qemu, seen)
            if time.monotonic() - start >= min(repeat, seconds):
                return seen

    def run(self, argv: tuple[str, ...], seconds: float) -> Outcome:
        """Run busybox's or the recipe's program in the guest, in the folder of the recipe's files."""
        qemu = self._running()
        if isinstance(qemu, Outcome):
            return qemu
        names = {drive.name: qemu.disk(drive.name[:SERIAL_LENGTH]) for drive in self._guest.drives}
        words = " ".join(quote(word) for word in fill(argv, {**names, "seed": str(self._seed)}))
        code, text = qemu.ask(f"BISECTOR_SEED={self._seed} {words}", seconds)
        seen = Outcome(exit=code, detail=text)
        return self._unanswered(qemu, seen) if code is None else seen

    def _running(self) -> Qemu | Outcome:
        if self._qemu is None:
            return Outcome(done=False, detail="the guest was not started")
        if self._qemu.exit is not None:
            return Outcome(done=False, exit=self._qemu.exit, detail=f"QEMU has ended: {self._qemu.output}")
        if not self._qemu.ready:
            return Outcome(done=False, detail="the guest never took a command")
        return self._qemu

    def _unanswered(self, qemu: Qemu, seen: Outcome) -> Outcome:
        if qemu.paused:
            return replace(seen, exit=None, detail=f"the guest paused; {seen.detail}")
        if qemu.exit is not None:
            return replace(seen, done=False, exit=qemu.exit, detail=f"QEMU has ended: {qemu.output}")
        return replace(seen, done=False, exit=None, detail=f"no answer from the guest; {seen.detail}")

    def close(self) -> None:
        """End QEMU if it still runs (at the deadline there is little time), and the logs."""
        if self._qemu is not None:
            self._qemu.quit(1.0)
        self._output.close()
        self._console.close()


def _add(seen: Outcome, code: int | None, text: str) -> Outcome:
    """``seen`` with one more dd in it."""
    if code is None:
        return replace(seen, exit=None, detail=text)
    records = dd_records(text)
    if code == 0:
        return replace(seen, count=seen.count + records, detail=seen.detail or text)
    name = seen.errno or errno_in(text)
    return replace(seen, exit=code, errno=name, count=seen.count + records, failed=seen.failed + 1, detail=text)


def quote(word: str) -> str:
    """``word`` as the shell takes it for itself."""
    return "'" + word.replace("'", "'\\''") + "'"
