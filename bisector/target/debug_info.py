# SPDX-License-Identifier: GPL-2.0-only
"""A kernel's ELF file with line numbers: which one belongs to an image, read without any tool."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from bisector.model import Candidate, Image, TargetKind
from bisector.target.kernel_file import build_id_of_elf

VMLINUX = "vmlinux"
_LINES = (b".debug_line\0", b".zdebug_line\0")  # DWARF's, plain and as old tools packed it
_ABOVE = 4  # folders from arch/x86/boot/bzImage up to its build folder, the first one included


def of_image(image: Image, candidate: Candidate) -> tuple[Path | None, str]:
    """The ELF file with line numbers of exactly this image: kept beside it, or in the build folder that was given.

    Returns the file and "", or None and why there is none.
    """
    seen = False
    for path in _places(image, candidate):
        if not path.is_file():
            continue
        seen = True
        build_id, lines = _read(path)
        if lines and image.build_id and build_id == image.build_id:
            return path, ""
    return None, "its kernel was built without debug info" if seen else "the kernel's vmlinux was not kept"


def has_lines(path: Path) -> bool:
    """Whether an ELF file holds line numbers. Raises OSError."""
    return _read(path)[1]


def _places(image: Image, candidate: Candidate) -> Iterator[Path]:
    if image.kernel:
        yield Path(image.kernel).with_name(VMLINUX)
    if candidate.target is TargetKind.GIVEN:
        given = Path(candidate.revision)
        yield from (folder / VMLINUX for folder in (given, *given.parents[:_ABOVE]))


def _read(path: Path) -> tuple[str, bool]:
    """Build id, and whether there are line numbers; ("", False) for what is no ELF file."""
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # a kernel with debug info is large
        except ValueError:  # empty
            return "", False
        with data:
            try:
                return build_id_of_elf(cast(bytes, data)), _names_lines(data)
            except struct.error:
                return "", False


def _names_lines(data: mmap.mmap) -> bool:
    """Whether the table of section names (elf(5)) holds one of line numbers."""
    if data[:4] != b"\x7fELF" or len(data) < 64:
        return False
    order, wide = "<" if data[5] == 1 else ">", data[4] == 2
    offset = struct.unpack_from(order + ("Q" if wide else "I"), data, 40 if wide else 32)[0]
    size, _, names = struct.unpack_from(order + "HHH", data, 58 if wide else 46)
    at = offset + names * size
    start, length = struct.unpack_from(order + ("QQ" if wide else "II"), data, at + (24 if wide else 16))
    table = data[start : start + length]
    return any(name in table for name in _LINES)
