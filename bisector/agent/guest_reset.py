# SPDX-License-Identifier: GPL-2.0-only
"""A reset of the inner guest, as its button does it: nobody in it is asked. QEMU goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from .outcome import Outcome
from .qemu import Qemu

RESET = '{"execute": "system_reset"}'


def reset(qemu: Qemu, is_up: Callable[[], bool], seconds: float) -> Outcome:
    """Reset the guest and wait until it ``is_up`` again, within ``seconds``.

    QEMU is started so that a guest that reboots by itself, after a panic, ends it; a reset is let through (QMP's
    set-action, since QEMU 6.0).
    """
    until = time.monotonic() + seconds
    before = qemu.resets
    for command in (_action("reset"), RESET):
        number = qemu.execute(command)
        if not qemu.wait(until - time.monotonic(), lambda number=number: number in qemu.replies):  # type: ignore[misc]
            silent = (
                f"QEMU's monitor did not answer {command}" if qemu.exit is None else f"QEMU has ended: {qemu.output}"
            )
            return Outcome(done=False, exit=qemu.exit, detail=silent)
        worked, said = qemu.replies[number]
        if not worked:
            return Outcome(exit=1, failed=1, detail=said)
    if qemu.wait(until - time.monotonic(), lambda: qemu.resets > before) and qemu.paused:
        qemu.go_on()  # QEMU resets a paused guest and leaves it paused; a machine with that button starts
    # SeaBIOS makes a hard reset of it, so there are two; the kernel's first word comes behind both
    qemu.wait(until - time.monotonic(), lambda: qemu.resets > before and (qemu.heard or qemu.ready))
    qemu.execute(_action("shutdown"))
    if qemu.resets > before and qemu.wait(until - time.monotonic(), is_up):
        return Outcome(exit=0)
    if qemu.exit is not None:
        return Outcome(done=qemu.exit != 0, exit=qemu.exit, detail=f"QEMU has ended: {qemu.output}")
    return Outcome(done=False, detail="the guest did not come up again after its reset")


def _action(reboot: str) -> str:
    return f'{{"execute": "set-action", "arguments": {{"reboot": "{reboot}"}}}}'
