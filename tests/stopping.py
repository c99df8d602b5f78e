# SPDX-License-Identifier: GPL-2.0-only
"""Commands that a test stops by a signal."""

from __future__ import annotations

import signal

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def as_from_a_terminal() -> None:
    """Before the command is executed: what a shell without job control has a command in the background ignore (Ctrl-C),
    a child of the tests would ignore, too."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
