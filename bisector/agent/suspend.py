# SPDX-License-Identifier: GPL-2.0-only
"""A suspend of the VM itself, as far as its tasks. Devices are left alone, as the VM's root does not outlive theirs:
virtio-9p has no freeze and no restore (net/9p/trans_virtio.c), and the device forgets its queues."""

from __future__ import annotations

from ..layers.machine import read_text
from .command import Halt
from .device_io import errno_name
from .outcome import Outcome

STATE, LEVELS = "/sys/power/state", "/sys/power/pm_test"
DELAY = "/sys/module/suspend/parameters/pm_test_delay"
ASLEEP = "1"  # seconds for which a test of the suspend code waits; the kernel's own are 5


def suspend(level: str) -> Outcome:
    """Let the kernel suspend as far as ``level`` of LEVELS, and come back by itself.

    Documentation/power/basic-pm-debugging.rst. A refusal is an error: EBUSY where a task would not freeze.

    Raises Halt(tools) for a kernel without these tests.
    """
    if level not in read_text(LEVELS).replace("[", "").replace("]", "").split():
        raise Halt(
            "tools", f"the kernel has no test of suspend called {level} (CONFIG_PM_DEBUG, CONFIG_PM_SLEEP_DEBUG)"
        )
    try:
        for path, text in ((LEVELS, level), (DELAY, ASLEEP), (STATE, "freeze")):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
    except OSError as error:
        return Outcome(exit=1, errno=errno_name(error), failed=1, detail=f"{error.filename or path}: {error.strerror}")
    return Outcome(exit=0, detail=f"suspended as far as {level}")
