# SPDX-License-Identifier: GPL-2.0-only
"""Programs of the VM's root for the inner guest's initramfs: with their libraries, and Python with what it needs.

The guest's root is a busybox, which has no mkfs.ext4, no mdadm and nothing that could write blocks that describe
themselves. The VM sees the host's root, so they are there, of the right architecture, and cost no build.
"""

from __future__ import annotations

import os
import py_compile
import re
import stat
import sys
from collections.abc import Iterable

from .command import Halt, find_tool, run
from .initramfs import ELF_INTERPRETER, Entry

HOME = "bisector"  # folder of our own modules in the guest
ENTRY = "import sys; sys.path.insert(0, '/bisector'); from agent.inside import main; sys.exit(main(sys.argv[1:]))"
LIST_MODULES = """
import sys
sys.path.insert(0, sys.argv[1])
import os, agent.inside
for module in [os, *sys.modules.values()]:
    file = getattr(module, "__file__", None)
    if file:
        print(file, getattr(module, "__cached__", None) or "-")
"""


def python_command() -> list[str]:
    """How the guest calls Python for inside.py: isolated, without site, and writing no bytecode."""
    return [os.path.realpath(sys.executable), "-I", "-S", "-B", "-c", ENTRY]


def tools(names: Iterable[str]) -> list[Entry]:
    """The programs ``names`` as /bin/NAME, and their libraries. Raises Halt(tools)."""
    entries: list[Entry] = []
    for name in names:
        path = find_tool(name)
        entries.append(Entry(f"bin/{name}", stat.S_IFREG | 0o755, _content(path)))
        entries += _libraries(os.path.realpath(path))
    return with_folders(entries)


def python(scratch: str) -> list[Entry]:
    """This Python, the modules that inside.py imports, and the libraries of both, where they lie here.

    ``scratch`` is a folder for what has no compiled form yet: to compile in an emulated guest costs seconds.
    """
    program = os.path.realpath(sys.executable)
    here = os.path.dirname(os.path.abspath(__file__))
    ran = run([program, "-I", "-S", "-c", LIST_MODULES, os.path.dirname(here)], timeout=60.0)
    if ran.exit != 0:
        raise Halt("tools", f"{program} does not list its modules: {ran.output}")
    entries = [Entry(program.lstrip("/"), stat.S_IFREG | 0o755, _content(program)), *_libraries(program)]
    for line in dict.fromkeys(ran.output.splitlines()):
        file, _, cached = line.rpartition(" ")
        entries += _module(file, cached, here, scratch)
    # Where Python looks for its second prefix; built-in modules leave it empty.
    dynamic = os.path.join(os.path.dirname(os.__file__), "lib-dynload")
    entries.append(Entry(dynamic.lstrip("/"), stat.S_IFDIR | 0o755))
    return with_folders(entries)


def _module(file: str, cached: str, here: str, scratch: str) -> list[Entry]:
    if not file.endswith(".py"):  # an extension
        return [Entry(file.lstrip("/"), stat.S_IFREG | 0o755, _content(file)), *_libraries(os.path.realpath(file))]
    inside = f"{HOME}/agent/{os.path.basename(file)}" if os.path.dirname(file) == here else file.lstrip("/")
    if not is_current(file, cached):
        cached = f"{scratch}/{os.path.basename(file)}c"
        py_compile.compile(file, cfile=cached, doraise=True)
    return [Entry(f"{inside}c", stat.S_IFREG | 0o644, _content(cached))]  # beside no source, it is taken as it is


def is_current(file: str, cached: str) -> bool:
    """Whether ``cached`` is the compiled form of ``file`` (PEP 552: flags, then time and size, or a hash)."""
    try:
        with open(cached, "rb") as stream:
            head = stream.read(16)
        source = os.stat(file)
    except OSError:
        return False
    flags = int.from_bytes(head[4:8], "little")
    if flags & 1:
        return not flags & 2  # a hash that Python would not check either: the trial made it with the file
    return head[8:16] == int(source.st_mtime).to_bytes(4, "little") + source.st_size.to_bytes(4, "little")


def _libraries(path: str) -> list[Entry]:
    """The loader of a dynamic program (or of this Python, for a library) and what it loads, at their own paths."""
    loader = interpreter(_content(path)) or interpreter(_content(os.path.realpath(sys.executable)))
    if not loader:
        return []
    listed = run([loader, "--list", path], timeout=20.0)
    found = re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed.output, re.MULTILINE)
    return [Entry(name.lstrip("/"), stat.S_IFREG | 0o755, _content(name)) for name in dict.fromkeys([loader, *found])]


def interpreter(data: bytes) -> str:
    """The dynamic loader that an ELF64 program asks for, "" for none (elf(5))."""
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
