# SPDX-License-Identifier: GPL-2.0-only
"""Whether KVM works here. /dev/kvm that opens proves nothing: a host may create VMs and still not run a stock kernel.

So a real boot is tried once, and its answer remembered for this host kernel, CPU and QEMU.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bisector.model import Ending, Observation

PATIENCE = 30.0  # seconds in which a kernel on KVM must have reached the agent
DEVICE = Path("/dev/kvm")
MEMORY = "accel.json"


@dataclass(frozen=True)
class Answer:
    """What trials run on, and why. ``accel``: kvm or tcg."""

    accel: str
    reason: str

    def describe(self) -> str:
        """A sentence for people."""
        name = "KVM" if self.accel == "kvm" else "software emulation (slow)"
        return f"VMs run on {name}: {self.reason}"


def choose(state: Path, qemu: str, image: str, boots: Callable[[], Observation], *, device: Path = DEVICE) -> Answer:
    """KVM if it works, else software emulation.

    Args:
        state: folder in which the answer is remembered (a file that cannot be written is only not remembered).
        qemu: path of the program.
        image: identity of the image that ``boots`` boots with KVM, until the agent has told all.
    """
    if not os.access(device, os.R_OK | os.W_OK):
        why = "is not there" if not device.exists() else "may not be opened by this user"
        return Answer("tcg", f"{device} {why}")
    host = _host(qemu)
    memory = _read(state / MEMORY)
    known = memory.get(host) or memory.get(f"{host}, image {image}")
    if known:
        return known
    observation = boots()
    answer = _read_answer(observation)
    if observation.ending is Ending.FINISHED or observation.detail.startswith("QEMU"):
        memory[host] = answer
    elif observation.ending is Ending.CANCELLED:
        return answer
    else:  # the image may be at fault: another one is tried again
        memory[f"{host}, image {image}"] = answer
    _write(state / MEMORY, memory)
    return answer


def forget(state: Path) -> None:
    """Try again at the next trial."""
    (state / MEMORY).unlink(missing_ok=True)


def known(state: Path, qemu: str, *, device: Path = DEVICE) -> Answer | None:
    """What is known without trying; None when it was never tried."""
    if not os.access(device, os.R_OK | os.W_OK):
        return Answer("tcg", f"{device} cannot be used by this user")
    return _read(state / MEMORY).get(_host(qemu))


def _read_answer(observation: Observation) -> Answer:
    if observation.ending is Ending.FINISHED:
        return Answer("kvm", "a boot with it worked on this host")
    why = observation.detail.partition(" | ")[0] or str(observation.ending)
    return Answer("tcg", f"KVM was tried with a real boot and failed ({why})")


def _host(qemu: str) -> str:
    """Names what the answer depends on: host kernel and CPU (same boot or not), and the QEMU by its file."""
    model = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    size, changed = 0, 0
    with contextlib.suppress(OSError):
        entry = Path(qemu).stat()
        size, changed = entry.st_size, int(entry.st_mtime)
    return f"{platform.release()}, {model}, {qemu} of {size} bytes from {changed}"


def _read(path: Path) -> dict[str, Answer]:
    try:
        return {
            key: Answer(value["accel"], value["reason"])
            for key, value in json.loads(path.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # never written, or by somebody else: try again
        return {}


def _write(path: Path, memory: dict[str, Answer]) -> None:
    text = json.dumps(
        {key: {"accel": answer.accel, "reason": answer.reason} for key, answer in memory.items()}, indent=1
    )
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(path)
