# SPDX-License-Identifier: GPL-2.0-only
"""The agent's story of one trial: plan → storage → steps → result. Every way out leaves a result behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from ..layers import arch
from . import boots
from .beside import HasEnded, groups, perform_beside
from .codec import DecodeError, dump, load
from .command import Halt, find_tool
from .observe import Recorder, do_without_udev, inside_vm, open_console
from .outcome import Outcome
from .plan import CANDIDATE, LEAK, LEAKS_SOUGHT, Fault, Plan, Result, Step
from .stamps import Stamps
from .steps import GuestControl, Workload, demand_programs, perform
from .storage import Storage, rows

GRACE = 1.5  # seconds past the deadline before a step counts as hung; the trial waits 5
SCRATCH = "/run/bisector"  # a tmpfs in the VM; the root is the host's, mounted read-only


def main(argv: Sequence[str]) -> int:
    """Run the plan in the folder ``argv[0]``; 0 when a result was written, whatever it says."""
    if len(argv) != 1:
        print("usage: main.py SHARED")
        return 2
    shared = os.path.abspath(argv[0])
    try:
        with open(f"{shared}/plan.json", encoding="utf-8") as file:
            plan = load(Plan, file.read())
    except (OSError, DecodeError) as error:
        _refuse(shared, "", str(error))
        return 0
    if plan.vm and not inside_vm():
        _refuse(shared, plan.token, "the plan is for a VM, and this is none: nothing was touched")
        return 0
    try:
        before = boots.left(shared)
    except Halt as halt:
        _refuse(shared, plan.token, halt.fault.message)
        return 0
    Session(shared, plan, *(before or (None, None))).run()
    return 0


def _refuse(shared: str, token: str, why: str) -> None:
    with open(f"{shared}/result.json", "w", encoding="utf-8") as file:
        file.write(dump(Result(token=token, fault=Fault("plan", why))))
    print(f"agent: {why}")


class Session:
    """One trial, seen from inside; ``before`` and ``result``: what a boot of the VM before this one left."""

    def __init__(
        self, shared: str, plan: Plan, before: boots.BootState | None = None, result: Result | None = None
    ) -> None:
        self._shared = shared
        self._plan = plan
        self._before = before
        self._scratch = SCRATCH if plan.vm else f"{shared}/work"
        if plan.vm:
            open_console()
            if not plan.udev:
                do_without_udev()
        elapsed = before.now(plan.deadline) if before else 0.0
        first = plan.first_kernel or CANDIDATE
        self._kernel = ((before.kernel if before else "") or first) if plan.kernels and not plan.by_others else ""
        self._recorder = Recorder(
            *(shared, plan.token), vm=plan.vm, before=result, elapsed=elapsed, whose=self._kernel,
            names=tuple(step.name for step in plan.steps),
        )  # fmt: skip
        self._storage = Storage(self._scratch, plan.deadline, udev=plan.udev)
        self._stamps = Stamps(plan, shared)
        self._building = True
        self._leaking_since = 0  # jiffies
        self._guest_control: GuestControl | None = None
        self._open = {before.facts.name: before.facts} if before else {}  # steps that began and have not ended
        self._faults: dict[str, Fault] = {}  # step → what ended it, of those whose neighbours go on
        self._over = threading.Lock()  # held by who finishes: the plan's end or the watchdog

    def run(self) -> None:
        """Do all of the plan, until its end, its deadline or a fault."""
        if self._before is None:
            self._recorder.mark("begin")
        elif self._kernel:
            self._recorder.mark("up")
        self._recorder.write()
        watchdog = threading.Timer(max(0.0, self._plan.deadline - self._recorder.now()) + GRACE, self._hung)
        watchdog.daemon = True
        watchdog.start()
        complete = False
        try:
            complete = self._workload()
        except Halt as halt:
            self._recorder.fault(halt.fault)
        except Exception:  # noqa: BLE001  # our own error is the harness's failure, never silence
            import traceback  # it brings much with it, and is hardly ever needed

            self._recorder.fault(Fault("step", traceback.format_exc(limit=-4)))
        self._finish(complete)

    def _workload(self) -> bool:
        """Storage and steps; whether all of it was done before the deadline."""
        demand_programs(self._plan)
        self._kernels_own()
        warm = self._warm_up()
        wrong: list[str] = []
        if self._before is None:
            self._storage.build(self._plan.layers, vm=self._plan.vm)
        else:
            self._building = False
            wrong = self._storage.again(self._plan.layers, self._before.standing(self._plan.layers))
            self._stamps.restore(self._before.stamps)
        self._building = False
        self._recorder.layers(self._storage.facts())
        if self._before is None:
            self._recorder.mark("storage")
        else:
            self._up_again(self._before, wrong)
        self._recorder.write()
        self._guest_control = self._guest()
        work = Workload(
            *(self._plan, self._storage, self._recorder, self._files(), self._guest_control, self._stamps),
            go_down=self._go_down,
        )
        for steps in groups(self._plan.steps[self._before.step + 1 if self._before else 0 :]):
            if self._recorder.now() >= self._plan.deadline:
                self._recorder.event("agent", "deadline", steps[0].name)
                return False
            self._steps(work, steps)
            if self._recorder.failed:
                return False
        self._leaks()
        warm.join(5.0)
        return True

    def _kernels_own(self) -> None:
        """What few plans ask of the kernel, before anything is made."""
        if self._plan.cgroups:
            from .cgroups import provide

            provide(self._plan.cgroups)
        if self._plan.leaks:
            from .leaks import begin

            self._leaking_since = begin()

    def _leaks(self) -> None:
        if self._plan.leaks:
            from .leaks import KINDS, found

            lines = found(self._leaking_since)
            for line in lines[:KINDS]:
                self._recorder.event("agent", LEAK, line)
            self._recorder.event("agent", LEAKS_SOUGHT, str(len(lines)))

    def _steps(self, work: Workload, steps: Sequence[Step]) -> None:
        """Do one step, or those that run beside each other; what one of them found is written when it ends."""
        if len(steps) == 1:
            self._step(work, steps[0])
        else:
            perform_beside(steps, lambda step, ended: self._step(work, step, ended))
        if self._over.locked():
            return  # it came back after the deadline; all is reported
        self._recorder.layers(self._storage.facts())  # which may wait for storage that hangs
        if len(steps) == 1:
            self._recorder.mark("step", steps[0].name, "end")
        self._recorder.write()

    def _step(self, work: Workload, step: Step, ended: HasEnded = lambda name: True) -> None:
        if step.after:
            time.sleep(step.after)
            if self._recorder.now() >= self._plan.deadline:
                return
        self._open[step.name] = step.begun(round(self._recorder.now(), 3))
        self._recorder.mark("step", step.name, "begin")
        try:
            facts = perform(replace(work, ended=ended), step)
        except Halt as halt:
            self._faults[step.name] = halt.fault
            raise
        if self._over.locked():
            return
        self._recorder.step(facts)
        del self._open[step.name]
        if step.group:
            self._recorder.mark("step", step.name, "end")
            self._recorder.write()

    def _up_again(self, before: boots.BootState, wrong: list[str]) -> None:
        """Report the step that ended the boot before this one: ``wrong`` is what could not be assembled."""
        lines = [line for line in (before.facts.detail, *wrong) if line]
        errno = ""
        if lines:
            from .machine import errno_in  # here: it brings more along than a boot that goes well should pay for

            errno = errno_in("\n".join(lines))
        code = int(bool(before.facts.exit or wrong))
        ended = round(self._recorder.now(), 3)
        failed = before.facts.failed + len(wrong)
        facts = replace(
            before.facts, ended=ended, done=True, exit=code, errno=errno, failed=failed, detail="\n".join(lines)
        )
        del self._open[facts.name]
        self._recorder.step(facts)
        self._recorder.mark("step", facts.name, "end")

    def _go_down(self, cut: bool, seen: Outcome) -> Outcome:
        """End this boot of the VM inside the current step. Raises Halt(step) when the VM stays up."""
        (current,) = self._open.values()
        facts = replace(current, exit=seen.exit, count=seen.count, failed=seen.failed, detail=seen.detail)
        self._recorder.write()
        at = next(index for index, step in enumerate(self._plan.steps) if step.name == facts.name)
        layers = tuple(
            boots.BuiltState(name, built.node, built.device, built.volume, built.degraded)
            for name, built in self._storage.standing().items()
        )
        fresh = self._guest_control.fresh if self._guest_control else True
        state = boots.BootState(
            *(self._before.boots + 1 if self._before else 1, at, facts, self._recorder.now(), time.time()),
            *(fresh, layers, self._stamps.state(), self._plan.steps[at].boot_kernel or self._kernel),
        )
        boots.go_down(self._shared, state, cut=cut)
        return seen

    def _guest(self) -> GuestControl | None:
        if self._plan.guest is None:
            return None
        from .guest import Guest  # here: a plan without guest does not pay for it

        own = f"guest-kernel.{self._kernel}"
        if self._kernel and os.path.exists(f"{self._shared}/{own}"):  # it boots the kernel that runs here
            os.symlink(own, f"{self._shared}/{own}.link")
            os.replace(f"{self._shared}/{own}.link", f"{self._shared}/guest-kernel")
        fresh = self._before.fresh if self._before else True
        return Guest(
            *(self._plan, self._plan.guest, self._storage, self._recorder, self._shared, self._scratch), fresh=fresh
        )

    def _files(self) -> str:
        folder = f"{self._shared}/files"
        os.makedirs(folder, exist_ok=True)
        return folder

    def _warm_up(self) -> threading.Thread:
        """Beside the building of the storage: load what the guest needs, find the versions of the tools.

        A cold QEMU takes 1.6 s to come over 9p into an emulated VM, a warm one 0.3 s: the storage's waits pay for it.
        """
        options = {"python": "--version"}
        if self._plan.guest is not None:
            find_tool(arch.VM.qemu)
            options[arch.VM.qemu] = "--version"
        programs = (program for row in rows(self._plan.layers) for program in row.programs)
        options |= {program.name: program.version for program in programs if program.version}

        def warm() -> None:
            if self._plan.guest is not None:
                from . import guest  # noqa: F401
            self._recorder.tools(options)

        thread = threading.Thread(target=warm, daemon=True)
        thread.start()
        return thread

    def _hung(self) -> None:
        """The deadline and a little more: report steps that hang, in the kernel perhaps, as ones that never ended."""
        if self._over.locked():
            return
        current, faults = dict(self._open), dict(self._faults)
        names = [step.name for step in self._plan.steps if step.name in {**current, **faults}]
        self._recorder.event("agent", "deadline", " ".join(name for name in names if name not in faults))
        if self._building:
            self._recorder.fault(Fault("storage", "the storage was not built and synced before the deadline"))
        now = round(self._recorder.now(), 3)
        for name in names:
            if name in faults:
                self._recorder.fault(faults[name])
            else:
                self._recorder.step(replace(current[name], ended=now, detail="did not end in time"))
        self._finish(complete=False)

    def _finish(self, complete: bool) -> None:
        """Tell all, once, and end: a thread that is stuck in the kernel is left behind."""
        if not self._over.acquire(blocking=False):
            threading.Event().wait()  # the other thread is telling, and ends the process
        self._recorder.layers(self._storage.facts())
        self._recorder.write(complete=complete)
        if self._guest_control is not None:
            self._guest_control.close()
        self._stamps.close()
        self._recorder.close()
        os._exit(0)
