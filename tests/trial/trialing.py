# SPDX-License-Identifier: GPL-2.0-only
"""A vng that plays what a scenario says: for what a real VM cannot be brought to do on demand."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.interfaces import CancelToken, Progress
from bisector.model import Image, Observation
from bisector.system.proc import Processes
from bisector.trial.run import VmRunner

DATA = Path(__file__).with_name("data")
AGENT = Path(__file__).parents[2] / "bisector" / "agent"

PLAYER = """#!{python} -IS
import json, os, sys, time
DATA = {data!r}
shared = next(a for a in sys.argv if a.startswith("--rwdir=")).split("=")[2]
root = os.path.dirname(shared)
sys.path.insert(0, os.path.dirname(sys.argv[0]))
from bisector.agent.codec import *
from bisector.agent.plan import *
plan = load(Plan, open(shared + "/plan.json").read())
began = time.monotonic()

def say(line):
    os.write(2, (line + "\\n").encode())

def play(name):
    for line in open(DATA + "/" + name, errors="replace"):
        say(line.rstrip("\\n").replace("TOKEN", plan.token))

def mark(*words):
    say("[%12.6f] %s" % (time.monotonic() - began, marker(plan.token, *words)))

def result(**fields):
    fields.setdefault("token", plan.token)
    with open(shared + "/result.tmp", "w") as file:
        file.write(dump(Result(**fields)))
    os.replace(shared + "/result.tmp", shared + "/result.json")

def qemu_ended(code):
    open(root + "/qemu.exit", "w").write(str(code))
    sys.exit(0 if code == 0 else 1)

def begin():
    mark("begin")
    result()

def finish(**fields):
    result(complete=True, **fields)
    mark("end")

"""


@dataclass
class TrialSetup:
    """One runner on one fake vng, and what the trial left."""

    tmp_path: Path
    image: Image
    phases: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bin = self.tmp_path / "bin"
        shutil.copytree(DATA, self.bin / "data")  # beside the programs: what the sandbox shows
        for name in ("__init__.py", "codec.py", "plan.py"):  # of the agent; the checkout may lie where it shows nothing
            (self.bin / "bisector" / "agent").mkdir(parents=True, exist_ok=True)
            shutil.copy(AGENT / name, self.bin / "bisector" / "agent" / name)
        self.work = self.tmp_path / "work"
        self.work.mkdir()
        self.folder = self.tmp_path / "stored"
        self.environ = {"PATH": f"{self.bin}:{os.environ['PATH']}", "TMPDIR": str(self.work)}
        self.processes = Processes(self.tmp_path / "records")
        self.cancel = CancelToken(str(self.tmp_path / "cancel"))

    def play(self, scenario: str) -> None:
        """Install a vng that does this."""
        script = self.bin / "vng"
        script.write_text(PLAYER.format(python=sys.executable, data=str(self.bin / "data")) + textwrap.dedent(scenario))
        script.chmod(0o755)

    def run(self, plan: Plan | None = None, **runner: object) -> Observation:
        """Run one trial on it."""
        options = {"accel": "tcg", **runner}
        vm = VmRunner(self.processes, self.tmp_path / "state", self.environ, **options)  # type: ignore[arg-type]
        return vm.run(self.image, plan or Plan(steps=()), self.folder, listener=self.phases.append, cancel=self.cancel)

    @property
    def log(self) -> str:
        """The stored console."""
        return (self.folder / "console.log").read_text(errors="replace")

    def clean(self) -> bool:
        """Whether nothing is left: no work folder, no recorded process."""
        return not any(self.work.iterdir()) and not any(self.processes.records.glob("*"))
