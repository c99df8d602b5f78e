# SPDX-License-Identifier: GPL-2.0-only
"""What the inner guest's root has beside its busybox and the recipe's files, as the plan needs it."""

from __future__ import annotations

from ..layers.device import BLOCKS
from .initramfs import BESIDE, Entry
from .inner_storage import InnerStorage
from .machine import ZEROER
from .modules import devices_of, modules
from .plan import Guest, Plan, Step


def contents(plan: Plan, guest: Guest, inner: InnerStorage, folder: str, *, stamping: bool) -> list[Entry]:
    """Modules of ``folder``, programs with their libraries, and what init is told. Raises Halt.

    ``stamping``: a step stamps or verifies blocks in the guest.
    """
    found: list[Entry] = []
    if not guest.kernel:
        found += modules([*devices_of(guest, plan.layers), *([BLOCKS] if stamping else [])], folder)
    if any(step.verb == "suspend" and step.group for step in plan.steps):
        found.append(BESIDE)
    programs = [*inner.programs(), *(["filefrag"] if stamping and inner.has_files() else [])]
    programs += [ZEROER] if any(map(_writes_zeroes, plan.steps)) else []
    if programs:
        from . import packing  # here: a plan without them does not pay for it

        found += packing.tools(programs)
    return found


def _writes_zeroes(step: Step) -> bool:
    return step.where == "guest" and step.io is not None and step.io.operation == "write_zeroes"
