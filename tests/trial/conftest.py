# SPDX-License-Identifier: GPL-2.0-only
"""A vng that plays what a scenario says: for what a real VM cannot be brought to do on demand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from trialing import Bench

from bisector.agent.plan import Plan
from bisector.model import Image, Observation

DATA = Path(__file__).with_name("data")

PLAYER = """#!{python} -IS
import json, os, sys, time
DATA = {data!r}
shared = next(a for a in sys.argv if a.startswith("--rwdir=")).split("=")[2]
root = os.path.dirname(shared)
sys.path.insert(0, shared)
from agent.plan import *
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


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    kernel = tmp_path / "bzImage"
    kernel.write_bytes(b"not booted by anything here")
    return Bench(tmp_path, Image("identity", str(kernel), build_id="2b6c42b459e1e798"))


@pytest.fixture
def play(bench: Bench) -> Callable[..., Observation]:
    """Play a scenario and say what was observed."""

    def run(scenario: str, plan: Plan | None = None, **runner: object) -> Observation:
        bench.play(scenario)
        return bench.run(plan, **runner)

    return run
