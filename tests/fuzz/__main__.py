# SPDX-License-Identifier: GPL-2.0-only
"""``python -m tests.fuzz --count 20000``: any number of inputs, shared evenly by the kinds.

Exit code 0: every promise was kept; 1: the inputs that broke one are named, and kept. An input is named by its kind and
number: ``--kind recipe --first 17 --count 1`` makes it again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
KINDS = ("recipe", "watch", "export", "result", "mail")
Wrong = dict[str, object]
Tell = Callable[[int, list[Wrong]], None] | None
BATCH = 100  # inputs of each kind for one worker, so that memory which stays is seen where it came from


def fuzz(count: int, folder: Path, *, first: int = 0, kinds: tuple[str, ...] = KINDS, tell: Tell = None) -> list[Wrong]:
    """Look at ``count`` inputs; gives those that broke a promise, and tells of each batch as it ends."""
    wrong: list[Wrong] = []
    each = -(-count // len(kinds))
    for start in range(first, first + each, BATCH):
        place = folder / f"from-{start}"
        place.mkdir(parents=True)
        argv = [
            sys.executable,
            "-m",
            "tests.fuzz.worker",
            str(place),
            str(start),
            str(min(BATCH, first + each - start)),
        ]
        done = subprocess.run([*argv, *kinds], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        found = [line for line in lines if "wrong" in line]
        if not any("done" in line for line in lines):
            died = f"the worker died ({done.returncode}): {done.stderr[-2000:]}"
            found.append({"kind": ",".join(kinds), "number": start, "wrong": died})
        wrong += found
        if tell:
            tell(start, found)
    return wrong


def main() -> int:
    """Parse, fuzz, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument("--kind", action="append", choices=KINDS)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bisector-fuzz-"))

    def tell(start: int, found: list[Wrong]) -> None:
        print(f"from {start}: {len(found)}", flush=True)
        for one in found:
            print(json.dumps(one, indent=1).replace("\\n", "\n"), flush=True)

    wrong = fuzz(given.count, folder, first=given.first, kinds=tuple(given.kind or KINDS), tell=tell)
    print(f"{given.count} inputs, {len(wrong)} broke a promise; they are in {folder}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
