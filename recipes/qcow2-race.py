#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""One qemu-io drives thousands of overlapping writes, discards and write zeroes into a small part of a qcow2 image.

    qcow2-race.py [--seed N] [--commands N] [--no-frees] [--clear-refcounts] IMAGE

Which commands are issued follows from the seed alone; which of them overtake each other is the machine's choice, so a
seed repeats the question and mostly, not always, the answer. Ends with qemu-io's exit code.

--no-frees leaves out whatever frees a cluster: the same load, which no QEMU may fail at.
--clear-refcounts frees, once qemu-io has ended, clusters that are in use: what qemu-img check must see on any QEMU.
"""

import argparse
import random
import struct
import subprocess
import sys

MIB = 1 << 20
REGION = 64 * MIB  # small, so that commands meet
CLUSTER = 1 * MIB  # of the recipe's image
WRITE = 32 << 10  # a subcluster with extended L2 entries
TABLE_AT = 48  # byte of the header where the refcount table's offset stands (docs/interop/qcow2.txt)


def commands(seed: int, count: int, frees: bool) -> list[str]:
    """Lines for qemu-io; the same for the same arguments."""
    chance = random.Random(seed)
    lines = []
    for _ in range(count):
        cluster = chance.randrange(REGION // CLUSTER) * CLUSTER
        kind = chance.random()
        if kind < 0.5 or not frees:
            within = chance.randrange(CLUSTER // WRITE) * WRITE
            lines.append(f"aio_write -q {cluster + within} {WRITE}")
        elif kind < 0.99:
            lines.append(f"aio_write -q -z -u {cluster} {CLUSTER}")
        else:  # qemu-io has no asynchronous discard: each waits, and the writes before it are still in flight
            lines.append(f"discard -q {cluster} {CLUSTER}")
    return [*lines, "aio_flush"]


def race(image: str, lines: list[str]) -> int:
    """Let one qemu-io work on them all. Returns its exit code."""
    argv = ["qemu-io", "--nocache", "--aio=threads", "--discard=unmap", image]
    done = subprocess.run(argv, input="\n".join(lines) + "\n", text=True, capture_output=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if line.strip()]
    print(f"qemu-io: exit code {done.returncode}, {len(complaints)} complaints")
    for line in sorted(set(complaints))[:10]:
        print(f"{complaints.count(line)} times: {line}")
    return done.returncode


def clear_refcounts(image: str) -> None:
    """Zero the first refcount block: every cluster that it covers counts as free from now on."""
    with open(image, "r+b") as file:
        file.seek(TABLE_AT)
        (table,) = struct.unpack(">Q", file.read(8))
        file.seek(table)
        (block,) = struct.unpack(">Q", file.read(8))
        file.seek(block)
        file.write(bytes(4096))
    print("cleared the refcounts of the first clusters")


def main() -> int:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("image")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", type=int, default=5000)
    parser.add_argument("--no-frees", action="store_true", help="leave out what frees a cluster")
    parser.add_argument("--clear-refcounts", action="store_true", help="break the image afterwards")
    given = parser.parse_args()
    code = race(given.image, commands(given.seed, given.commands, not given.no_frees))
    if given.clear_refcounts:
        clear_refcounts(given.image)
    return 1 if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
