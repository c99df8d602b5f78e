# SPDX-License-Identifier: GPL-2.0-only
"""What the inner guest runs for stamp and verify. The journal's lines leave at once, over init's serial port.

    inside.py stamp NAME PATH FILE BLOCKS GENERATION MODE SECONDS
    inside.py verify PATH FILE JOURNAL MODE CACHES

MODE is direct or buffered, CACHES keep or drop. The last lines on stdout are what ``read_stamped`` and
``read_verified`` take apart on the other side.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from .blocks import Pattern
from .integrity import Written, drop_caches, name, stamp, verify
from .journal import read_journal

PORT = 3  # init's descriptor of the second serial port


def main(argv: Sequence[str]) -> int:
    """Do what ``argv`` asks for; 0 when all went well and all is as it should be."""
    verb, *words = argv
    return _stamp(*words) if verb == "stamp" else _verify(*words)


def _stamp(label: str, path: str, file: str, blocks: str, generation: str, mode: str, seconds: str) -> int:
    def tell(line: str) -> None:
        os.write(PORT, f"J {label} {line}\n".encode())

    pattern, size = Pattern(int(file)), int(blocks)
    done = stamp(path, pattern, size, int(generation), direct=mode == "direct", tell=tell, seconds=float(seconds))
    print(stamped_line(done))
    return int(bool(done.errno))


def _verify(path: str, file: str, journal: str, mode: str, caches: str) -> int:
    if caches == "drop":
        drop_caches()
    try:
        seen = verify(path, Pattern(int(file)), read_journal(journal), direct=mode == "direct")
    except OSError as error:
        print(f"verified 0 {name(error)}\nopen {path}: {error.strerror}")
        return 1
    print(f"verified {seen.judged} {seen.errno or '-'} {len(seen.findings)} {' '.join(seen.classes())}".rstrip())
    print("\n".join(seen.describe()))
    return int(bool(seen.findings))


def stamped_line(done: Written) -> str:
    """A stamp's end as one line."""
    return f"stamped {done.count} {done.errno or '-'} {done.detail}".rstrip()


def read_stamped(text: str) -> tuple[int, str, str] | None:
    """Blocks written, errno ("" for none) and detail from a stamp's output; None when it has none."""
    words = _last(text, "stamped ")
    if words is None or len(words) < 2:
        return None
    return int(words[0]), "" if words[1] == "-" else words[1], " ".join(words[2:])


def read_verified(text: str) -> tuple[int, str, int, tuple[str, ...]] | None:
    """Blocks judged, errno ("" for none), findings and classes from a verify's output; None when it has none."""
    words = _last(text, "verified ")
    if words is None or len(words) < 2:
        return None
    findings = int(words[2]) if len(words) > 2 else 0
    return int(words[0]), "" if words[1] == "-" else words[1], findings, tuple(words[3:])


def _last(text: str, head: str) -> list[str] | None:
    lines = [line for line in text.splitlines() if line.startswith(head)]
    return lines[-1][len(head) :].split(" ") if lines else None
