# SPDX-License-Identifier: GPL-2.0-only
"""Programs of the VM's root for the inner guest's initramfs, with their libraries.

The guest's root is a busybox, which has no mkfs.ext4, no mdadm and no filefrag. The VM sees the host's root, so they
are there, of the right architecture, and cost no build.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable

from .command import Halt, find_tool, run
from .initramfs import ELF_INTERPRETER, Entry


def tools(names: Iterable[str]) -> list[Entry]:
    """The programs ``names`` as /bin/NAME, and their libraries. Raises Halt(tools)."""
    entries: list[Entry] = []
    for name in names:
        path = find_tool(name)
        entries.append(Entry(f"bin/{name}", stat.S_IFREG | 0o755, _content(path)))
        entries += _libraries(os.path.realpath(path))
    return with_folders(entries)


def _libraries(path: str) -> list[Entry]:
    """The loader of a dynamic program (or of this Python, for a library) and what it loads, at their own paths."""
    loader = interpreter(_content(path)) or interpreter(_content(os.path.realpath(sys.executable)))
    if not loader:
        return []
    listed = run([loader, "--list", path], timeout=20.0)
    found = re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed.output, re.MULTILINE)
    return [Entry(name.lstrip("/"), stat.S_IFREG | 0o755, _content(name)) for name in dict.fromkeys([loader, *found])]


def interpreter(data: bytes) -> str:
    """The dynamic loader that an ELF64 program names, "" for none (elf(5))."""
    if data[:5] != b"\x7fELF\x02":
        return ""
    start, size, count = (int.from_bytes(data[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    for at in range(start, start + size * count, size):
        if int.from_bytes(data[at : at + 4], "little") == ELF_INTERPRETER:
            place, length = (int.from_bytes(data[at + a : at + a + 8], "little") for a in (8, 32))
            return data[place : place + length].rstrip(b"\0").decode()
    return ""


def with_folders(entries: Iterable[Entry]) -> list[Entry]:
    """``entries`` without repetition, each behind the folders that it lies in."""
    made: dict[str, Entry] = {}
    for entry in entries:
        parts = entry.path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            made.setdefault(folder, Entry(folder, stat.S_IFDIR | 0o755))
        made.setdefault(entry.path, entry)
    return list(made.values())


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Halt("tools", f"{path}: {error.strerror}") from None
