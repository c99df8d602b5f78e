# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's files say about themselves: GNU build id and release, read without any tool."""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from bisector.errors import InfraError
from bisector.system.proc import Processes
from bisector.system.sandbox import Access

RELEASE = re.compile(r"\w[\w.+~-]{0,63}")  # what uname -r can show; the name of a folder of modules, never ".."

_SETUP_MAGIC = slice(0x202, 0x206)  # "HdrS"; offsets of Documentation/arch/x86/boot.rst, protocol 2.08 and later
_SETUP_SECTORS, _VERSION, _KERNEL_VERSION, _PAYLOAD = 0x1F1, 0x206, 0x20E, 0x248
_PT_NOTE, _NT_GNU_BUILD_ID = 4, 3
_BANNER = re.compile(rb"Linux version (\d[\x21-\x7e]{0,63}) \(")  # init/version-timestamp.c of the kernel
_ZSTD = b"\x28\xb5\x2f\xfd"


def build_id_of_elf(data: bytes) -> str:
    """GNU build id (hex) from the note segments of an ELF file (elf(5)); "" when there is none or it is no ELF."""
    if data[:4] != b"\x7fELF" or len(data) < 64:
        return ""
    order = "<" if data[5] == 1 else ">"
    wide = data[4] == 2
    phoff = struct.unpack_from(order + ("Q" if wide else "I"), data, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", data, 54 if wide else 42)
    for index in range(count):
        at = phoff + index * size
        if at + size > len(data) or struct.unpack_from(order + "I", data, at)[0] != _PT_NOTE:
            continue
        offset = struct.unpack_from(order + ("Q" if wide else "I"), data, at + (8 if wide else 4))[0]
        length = struct.unpack_from(order + ("Q" if wide else "I"), data, at + (32 if wide else 16))[0]
        if found := build_id_of_notes(data[offset : offset + length], order):
            return found
    return ""


def build_id_of_notes(notes: bytes, order: str = "<") -> str:
    """GNU build id (hex) in a run of ELF notes, the form of /sys/kernel/notes too; "" when there is none."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from(order + "III", notes, at)
        name_at = at + 12
        at = name_at + _padded(name_size)
        if kind == _NT_GNU_BUILD_ID and notes[name_at : name_at + name_size] == b"GNU\0":
            return notes[at : at + size].hex()
        at += _padded(size)
    return ""


def build_id_of_image(image: Path, processes: Processes | None = None) -> str:
    """GNU build id (hex) of a bzImage or an ELF kernel; "" when the file does not show one.

    A bzImage carries the kernel's ELF file compressed. Python knows gzip, bzip2, xz and lzma; for zstd the program of
    that name is called through ``processes``, if it is there.
    """
    data = image.read_bytes()
    if data[_SETUP_MAGIC] != b"HdrS" or struct.unpack_from("<H", data, _VERSION)[0] < 0x208:
        return build_id_of_elf(data)
    offset, length = struct.unpack_from("<II", data, _PAYLOAD)
    start = ((data[_SETUP_SECTORS] or 4) + 1) * 512 + offset
    return build_id_of_elf(_unpacked(data[start : start + length], processes))


def release_of_image(image: Path) -> str:
    """Kernel release that a bzImage's header, or an ELF kernel's banner, names ("6.18.5"); "" for other files."""
    with image.open("rb") as file:
        head = file.read(1 << 16)
        if head[:4] == b"\x7fELF":
            banner = _BANNER.search(head + file.read())
            return banner[1].decode() if banner else ""
    if head[_SETUP_MAGIC] != b"HdrS":
        return ""
    at = struct.unpack_from("<H", head, _KERNEL_VERSION)[0] + 0x200
    match = re.match(rb"[\x21-\x7e]+", head[at:])
    return match[0].decode() if match and at > 0x200 else ""


def is_kernel(image: Path) -> bool:
    """Whether a file looks like a kernel that QEMU boots: bzImage, arm64 Image, or an ELF file."""
    with image.open("rb") as file:
        head = file.read(0x210)
    return head[_SETUP_MAGIC] == b"HdrS" or head[56:60] == b"ARM\x64" or head[:4] == b"\x7fELF"


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _unpacked(payload: bytes, processes: Processes | None) -> bytes:
    """The payload without its compression. Its last four bytes are the size, outside of most formats' streams."""
    unpackers: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
        (b"\x1f\x8b", lambda data: zlib.decompressobj(31).decompress(data)),
        (b"\xfd7zXZ", lambda data: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data)),
        (b"\x5d\0\0", lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data)),
        (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data)),
    )
    try:
        for magic, unpack in unpackers:
            if payload.startswith(magic):
                return unpack(payload)
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        return b""
    return _unpacked_zstd(payload[:-4], processes) if payload.startswith(_ZSTD) and processes else b""


def _unpacked_zstd(stream: bytes, processes: Processes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="bisector-") as folder:
        packed, unpacked = Path(folder, "payload.zst"), Path(folder, "payload")
        packed.write_bytes(stream)
        try:
            argv = ["zstd", "-d", "-q", "-o", str(unpacked), str(packed)]
            processes.run(argv, access=Access((Path(folder),)), timeout=60)
            return unpacked.read_bytes()
        except (InfraError, OSError):  # no zstd, or no kernel: the image then shows no build id
            return b""
