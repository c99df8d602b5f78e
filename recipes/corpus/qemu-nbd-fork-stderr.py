#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Does the daemon that qemu-nbd --fork leaves behind keep its caller's stderr open?

    qemu-nbd-fork-stderr.py [--hold] IMAGE

Whoever reads that stderr to its end (ssh does) then waits until the daemon ends. Exit codes: 0 it was closed, 1 it was
kept open, 2 qemu-nbd did not come up.

--hold keeps it open here, whatever qemu-nbd does: what every QEMU must be called bad for.
"""

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 5.0  # seconds between the end of the first process, which says that the daemon is up, and our judgement


def closed(reader: int) -> bool:
    """Whether nobody has the other end of the pipe open any more; what was written to it goes to our stdout."""
    end = time.monotonic() + PATIENCE
    while (left := end - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            text = os.read(reader, 4096)
            if not text:
                return True
            print(text.decode(errors="replace"), end="")
    return False


def daemons(socket: str) -> list[int]:
    """Processes that were started with the socket's name. To 4.0 qemu-nbd has no --pid-file."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:  # it ended
                continue
            if f"--socket={socket}".encode() in words:
                found.append(int(name))
    return found


def end(pid: int) -> None:
    """End a daemon. qemu-nbd loses a SIGTERM that comes while it starts, so it is sent until it is heard."""
    until = time.monotonic() + PATIENCE
    while running(pid):
        late = time.monotonic() > until
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.1)


def running(pid: int) -> bool:
    """Whether it has not ended; one that nobody has waited for yet has no command line any more."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return bool(file.read())
    except OSError:
        return False


def main() -> int:
    """Start the daemon, judge and end it. Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/s"
        argv = ["qemu-nbd", "--fork", "--format=raw", f"--socket={socket}", options.image]
        reader, writer = os.pipe()
        code = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer).returncode
        if not options.hold:
            os.close(writer)
        up = daemons(socket)
        try:
            was_closed = closed(reader)
        finally:
            for pid in up:
                end(pid)
    if code or not up:
        print(f"qemu-nbd: exit code {code}, {len(up)} daemons")
        return 2
    print(f"qemu-nbd: its daemon {'closed' if was_closed else 'keeps'} the caller's stderr")
    return 0 if was_closed else 1


if __name__ == "__main__":
    sys.exit(main())
