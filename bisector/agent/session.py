# SPDX-License-Identifier: GPL-2.0-only
"""The agent's story of one trial: plan → storage → steps → result. Every way out leaves a result behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace

from ..layers import arch
from .codec import DecodeError, dump, load
from .command import Halt, find_tool
from .observe import Recorder, end_udev, inside_vm, open_console
from .plan import Fault, Plan, Result, Step, StepFacts
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
    Session(shared, plan).run()
    return 0


def _refuse(shared: str, token: str, why: str) -> None:
    with open(f"{shared}/result.json", "w", encoding="utf-8") as file:
        file.write(dump(Result(token=token, fault=Fault("plan", why))))
    print(f"agent: {why}")


class Session:
    """One trial, seen from inside."""

    def __init__(self, shared: str, plan: Plan) -> None:
        self._shared = shared
        self._plan = plan
        self._scratch = SCRATCH if plan.vm else f"{shared}/work"
        if plan.vm:
            open_console()
            if not plan.udev:
                end_udev()
        self._recorder = Recorder(shared, plan.token, vm=plan.vm)
        self._storage = Storage(self._scratch, plan.deadline, udev=plan.udev)
        self._stamps = Stamps(plan, shared)
        self._building = True
        self._guest_control: GuestControl | None = None
        self._current: StepFacts | None = None
        self._over = threading.Lock()  # held by who finishes: the plan's end or the watchdog

    def run(self) -> None:
        """Do all of the plan, until its end, its deadline or a fault."""
        self._recorder.mark("begin")
        self._recorder.write()
        watchdog = threading.Timer(self._plan.deadline + GRACE, self._hung)
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
        warm = self._warm_up()
        self._storage.build(self._plan.layers, vm=self._plan.vm)
        self._building = False
        self._recorder.layers(self._storage.facts())
        self._recorder.mark("storage")
        self._recorder.write()
        self._guest_control = self._guest()
        work = Workload(self._plan, self._storage, self._recorder, self._files(), self._guest_control, self._stamps)
        for step in self._plan.steps:
            if self._recorder.now() >= self._plan.deadline:
                self._recorder.event("agent", "deadline", step.name)
                return False
            self._step(work, step)
        warm.join(5.0)
        return True

    def _step(self, work: Workload, step: Step) -> None:
        self._current = step.begun(round(self._recorder.now(), 3))
        self._recorder.mark("step", step.name, "begin")
        facts = perform(work, step)
        if self._over.locked():
            return  # it came back after the deadline; all is reported
        self._current = None
        self._recorder.step(facts)
        self._recorder.layers(self._storage.facts())
        self._recorder.mark("step", step.name, "end")
        self._recorder.write()

    def _guest(self) -> GuestControl | None:
        if self._plan.guest is None:
            return None
        from .guest import Guest  # here: a plan without guest does not pay for it

        return Guest(self._plan, self._plan.guest, self._storage, self._recorder, self._shared, self._scratch)

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
        """The deadline and a little more: report a step that hangs, in the kernel perhaps, as one that never ended."""
        current = self._current
        if self._over.locked():
            return
        self._recorder.event("agent", "deadline", current.name if current else "")
        if self._building:
            self._recorder.fault(Fault("storage", "the storage was not built and synced before the deadline"))
        if current is not None:
            self._recorder.step(replace(current, ended=round(self._recorder.now(), 3), detail="did not end in time"))
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
