# SPDX-License-Identifier: GPL-2.0-only
"""The inner guest of a plan: what the verbs start, stop and drive I/O in."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from functools import partial

from ..layers.device import SERIAL_LENGTH
from .answers import added, booted, command_outcome, quote, unanswered
from .command import TAIL, Halt, demand, fill
from .disks import load_modules
from .guest_blocks import GuestBlocks, below
from .guest_contents import contents
from .guest_kvm import KvmGuard, lives
from .guest_plugs import GuestPlugs
from .guest_suspend import suspend
from .initramfs import guest_root
from .inner_storage import InnerStorage
from .lines import printable
from .machine import Ports, errno_in, io_command, kvm_opens, overlay_command, qemu_command, without_cache
from .modules import folder_of_modules
from .monitor import command
from .observe import BoundedLog, Recorder, inside_vm
from .outcome import Outcome
from .passthrough import Passthrough, vfio_options
from .plan import Guest as GuestPlan
from .plan import Io, Plan, Step
from .qemu import LOST, Listeners, Qemu
from .stamps import StampTarget
from .steps import GuestControl
from .storage import Storage

WATCH_LIMIT = 20  # matches of one watch that are reported; a flood repeats itself
LINE_LIMIT = 300
LEAVE = 300.0  # seconds for an orderly end of the guest's storage, in a guest in a guest on a crowded host
NOT_FOUND = 127  # a shell's exit code for a program that is not there


class Guest(GuestControl):
    """Starts QEMU on the plan's drives, and speaks with the guest's init over its second serial port."""

    def __init__(
        self,
        plan: Plan,
        guest: GuestPlan,
        storage: Storage,
        recorder: Recorder,
        shared: str,
        scratch: str,
        *,
        fresh: bool = True,
    ):
        if guest.passthrough and not plan.vm:
            raise Halt("plan", "only a VM's own controllers are passed to a guest")  # law 5: never the host's
        self._guest = guest
        self._passed = Passthrough(storage, guest.passthrough)
        self._hosts: tuple[str, ...] = ()  # PCI addresses of what is passed
        self._inner = InnerStorage(guest)
        self._layers = storage.opened  # of the VM, as they are now
        self.fresh = fresh
        self._cut_short: int | None = None  # a command that a pause cut short
        self._recorder, self._kvm = recorder, KvmGuard(recorder)
        self._accel = "tcg" if plan.accel == "tcg" and guest.accel == "auto" else guest.accel  # docs/decisions/0039
        self._nodes = {drive.of: storage.node(drive.of) for drive in guest.drives}
        self._plugs = GuestPlugs(guest, self._nodes)
        self._kernel = f"{shared}/guest-kernel"
        self._modules = folder_of_modules(f"{shared}/guest-modules", vm=plan.vm)
        self._initramfs = f"{scratch}/initramfs"
        self._files = (f"{shared}/files", tuple(file.name for file in plan.files))
        self._watches = [(w.name, re.compile(w.pattern)) for w in plan.watches if w.where == "guest"]
        self._unseen = {w.name: w.most or WATCH_LIMIT for w in plan.watches if w.where == "guest"}
        self._output = BoundedLog(f"{shared}/qemu.log")
        self._console = BoundedLog(f"{shared}/guest-console.log")
        self._ready = re.compile(guest.ready) if guest.ready else None
        self._is_up = False
        self._system = f"{scratch}/system.qcow2"
        self._image = f"{shared}/files/{guest.image}"
        self._listeners = Listeners(self._on_output, self._on_console, self._on_event)
        self._qemu: Qemu | None = None
        self._programs = ""  # the folder of QEMU, where it is not the one under test
        self._blocks: GuestBlocks | None = None
        self._seed = plan.seed
        if guest.os == "linux":
            stamping = any(step.where == "guest" and step.verb in ("stamp", "verify") for step in plan.steps)
            self._blocks = GuestBlocks(f"{scratch}/blocks", self._run_command, unanswered) if stamping else None
            self._prepare(plan)
        elif guest.os == "image":
            try:
                demand(overlay_command(self._image, self._system), stage="tools", timeout=60.0)
            except OSError as error:
                raise Halt("plan", f"the guest's image is not in the shared folder: {error}") from None

    def _prepare(self, plan: Plan) -> None:
        if not os.path.exists(self._kernel):
            raise Halt("plan", "the inner guest's kernel is not in the shared folder (guest-kernel)")
        stamping = self._blocks is not None
        more = contents(plan, self._guest, self._inner, self._modules, stamping=stamping)
        with open(self._initramfs, "wb") as file:
            file.write(guest_root(*self._files, more, without_cache(self._guest, plan.layers)))

    def _on_output(self, line: str) -> None:
        self._output.write(f"{line}\n".encode())
        self._kvm.output(line)

    def _on_event(self, name: str, detail: str) -> None:
        self._kvm.record(lambda: self._recorder.event("qmp", name, detail))

    def _on_console(self, line: str) -> None:
        self._console.write(f"[{self._recorder.now():9.3f}] {line}\n".encode())
        self._is_up = self._is_up or bool(self._ready and self._ready.search(line))
        for name, pattern in self._watches:
            if pattern.search(line):
                self._kvm.record(partial(self._matched, name, line))

    def _matched(self, name: str, line: str) -> None:
        if self._unseen[name]:
            self._unseen[name] -= 1
            self._recorder.event("guest", name, line[:LINE_LIMIT])
            self._recorder.mark("guest", name, printable(line, LINE_LIMIT))

    def start(self, seconds: float, programs: str = "") -> Outcome:
        """Open the drives (none), boot until init takes commands (linux) or until its console says so (image).

        A linux guest then makes its storage, or assembles what its last life left.
        """
        self._programs = programs
        if self._qemu is not None and self._qemu.exit is None:
            raise Halt("plan", "the inner guest is started while it runs")
        self._cut_short, self._is_up = None, False
        self._hosts = self._passed.take() if self._guest.passthrough else ()
        if self._guest.os == "none":
            return self._open_drives(seconds)
        until = time.monotonic() + seconds
        seen = self._boot(seconds)
        if self._guest.storage and seen.done and seen.exit == 0:
            return self._storage(until, seen)
        return seen

    def _storage(self, until: float, booted: Outcome) -> Outcome:
        qemu = self._running()
        if isinstance(qemu, Outcome):
            return qemu
        nodes = self._nodes_inside(qemu)
        lines = self._inner.create(nodes) if self.fresh else self._inner.assemble(nodes)
        self.fresh = False
        for line in lines:
            code, text = qemu.run_command(line, until - time.monotonic())
            if code is None:
                return unanswered(qemu, Outcome(detail=f"{line}: {text}"))
            if code != 0:
                return Outcome(exit=code, errno=errno_in(text), detail=f"{line}: {text}")
        return booted

    def _nodes_inside(self, qemu: Qemu) -> dict[str, str]:
        names = [*(drive.name for drive in self._guest.drives), *self._guest.passthrough]
        return {name: qemu.disk(name[:SERIAL_LENGTH]) for name in names}

    def _open_drives(self, seconds: float) -> Outcome:
        self._kvm.begins("tcg")
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
        if self._accel != "tcg" and inside_vm() and not os.path.exists("/dev/kvm"):
            load_modules("kvm_intel", "kvm_amd")  # no udev does it by the processor's name
        if self._accel == "kvm" or (self._accel == "auto" and kvm_opens()):
            self._kvm.begins("kvm", tried=self._accel == "auto")
            qemu = self._launch("kvm", serial=True)
            if self._accel == "kvm" or lives(qemu, lambda: self._up(qemu), until):
                self._kvm.lives()
                return booted(qemu, lambda: self._up(qemu), until, self._guest)
            qemu.quit(1.0)
            self._recorder.event("agent", "guest-kvm-failed", qemu.output or "no sign of life")
            self._is_up = False
        self._kvm.begins("tcg")
        qemu = self._launch("tcg", serial=True)
        return booted(qemu, lambda: self._up(qemu), until, self._guest)

    def _up(self, qemu: Qemu) -> bool:
        """Whether the guest is up: by its init's word, or by its console's; a foreign one without marker by any."""
        if self._guest.os == "linux":
            return qemu.ready
        return self._is_up if self._ready else qemu.heard

    def _launch(self, accel: str, *, serial: bool) -> Qemu:
        boot: tuple[str, ...] | None = (self._kernel, self._initramfs) if serial else None
        if self._guest.os == "image":
            boot = (self._system,)

        def command(ports: Ports) -> list[str]:
            argv = [*qemu_command(self._guest, self._nodes, accel, ports, boot), *vfio_options(self._hosts)]
            argv += self._blocks.options() if self._blocks else []
            self._on_output("# " + " ".join(argv))
            return argv

        self._plugs = GuestPlugs(self._guest, self._nodes)
        self._qemu = Qemu(command, self._listeners, serial=serial, programs=self._programs)
        return self._qemu

    def stop(self) -> Outcome:
        """Take the guest's storage off, as a shutdown does, and end QEMU; its exit code."""
        if self._qemu is None or self._qemu.exit is not None:
            self._passed.give_back()
            return Outcome(exit=None if self._qemu is None else self._qemu.exit, detail="the guest was not running")
        left = ""
        if self._guest.storage and self._qemu.ready and not self._qemu.paused:
            code, text = self._qemu.run_command(f"sync; {self._inner.leave()}", LEAVE)
            left = "" if code == 0 else f"the guest's storage was not taken off: {text}"
        code = self._qemu.quit()
        if code is not None:
            self._passed.give_back()
        return Outcome(done=code is not None, exit=code, detail=left or self._qemu.output)

    def reset(self, seconds: float) -> Outcome:
        """Reset it; a linux guest then assembles its storage, as after a ``restart``. What it did is cut off."""
        from .guest_reset import reset  # here: few plans have it

        qemu = self._running(commands=self._guest.os == "linux")
        if isinstance(qemu, Outcome):
            return qemu
        until = time.monotonic() + seconds
        self._is_up, self._cut_short = False, None
        seen = reset(qemu, lambda: self._up(qemu), seconds)
        if self._guest.storage and seen.done and seen.exit == 0:
            return self._storage(until, seen)
        return seen

    def resume(self, seconds: float = 5.0) -> Outcome:
        """Let the guest go on after a pause, and wait for the end of the step that the pause cut short.

        Exit code and errno are that step's.
        """
        qemu = self._running()
        if isinstance(qemu, Outcome):
            return qemu
        until = time.monotonic() + seconds
        qemu.go_on()
        if not qemu.wait(min(5.0, seconds), lambda: not qemu.paused):
            return Outcome(done=False, detail="QEMU did not let the guest go on")
        if self._cut_short is None:
            return Outcome(exit=0)
        seen = self._late(qemu, self._cut_short, until - time.monotonic())
        if not seen.done or seen.exit is None or self._blocks is None:
            return seen
        return self._blocks.go_on(seen, until - time.monotonic())

    def io(self, drive: str, io: Io, repeat: float, seconds: float) -> Outcome:
        """dd on the drive with this name, once or for ``repeat`` seconds; ends too when the guest pauses."""
        qemu = self._with(drive)
        if isinstance(qemu, Outcome):
            return qemu
        device = qemu.disk(drive[:SERIAL_LENGTH])
        if not device:
            return Outcome(done=False, detail=f"the guest's kernel shows no disk with serial {drive}")
        start, seen = time.monotonic(), Outcome(exit=0)
        while True:
            code, text = self._run_command(qemu, io_command(device, io), seconds - (time.monotonic() - start))
            seen = added(seen, code, text)
            if code is None:
                return unanswered(qemu, seen)
            if time.monotonic() - start >= min(repeat, seconds):
                return seen

    def run(self, argv: tuple[str, ...], seconds: float, keep: int = TAIL) -> Outcome:
        """Run busybox's or the recipe's program in the guest, in the folder of the recipe's files."""
        qemu = self._running()
        if isinstance(qemu, Outcome):
            return qemu
        names = self._nodes_inside(qemu)
        words = " ".join(quote(word) for word in fill(argv, {**names, "seed": str(self._seed)}))
        code, text = self._run_command(qemu, f"BISECTOR_SEED={self._seed} {words}", seconds, keep)
        if code == NOT_FOUND and text.rstrip().endswith(f"{argv[0]}: not found"):  # the words of busybox's shell
            raise Halt("tools", f"{argv[0]} is not in the inner guest: busybox has no such program")
        seen = Outcome(exit=code, detail=text)
        return unanswered(qemu, seen) if code is None else seen

    def stamp(self, step: Step, stamped: StampTarget, record: Callable[[str], None], seconds: float) -> Outcome:
        """Stamp the step's object; with ``kill`` QEMU is killed when it has written for the step's own seconds."""
        qemu = self._with(stamped.name)
        if isinstance(qemu, Outcome):
            return qemu
        blocks, path = self._its_blocks(), self._path(qemu, stamped.name)
        if not step.kill:
            return blocks.stamp(qemu, path, step, stamped, record, seconds)
        seen = blocks.begin(qemu, path, step, stamped, record, seconds)
        if seen is not None:
            return seen
        code = qemu.cut()
        if code is not None:
            self._passed.give_back()
        return Outcome(done=code is not None, exit=code, detail="QEMU was killed while the guest wrote")

    def verify(self, step: Step, stamped: StampTarget, seconds: float) -> Outcome:
        """Verify what was stamped, in the guest."""
        qemu = self._with(stamped.name)
        if isinstance(qemu, Outcome):
            return qemu
        before = []
        if not step.direct and step.caches != "keep":
            again = step.caches == "remount" and self._inner.is_mounted(stamped.name)
            before += [self._inner.remount(stamped.name, self._nodes_inside(qemu))] if again else []
            before.append("sync; echo 3 >/proc/sys/vm/drop_caches")
        path = self._path(qemu, stamped.name)
        return self._its_blocks().verify(qemu, path, before, stamped, direct=step.direct, seconds=seconds)

    def _its_blocks(self) -> GuestBlocks:
        if self._blocks is None:
            raise Halt("plan", "the inner guest has no disk for blocks: none of its steps stamps or verifies")
        return self._blocks

    def below(self, name: str) -> tuple[tuple[str, int], ...]:
        """Layers of the VM that hold the bytes of ``name`` as they stand, and how many bytes into them they begin."""
        qemu = self._running()
        if isinstance(qemu, Outcome):
            return ()
        return below(self._guest, self._inner, self._nodes_inside(qemu), name, qemu.run_command)

    def is_mounted(self, name: str) -> bool:
        """Whether ``name`` is a file system of the guest."""
        return self._inner.is_mounted(name)

    def _path(self, qemu: Qemu, name: str) -> str:
        path = self._inner.path(name, self._nodes_inside(qemu))
        if not path:
            raise Halt("plan", f"the guest has no {name}")
        return path

    def _run_command(self, qemu: Qemu, command: str, seconds: float, keep: int = TAIL) -> tuple[int | None, str]:
        """Run a command, and remember what a pause cut short; what an earlier one left undone stays so."""
        if self._blocks is not None:
            self._blocks.drop()
        number = qemu.send(command, keep)
        code, text = qemu.answer(number, seconds)
        self._cut_short = number if code is None and qemu.paused else None
        return code, text

    def _late(self, qemu: Qemu, number: int, seconds: float) -> Outcome:
        code, text = qemu.answer(number, seconds)
        if code is None:
            return unanswered(qemu, Outcome(detail=text))
        self._cut_short = None
        return command_outcome(code, text)

    def monitor(self, step: Step, seconds: float) -> Outcome:
        """Give QEMU the step's QMP command, with what a program opens in place of a layer's name."""
        if self._qemu is None or self._qemu.exit is not None:  # a crash may come behind the answer to the last step
            return Outcome(done=False, exit=self._qemu.exit if self._qemu else None, detail="QEMU does not run")
        text = fill((step.qmp,), {**self._layers(), "seed": str(self._seed)})[0]
        return command(self._qemu, text, step.until, seconds)

    def plug(self, step: Step, seconds: float) -> Outcome:
        """Put the step's drives in, or pull them out."""
        qemu = self._running()
        return qemu if isinstance(qemu, Outcome) else self._plugs.act(qemu, step, seconds)

    def suspend(self, step: Step, seconds: float) -> Outcome:
        """Suspend it, and wake it."""
        qemu = self._running()
        return qemu if isinstance(qemu, Outcome) else suspend(qemu, self._kernel, step.level, seconds)

    def _with(self, name: str) -> Qemu | Outcome:
        """The running guest that has this drive or layer."""
        qemu = self._running()
        return qemu if isinstance(qemu, Outcome) else self._plugs.missing(name) or qemu

    def _running(self, *, commands: bool = True) -> Qemu | Outcome:
        """QEMU, or why there is none; ``commands``: that takes some for the guest."""
        if self._qemu is None:
            return Outcome(done=False, detail="the guest was not started")
        if self._qemu.exit is not None:
            return Outcome(done=False, exit=self._qemu.exit, detail=f"QEMU has ended: {self._qemu.output}")
        if commands and not self._qemu.ready:
            if self._qemu.resets:
                return Outcome(detail=LOST)
            return Outcome(done=False, detail="the guest never took a command")
        return self._qemu

    def close(self) -> None:
        """End QEMU if it still runs (at the deadline there is little time), and the logs."""
        if self._qemu is not None:
            self._qemu.quit(1.0)
        if self._blocks is not None:
            self._blocks.close()
        self._output.close()
        self._console.close()
