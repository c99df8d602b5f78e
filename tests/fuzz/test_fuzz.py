# SPDX-License-Identifier: GPL-2.0-only
"""Two thousand inputs of the fuzzer (any number by hand: ``python -m tests.fuzz --count 20000``)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import ROOT, fuzz

COUNT = 2_000


def test_no_input_breaks_a_promise(tmp_path: Path) -> None:
    """No exit code but the documented ones, no 2 s of CPU, no 200 MiB, no control character on the terminal."""
    wrong = fuzz(COUNT, tmp_path)
    assert not wrong, "\n".join(json.dumps(one, indent=1) for one in wrong)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("return 3", "exit code 3"),
        ("print(chr(27)); return 0", r"prints '\x1b'"),
        ("for _ in iter(int, 1): pass", "more than 4 s of CPU"),
        ("bytearray(300 << 20); return 0", "MiB of memory"),
        ("bytearray(4 << 30); return 0", "MemoryError"),
    ],
)
def test_the_fuzzer_sees_a_broken_promise(answer: str, expected: str, tmp_path: Path) -> None:
    """A worker whose reader of recipes is replaced by one that breaks it."""
    program = f"""
import sys
from pathlib import Path
from tests.fuzz import kinds, worker
def reader(data, place, chance):
    {answer}
kinds.READERS["recipe"] = reader
worker.work(Path({str(tmp_path)!r}), 1, 1, ["recipe"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert expected in json.loads(done.stdout.splitlines()[0])["wrong"]
