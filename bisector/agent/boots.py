# SPDX-License-Identifier: GPL-2.0-only
"""A VM that goes down inside a trial and comes up again: what the agent leaves to its next life, and how it goes down.

The state lies in the shared folder. The script that stands in for QEMU starts it once more where the file ``boot.N`` or
``cut.N`` is there (N: how many boots there were by then); at ``cut.N`` it kills QEMU first. Where ``kernel.N.WHOSE`` is
there too, that kernel comes up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from ..layers import machine
from .codec import DecodeError, dump, load
from .command import Halt
from .plan import Layer, Result, Seconds, StepFacts
from .stamps import StampState

STATE = "state.json"
RB_AUTOBOOT = 0x1234567  # include/uapi/linux/reboot.h
DOWN = 60.0  # seconds that the VM may take to go down
LATEST = 10.0  # seconds behind its deadline for which a trial may go on: it ends after 5


@dataclass(frozen=True)
class BuiltState:
    """What was built of a layer; the fields are those of BuiltLayer."""

    name: str
    node: str
    device: str
    volume: str
    degraded: bool


@dataclass(frozen=True)
class BootState:
    """What one boot leaves to the next.

    ``step`` is the number of the step that ended it, ``facts`` are that step's so far; ``wall`` is the clock's time
    when the agent had been there for ``elapsed`` seconds.
    """

    boots: int
    step: int
    facts: StepFacts
    elapsed: Seconds
    wall: float
    fresh: bool  # the inner guest's storage was not made yet
    layers: tuple[BuiltState, ...]
    stamps: tuple[StampState, ...]
    kernel: str = ""  # whose comes up, where the trial boots several

    def now(self, deadline: float = float("inf")) -> float:
        """Seconds since the agent's start in the first boot, by the VM's clock, which counts whole seconds at boot.

        Far behind the deadline it was not the time that passed (the host was asleep, or its clock was set): the trial
        outside, whose clock stands meanwhile, would have ended this VM.
        """
        now = self.elapsed + max(0.0, time.time() - self.wall)
        return now if now < deadline + LATEST else self.elapsed

    def standing(self, layers: Sequence[Layer]) -> dict[str, machine.BuiltLayer]:
        """What was built of these layers."""
        known = {layer.name: layer for layer in layers}
        return {
            one.name: machine.BuiltLayer(known[one.name], one.node, one.device, one.volume, one.degraded)
            for one in self.layers
        }


def left(shared: str) -> tuple[BootState, Result] | None:
    """What the boot before this one left, and the result as it was; None in the first. Raises Halt(plan)."""
    try:
        with open(f"{shared}/{STATE}", encoding="utf-8") as file:
            state = load(BootState, file.read())
        with open(f"{shared}/result.json", encoding="utf-8") as file:
            return state, load(Result, file.read())
    except FileNotFoundError:
        return None
    except (OSError, DecodeError) as error:
        raise Halt("plan", f"what the boot before this one left cannot be read: {error}") from None


def go_down(shared: str, state: BootState, *, cut: bool) -> NoReturn:
    """Leave ``state``, and reboot the VM, or have its power cut. Raises Halt(step) when it stays up."""
    _write(f"{shared}/{STATE}", dump(state))
    if state.kernel:
        _write(f"{shared}/kernel.{state.boots}.{state.kernel}", "")
    _write(f"{shared}/{'cut' if cut else 'boot'}.{state.boots}", "")
    if not cut:
        import ctypes  # here: every start of the agent would pay for it

        ctypes.CDLL(None).reboot(RB_AUTOBOOT)
    time.sleep(DOWN)
    raise Halt("step", "the VM was not rebooted" if not cut else "the VM's power was not cut")


def _write(path: str, text: str) -> None:
    """Write a file so that it is there when QEMU is killed a moment later."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)
