# SPDX-License-Identifier: GPL-2.0-only
"""One trial in a VM: image and plan in, observation out."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.codec import dump
from bisector.errors import InfraError
from bisector.interfaces import CancelToken, Listener, Phase, Progress
from bisector.layers import arch
from bisector.model import Ending, Image, Observation
from bisector.system.proc import Processes
from bisector.trial import accel as acceleration
from bisector.trial import vng
from bisector.trial.faults import FAULTS, in_words
from bisector.trial.follow import Watcher
from bisector.trial.kernels import Kernels, kernels_of, programs_beside
from bisector.trial.workspace import Workspace, guest_python

BOOT = {"tcg": 180.0, "kvm": 60.0}  # seconds to the agent's first sign; an idle host takes 7, a crowded one 90
MODULES = 2.0  # times as long for a kernel with modules: 25-45 s emulated for a distribution's, on an idle host
QEMU = arch.VM.qemu

Programs = tuple[str, Mapping[str, str]]
"""The folder of programs of QEMU under test, and whose → that of programs which do some of the steps beside them."""


def no_kernel(identity: str) -> Image | None:
    """Knows none."""


@dataclass(frozen=True)
class VmRunner:
    """Runs trials through virtme-ng. Picklable when ``environ`` is.

    Args:
        processes: starts and records what runs.
        state: our state folder, where it is remembered whether KVM works on this host.
        environ: PATH and TMPDIR are read from it.
        accel: "kvm", "tcg" or "auto" (KVM when a real boot with it worked); a plan's own ``accel`` goes before.
        kernels: finds the image of a kernel by its identity: what the VM boots where the plan names some.
        campaign: folder of the campaign whose trials these are: all of them run on one acceleration.
        boot_deadline: seconds to the agent's first sign; 0: 180 s emulated, 60 s with KVM, twice that with modules.
    """

    processes: Processes
    state: Path
    environ: Mapping[str, str]
    accel: str = "auto"
    boot_deadline: float = 0.0
    kernels: Callable[[str], Image | None] = no_kernel
    campaign: Path | None = None

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        """Run one trial; what it leaves (plan, command, console.log, and guest/) goes into ``folder``, made here.

        ``image`` is the kernel that boots; where the plan names another, it is programs, which come first in the VM's
        PATH. Never raises for what a kernel does, nor for a failing harness, which is the ending HARNESS.
        """
        try:
            kernels, beside = kernels_of(plan, image, self.kernels), programs_beside(plan, self.kernels)
        except InfraError as error:
            return Watcher(plan, {}, 0.0, listener, cancel).harness(error.what)
        booted = kernels.first
        wanted, unsure = self.accel_of(plan), False
        qemu = shutil.which(QEMU, path=self.environ.get("PATH", os.defpath))
        if wanted == "auto":
            answer = self.accelerate(booted, qemu, folder, cancel)
            wanted, unsure = answer.accel, answer.cause is acceleration.Cause.IMAGE
            if answer.cause is acceleration.Cause.GONE:
                return Watcher(plan, {}, 0.0, listener, cancel).harness(answer.reason)
            if answer.cause is acceleration.Cause.INTERRUPTED and cancel.cancelled():
                return Observation(Ending.CANCELLED)
            listener(Progress(Phase.ACCEL, answer.describe()))
        plan = replace(plan, accel=wanted, token=plan.token or secrets.token_hex(6))
        boot = BOOT[wanted] * (MODULES if booted.modules else 1.0)
        watcher = Watcher(plan, kernels.build_ids, self.boot_deadline or boot, listener, cancel)
        if qemu is None:
            return watcher.harness(f"{QEMU} was not found in PATH; install qemu-system-x86")
        try:
            seen = self._run(kernels, (image.programs, beside), plan, folder, watcher, qemu)
        except FAULTS as error:
            return watcher.harness(in_words(error))
        if unsure and seen.result and seen.ending is not Ending.HARNESS:
            acceleration.came_up(self.state, qemu, booted.identity, seen.timing.boot)
        if watcher.only_another_kernel and seen.result is None and seen.ending in (Ending.NO_AGENT, Ending.DECISIVE):
            # not the candidate's doing, which has not begun
            return replace(seen, ending=Ending.HARNESS, console=(), detail=f"the VM did not boot: {seen.detail}")
        return seen

    def _run(
        self, kernels: Kernels, tested: Programs, plan: Plan, folder: Path, watcher: Watcher, qemu: str
    ) -> Observation:
        folder.mkdir(parents=True, exist_ok=True)
        program, (programs, beside) = find_vng(self.environ), tested
        every = (programs, *beside.values())
        with Workspace(self.environ) as workspace:
            workspace.fill(plan, beside)
            workspace.fill_for_vm(kernels, plan, self.processes, programs)
            argv = vng.arguments(
                kernels.first, plan, workspace.places, accel=plan.accel, vng=program, programs=every,
                others=tuple(kernels.others.values()),
            )  # fmt: skip
            workspace.fill_for_qemu(argv, kernels, plan, qemu)
            (folder / "plan.json").write_text(dump(plan) + "\n", encoding="utf-8")
            (folder / "command").write_text(shlex.join(argv) + "\n", encoding="utf-8")
            env = vng.environment(workspace.places, self.environ, program)
            tools = (program, qemu, guest_python(), sys.executable)
            access = vng.access(
                tuple(kernels.by_name.values()), plan, workspace.places, accel=plan.accel, tools=tools,
                programs=every,
            )  # fmt: skip
            version = version_of_vng(program)
            if not vng.without_udev(version):
                access = replace(access, hidden=())
            with self.processes.start(argv, access=access, cwd=Path("/"), env=env) as child:
                observation = watcher.follow(child, workspace, folder)
            workspace.keep(folder)
        return replace(observation, vng=version, sandbox=self.processes.sandbox.describe())

    def accel_of(self, plan: Plan) -> str:
        """What a trial of the plan is to run on: kvm, tcg, or auto where a real boot finds that out."""
        return "tcg" if plan.icount else plan.accel or self.accel

    def for_campaign(self, folder: Path) -> VmRunner:
        """The same, for trials of the campaign in ``folder``."""
        return replace(self, campaign=folder)

    def accelerate(self, image: Image, qemu: str | None, folder: Path, cancel: CancelToken) -> acceleration.Answer:
        """What trials run on where the recipe leaves it open: KVM when it boots ``image`` with ``qemu``."""

        def boots() -> Observation:
            runner = replace(self, accel="kvm", boot_deadline=acceleration.PATIENCE)
            return runner.run(image, Plan(steps=()), folder / "kvm", listener=lambda _: None, cancel=cancel)

        return acceleration.choose(
            self.state, qemu or "", image.identity, boots, campaign=self.campaign, stopped=cancel.cancelled
        )


def find_vng(environ: Mapping[str, str]) -> str:
    """The vng in PATH, else the one beside our Python; just its name when there is none: starting it will say so."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("vng", path=environ.get("PATH", "")) or shutil.which("vng", path=beside) or "vng"


def version_of_vng(program: str) -> str:
    """The version of the virtme-ng that ``program`` belongs to, as installed below its prefix; "" when unknown."""
    packages = Path(program).resolve().parent.parent.glob("lib/python3*/*-packages")
    found = next(iter(distributions(name="virtme-ng", path=[os.fspath(folder) for folder in packages])), None)
    return found.version if found else ""
