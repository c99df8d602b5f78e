# SPDX-License-Identifier: GPL-2.0-only
"""Steps on a member of an array: fail it, remove it, add it again or another one."""

from __future__ import annotations

import os

from ..layers import table
from .command import Halt, find_tool, run
from .plan import Step
from .storage import Storage, parts

ACTIONS = ("fail", "remove", "add")


def array_of(storage: Storage, member: str) -> str:
    """The layer whose members can change, and of which ``member`` is one; "" for none."""
    for name, built in storage.standing().items():
        if table.KINDS[built.layer.kind].change and member in parts(built.layer):
            return name
    return ""


def change(storage: Storage, step: Step, seconds: float) -> tuple[int | None, str]:
    """Do it, within ``seconds``: the exit code of the array's own tool (None: it did not end), and what it printed.

    A member that was added is waited for until the array has rebuilt it. Raises Halt(plan), Halt(tools).
    """
    output: list[str] = []
    variables = {**os.environ, **storage.environment()}  # else mdadm waits for a udev that is not there
    for member in step.objects:
        array = step.to or array_of(storage, member)
        built = storage.standing().get(array)
        act = table.KINDS[built.layer.kind].change if built else None
        if built is None or act is None:
            raise Halt("plan", f"{step.name}: {member} is no member of an array that can {step.verb} one")
        first, *further = act(built.node, step.verb, storage.node(member))
        ran = run([find_tool(first[0]), *first[1:]], timeout=seconds, env=variables)
        output.append(ran.output.strip())
        if ran.exit != 0:
            return ran.exit, "\n".join(output)
        for argv in further:
            if run([find_tool(argv[0]), *argv[1:]], timeout=seconds, env=variables).exit is None:
                return None, "\n".join((*output, f"{' '.join(argv)} did not end in time"))
    return 0, "\n".join(output)
