# SPDX-License-Identifier: GPL-2.0-only
"""One trial without a VM: the agent runs in the sandbox, in a private folder, with a clean environment.

So does the QEMU that it starts: its guest is the only machine of the trial.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.codec import dump
from bisector.interfaces import CancelToken, Listener, Phase, Progress
from bisector.model import Ending, Image, Observation
from bisector.system.proc import Processes
from bisector.system.sandbox import Access, installation
from bisector.trial import accel as acceleration
from bisector.trial import vng
from bisector.trial.faults import FAULTS, in_words
from bisector.trial.follow import Watcher
from bisector.trial.kernels import programs_beside
from bisector.trial.run import QEMU, Programs, VmRunner, no_kernel
from bisector.trial.workspace import Workspace, send_agent

START = 20.0  # seconds to the agent's first sign


@dataclass(frozen=True)
class SandboxRunner:
    """Runs plans with ``vm`` False. Picklable when ``environ`` is.

    Args:
        processes: starts and records what runs.
        environ: PATH and TMPDIR are read from it; this process's when None.
        kernels: finds the image of the guest's kernel by its identity, where the plan names one.
        kvm: tries KVM with a real boot where the plan leaves open what the guest runs on; None: the agent tries it.
    """

    processes: Processes
    environ: Mapping[str, str] | None = None
    kernels: Callable[[str], Image | None] = no_kernel
    kvm: VmRunner | None = None

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        """Run one trial; what it leaves (plan, command, console.log, and guest/) goes into ``folder``, made here.

        ``image.kernel`` is not booted; ``image.programs`` come first in PATH, for the layers and for the steps. Never
        raises for a failing harness, which is the ending HARNESS.
        """
        plan = replace(plan, accel="none", token=plan.token or secrets.token_hex(6))
        watcher = Watcher(plan, {}, START, listener, cancel)
        kernel = self.kernels(plan.kernel) if plan.kernel else None
        if plan.kernel and kernel is None:
            return watcher.harness("the guest's kernel is gone from the cache; repeat it")
        try:
            beside = programs_beside(plan, self.kernels)
            if kernel and self.kvm and self.accel_of(plan) == "auto":
                answer = self.kvm.accelerate(kernel, shutil.which(QEMU, path=self._path()), folder, cancel)
                if answer.cause is acceleration.Cause.GONE:
                    return watcher.harness(answer.reason)
                if answer.cause is acceleration.Cause.INTERRUPTED and cancel.cancelled():
                    return Observation(Ending.CANCELLED)
                listener(Progress(Phase.ACCEL, answer.describe("The guest runs")))
                plan = replace(plan, guest=plan.guest and replace(plan.guest, accel=answer.accel))
                watcher = Watcher(plan, {}, START, listener, cancel)
            return self._run((image.programs, beside), kernel, plan, folder, watcher)
        except FAULTS as error:
            return watcher.harness(in_words(error))

    @staticmethod
    def accel_of(plan: Plan) -> str:
        """What a trial's guest is to run on: kvm, tcg, or auto where that is found out; "" where there is no guest."""
        return plan.guest.accel if plan.guest else ""

    def for_campaign(self, folder: Path) -> SandboxRunner:
        """The same, for trials of the campaign in ``folder``: all of its guests run on one acceleration."""
        return replace(self, kvm=self.kvm.for_campaign(folder)) if self.kvm else self

    def _run(self, tested: Programs, kernel: Image | None, plan: Plan, folder: Path, watcher: Watcher) -> Observation:
        programs, beside = tested
        folder.mkdir(parents=True, exist_ok=True)
        with Workspace(os.environ if self.environ is None else self.environ) as workspace:
            workspace.fill(plan, beside)
            modules = workspace.fill_for_guest(kernel)
            places = workspace.places
            for private in (places.home, places.temporary):
                private.mkdir()
            main = send_agent(places.shared)
            argv = (str(Path(sys.executable).resolve()), "-I", "-S", str(main), str(places.shared))
            (folder / "plan.json").write_text(dump(plan) + "\n", encoding="utf-8")
            (folder / "command").write_text(shlex.join(argv) + "\n", encoding="utf-8")
            env = {
                "PATH": ":".join(filter(None, (programs, self._path()))),
                "HOME": str(places.home),
                "TMPDIR": str(places.temporary),
                "LANG": "C.UTF-8",
            }
            # Not the folder around them: a step could put a link in the place of the shared one.
            access = Access(
                writable=(places.shared, places.home, places.temporary),
                readable=(
                    *installation(sys.executable),
                    *vng.folders_of_programs(programs, *beside.values()),
                    *modules,
                ),
                devices=(acceleration.DEVICE,) if plan.guest and plan.guest.accel != "tcg" else (),
            )
            with self.processes.start(argv, access=access, cwd=places.shared, env=env) as child:
                observation = watcher.follow(child, workspace, folder)
            workspace.keep(folder)
        return replace(observation, sandbox=self.processes.sandbox.describe())

    def _path(self) -> str:
        return (os.environ if self.environ is None else self.environ).get("PATH", os.defpath)
