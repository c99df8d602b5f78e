# SPDX-License-Identifier: GPL-2.0-only
"""One trial without a VM: the agent runs in the sandbox, in a private folder, with a clean environment."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.codec import dump
from bisector.interfaces import CancelToken, Listener
from bisector.model import Image, Observation
from bisector.system.proc import Processes
from bisector.system.sandbox import Access, installation
from bisector.trial.faults import FAULTS, in_words
from bisector.trial.follow import Watcher
from bisector.trial.workspace import Workspace, send_agent

START = 20.0  # seconds to the agent's first sign


@dataclass(frozen=True)
class SandboxRunner:
    """Runs plans with ``vm`` False. ``environ``: PATH and TMPDIR are read from it; this process's when None."""

    processes: Processes
    environ: Mapping[str, str] | None = None

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        """Run one trial; what it leaves (plan, command, console.log, and guest/) goes into ``folder``, made here.

        ``image.kernel`` is not booted; ``image.programs`` come first in PATH, for the layers and for the steps. Never
        raises for a failing harness, which is the ending HARNESS.
        """
        plan = replace(plan, accel="none", token=plan.token or secrets.token_hex(6))
        watcher = Watcher(plan, "", START, listener, cancel)
        try:
            return self._run(image, plan, folder, watcher)
        except FAULTS as error:
            return watcher.harness(in_words(error))

    def _run(self, image: Image, plan: Plan, folder: Path, watcher: Watcher) -> Observation:
        environ = os.environ if self.environ is None else self.environ
        folder.mkdir(parents=True, exist_ok=True)
        with Workspace(environ) as workspace:
            workspace.fill(plan)
            places = workspace.places
            for private in (places.home, places.temporary):
                private.mkdir()
            main = send_agent(places.shared)
            argv = (str(Path(sys.executable).resolve()), "-I", "-S", str(main), str(places.shared))
            (folder / "plan.json").write_text(dump(plan) + "\n", encoding="utf-8")
            (folder / "command").write_text(shlex.join(argv) + "\n", encoding="utf-8")
            env = {
                "PATH": ":".join(filter(None, (image.programs, environ.get("PATH", os.defpath)))),
                "HOME": str(places.home),
                "TMPDIR": str(places.temporary),
                "LANG": "C.UTF-8",
            }
            seen = (*installation(sys.executable), *([Path(image.programs)] if image.programs else []))
            # Not the folder around them: a step could put a link in the place of the shared one.
            access = Access((places.shared, places.home, places.temporary), seen)
            with self.processes.start(argv, access=access, cwd=places.shared, env=env) as child:
                observation = watcher.follow(child, workspace, folder)
            workspace.keep(folder)
        return replace(observation, sandbox=self.processes.sandbox.describe())
