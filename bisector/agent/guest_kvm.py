# SPDX-License-Identifier: GPL-2.0-only
"""Whether a guest runs on KVM, or only seems to."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from .observe import Recorder
from .plan import Fault
from .qemu import Qemu

FIRST_SIGN = 20.0  # seconds in which a guest on KVM must say something
GAVE_UP = re.compile(r"KVM internal error", re.IGNORECASE)
BROKEN = re.compile(rf"{GAVE_UP.pattern}|failed to initialize kvm|Could not access KVM", re.IGNORECASE)


class KvmGuard:
    """Keeps what a broken KVM did out of the result: the guest that it pauses, or lets panic, says nothing.

    While KVM is only tried, the guest's events are held back; a guest that was relied on is the harness failing.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._relied = False
        self._held: list[Callable[[], None]] | None = None

    def begins(self, accel: str, *, tried: bool = False) -> None:
        """A guest begins on ``accel``; ``tried``: it is given up for another one if it does not get going."""
        self._recorder.guest_accel(accel)
        with self._lock:
            self._relied, self._held = accel == "kvm" and not tried, [] if tried else None

    def lives(self) -> None:
        """The guest that was tried got going: what it did counts."""
        with self._lock:
            for record in self._held or ():
                record()
            self._relied, self._held = True, None

    def record(self, event: Callable[[], None]) -> None:
        """Record what the guest did, or hold it back."""
        with self._lock:
            event() if self._held is None else self._held.append(event)

    def output(self, line: str) -> None:
        """See a line of QEMU's own."""
        if self._relied and GAVE_UP.search(line):
            what = f"KVM gave the guest up ({line}), which says nothing of what is tried: 'accel: tcg' emulates it"
            self._recorder.fault(Fault("tools", what))


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
