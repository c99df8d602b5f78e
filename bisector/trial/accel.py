# SPDX-License-Identifier: GPL-2.0-only
"""Whether KVM works here. /dev/kvm that opens proves nothing: a host may create VMs and still not run a stock kernel.

So a real boot is tried, and a lasting answer remembered for this host kernel, CPU and QEMU: that it works, that KVM
itself refuses, or that a kernel said nothing with it which emulation then booted in less time. What may pass (no
memory, a kill, a crash) is tried twice and remembered by nobody. All trials of one campaign run on one acceleration,
also when it is resumed: rates and deadlines learnt on one are not those of the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bisector.causes import Trouble
from bisector.errors import InfraError
from bisector.model import Ending, Observation
from bisector.system.files import write_whole
from bisector.trial.follow import BETWEEN

PATIENCE = 30.0  # seconds in which a kernel on KVM must have reached the agent
ATTEMPTS = 2  # boots, where a failure may pass
LASTS = 30 * 86400.0  # seconds that an answer is remembered
SILENCE_LASTS = 86400.0  # the same where one kernel alone stands behind it
DEVICE = Path("/dev/kvm")
MEMORY = "accel.json"  # in the state folder, and in a campaign's


class Cause(StrEnum):
    """Why trials run on what they run."""

    WORKS = "works"  # a boot with KVM worked
    NO_DEVICE = "no_device"  # /dev/kvm is not there, or this user may not open it
    REFUSED = "refused"  # KVM itself cannot run a VM here
    PASSING = "passing"  # QEMU or the host failed in a way that may pass
    SILENT = "silent"  # a kernel said nothing with KVM in more time than emulation took to boot it
    IMAGE = "image"  # the kernel that was tried did not come up; it, or KVM, is at fault
    INTERRUPTED = "interrupted"  # nobody waited for the answer
    GONE = "gone"  # the campaign began on KVM, which is no longer there


@dataclass(frozen=True)
class Answer:
    """What trials run on, and why. ``accel``: kvm or tcg; ``at``: when that was found, in seconds since 1970."""

    accel: str
    reason: str
    cause: Cause = Cause.WORKS
    at: float = 0.0

    def describe(self, what: str = "VMs run") -> str:
        """A sentence for people. ``what`` runs on it."""
        name = "KVM" if self.accel == "kvm" else "software emulation (slow)"
        return f"{what} on {name}: {self.reason}"


_deciding = threading.Lock()  # two slots begin at once
TICK = 0.2  # seconds; so often a slot that waits for the boot of another looks whether it is to stop
_silent: dict[tuple[Path, str], tuple[str, Answer]] = {}
"""State and host → an image that said nothing with KVM in this process ("" where it crashed), and what followed."""


def choose(
    state: Path,
    qemu: str,
    image: str,
    boots: Callable[[], Observation],
    *,
    device: Path = DEVICE,
    campaign: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Answer:
    """KVM if it works, else software emulation.

    Args:
        state: folder in which the answer is remembered (a file that cannot be written is only not remembered).
        qemu: path of the program.
        image: identity of the image that ``boots`` boots with KVM, until the agent has reported all.
        campaign: folder of the campaign that asks; its first answer is that of all its trials. None: a trial alone.
        stopped: whether the trial that asks is to stop; looked at while another slot's boot is waited for.
    """
    while not _deciding.acquire(timeout=TICK):
        if stopped():
            return Answer("tcg", "it was stopped before that was known", Cause.INTERRUPTED)
    try:
        kept = _read(campaign / MEMORY).get("campaign") if campaign else None
        if kept is not None:
            return _kept(kept, device)
        answer = _choose(state, qemu, image, boots, device)
        if campaign and answer.cause is not Cause.INTERRUPTED:
            _write(campaign / MEMORY, {"campaign": answer})
        return answer
    finally:
        _deciding.release()


def _kept(answer: Answer, device: Path) -> Answer:
    """The campaign's own answer; KVM that is no longer there is no reason to go on with emulation."""
    if answer.accel == "kvm" and not _usable(device):
        why = f"this campaign began on KVM, and {device} {_why_not(device)}; make it usable, or begin a new campaign"
        return Answer("kvm", why, Cause.GONE)
    return answer


def _choose(state: Path, qemu: str, image: str, boots: Callable[[], Observation], device: Path) -> Answer:
    if not _usable(device):
        return Answer("tcg", f"{device} {_why_not(device)}", Cause.NO_DEVICE)
    host = _host(qemu)
    memory = _read(state / MEMORY)
    if found := _lasting(memory.get(host)):
        return found
    if (state, host) in _silent:
        return _silent[state, host][1]
    answer, silent = _tried(boots)
    if answer.cause in (Cause.WORKS, Cause.REFUSED):
        _write(state / MEMORY, {**memory, host: answer})
    elif answer.cause is Cause.IMAGE:  # for this process alone; the next one tries again, with the kernel it has
        answer = replace(answer, reason=f"{answer.reason}; the kernel was {image[:12]}")
        _silent[state, host] = image if silent else "", answer
    return answer


def came_up(state: Path, qemu: str, image: str, seconds: float) -> None:
    """By emulation an image came up, ``seconds`` after its VM began.

    Where that is less than it was given with KVM, and said nothing, KVM is at fault: it executes so slowly that it is
    of no use (seen where a host emulates each of its instructions). Other processes need not try again for a day: a
    kernel may also hang under KVM alone by a bug of its own.
    """
    host = _host(qemu)
    tried, answer = _silent.get((state, host), ("", None))
    if answer is None or tried != image or seconds >= PATIENCE:
        return
    answer = replace(answer, cause=Cause.SILENT, reason=f"{answer.reason}; by emulation it booted in {seconds:.0f} s")
    _write(state / MEMORY, {**_read(state / MEMORY), host: answer})


def _tried(boots: Callable[[], Observation]) -> tuple[Answer, bool]:
    """What boots say, and whether the last one ran out of time without a word. Silence is not tried twice: the boot by
    emulation that follows tells whether the host was busy, and another one would cost as many seconds again.
    """
    seen = boots()
    for _ in range(ATTEMPTS - 1):
        if _read_answer(seen).cause in (Cause.PASSING, Cause.IMAGE) and not _ran_out(seen):
            seen = boots()
    return _read_answer(seen), _ran_out(seen)


def _ran_out(seen: Observation) -> bool:
    return seen.ending is Ending.NO_AGENT and seen.timing.total >= PATIENCE


def forget(state: Path) -> None:
    """Try again at the next trial."""
    (state / MEMORY).unlink(missing_ok=True)
    _silent.clear()


def known(state: Path, qemu: str, *, device: Path = DEVICE) -> Answer | None:
    """What is known without trying; None when it was never tried, or too long ago."""
    if not _usable(device):
        return Answer("tcg", f"{device} {_why_not(device)}", Cause.NO_DEVICE)
    return _lasting(_read(state / MEMORY).get(_host(qemu)))


def _usable(device: Path) -> bool:
    return os.access(device, os.R_OK | os.W_OK)


def _why_not(device: Path) -> str:
    return "may not be opened by this user" if device.exists() else "is not there"


def _lasting(answer: Answer | None) -> Answer | None:
    lasts = SILENCE_LASTS if answer and answer.cause is Cause.SILENT else LASTS
    return answer if answer and 0 <= time.time() - answer.at < lasts else None


def _read_answer(observation: Observation) -> Answer:
    now = time.time()
    if observation.ending is Ending.FINISHED:
        return Answer("kvm", "a boot with it worked on this host", Cause.WORKS, now)
    why = observation.detail.partition(BETWEEN)[0] or str(observation.ending)
    return Answer("tcg", f"KVM was tried with a real boot and failed ({why})", _cause(observation), now)


def _cause(observation: Observation) -> Cause:
    if observation.ending is Ending.CANCELLED:
        return Cause.INTERRUPTED
    if observation.ending is not Ending.HARNESS:
        return Cause.IMAGE
    return Cause.REFUSED if observation.trouble is Trouble.KVM else Cause.PASSING


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
            key: Answer(value["accel"], value["reason"], Cause(value["cause"]), float(value["at"]))
            for key, value in json.loads(path.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):  # never, or by somebody else
        return {}


def _write(path: Path, memory: dict[str, Answer]) -> None:
    fields = {
        key: {"accel": answer.accel, "reason": answer.reason, "cause": answer.cause, "at": answer.at}
        for key, answer in memory.items()
    }
    with contextlib.suppress(OSError, InfraError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(fields, indent=1) + "\n")
