#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Does a look at an export's allocation depth change where qemu-nbd says that the image holds data?

    qemu-block-status-cache.py [--write] IMAGE

IMAGE is raw and sparse. Exit codes: 0 the map is the same before and after, 1 it differs, 2 a program failed.

--write has another program fill the image between the two maps: what every QEMU must be called bad for.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

DATA = 64 << 10  # bytes at the image's beginning that hold data
PATIENCE = 5.0  # seconds that the daemon may take to end


@contextlib.contextmanager
def exported(image: str) -> Iterator[str]:
    """A read-only export of the image over a socket, as --image-opts names it."""
    with tempfile.TemporaryDirectory() as folder:
        pid_file = os.path.join(folder, "pid")
        how = ["--fork", "--persistent", "--read-only", "--allocation-depth", "--format=raw"]
        subprocess.run(["qemu-nbd", *how, f"--pid-file={pid_file}", f"--socket={folder}/s", image], check=True)
        with open(pid_file, encoding="utf-8") as file:
            daemon = int(file.read())
        try:
            yield f"driver=nbd,server.type=unix,server.path={folder}/s"
        finally:
            end(daemon)


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


def mapped(export: str) -> str:
    """What qemu-img says of it."""
    argv = ["qemu-img", "map", "--output=json", "--image-opts", export]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> int:
    """Map, look at the allocation depth twice, map again. Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("image")
    options = parser.parse_args()
    with open(options.image, "r+b") as file:
        file.write(b"\x5a" * DATA)
    try:
        with exported(options.image) as export:
            before = mapped(export)
            for _ in range(2):  # the first may be answered by what the map before it left in the cache
                mapped(f"{export},x-dirty-bitmap=qemu:allocation-depth")
            if options.write:
                with open(options.image, "r+b") as file:
                    file.write(b"\xa5" * os.path.getsize(options.image))
            after = mapped(export)
    except subprocess.CalledProcessError as error:
        print(error)
        return 2
    print(f"before: {before}after: {after}", end="")
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
