# SPDX-License-Identifier: GPL-2.0-only
"""Whether a guest runs on KVM, or only seems to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from .qemu import Qemu

FIRST_SIGN = 20.0  # seconds in which a guest on KVM must say something
BROKEN = re.compile(r"KVM internal error|failed to initialize kvm|Could not access KVM", re.IGNORECASE)


def lives(qemu: Qemu, is_up: Callable[[], bool], until: float) -> bool:
    """Whether a guest on KVM gets going. /dev/kvm that opens proves nothing: only this does.

    A KVM that cannot run the guest's code ends QEMU, or pauses the guest, or leaves it without a word. ``until``: by
    the monotonic clock.
    """

    def broken() -> bool:
        return qemu.exit is not None or qemu.paused or bool(BROKEN.search(qemu.output))

    first_sign = min(FIRST_SIGN, until - time.monotonic())
    if not qemu.wait(first_sign, lambda: qemu.heard or qemu.ready or broken()):
        return False
    qemu.wait(until - time.monotonic(), lambda: is_up() or broken())
    return not broken()
