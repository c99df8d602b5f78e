# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the VM, as a program of a plan: stamp and verify against dd on the same disk, in turn. Prints MiB/s."""

import subprocess
import sys
import time

SIZE = 256  # MiB
ROUNDS = 3


def timed(work) -> float:  # type: ignore[no-untyped-def]
    began = time.monotonic()
    work()
    return SIZE / (time.monotonic() - began)


def dd(*words: str) -> None:
    subprocess.run(["dd", "bs=1M", f"count={SIZE}", *words], check=True, stderr=subprocess.DEVNULL)


def main(disk: str, agent: str) -> None:
    sys.path.insert(0, agent)
    from agent.blocks import Pattern
    from agent.integrity import stamp, verify
    from agent.journal import Journal

    journal = Journal()
    pattern = Pattern(9)  # kept from writing to verifying, as a trial does

    def write() -> None:
        done = stamp(disk, pattern, SIZE << 8, journal.latest() + 1, direct=True, tell=journal.record)
        assert not done.errno, done.detail

    def read() -> None:
        assert verify(disk, pattern, journal, direct=True).classes() == ("clean",)

    for number in range(ROUNDS + 1):
        rates = [
            timed(lambda: dd("if=/dev/zero", f"of={disk}", "oflag=direct", "conv=fsync")),
            timed(write),
            timed(lambda: dd(f"if={disk}", "of=/dev/null", "iflag=direct")),
            timed(read),
        ]
        if number:  # the first round warms up
            print("rate", *(round(rate) for rate in rates), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
