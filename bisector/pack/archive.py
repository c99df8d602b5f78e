# SPDX-License-Identifier: GPL-2.0-only
"""The file of an export: a gzip'd tar of plain files, the first of which is a manifest with a hash for each other.

Any tar program unpacks it. We read it ourselves, header by header, because it comes from somebody else: nothing but
plain files, no path that leads out, no byte more than the manifest announces, every hash compared. tarfile's own
reading would follow extended headers of any length before a limit could be set.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from bisector.agent.plan import Malformed, load
from bisector.errors import InfraError, UsageError

SCHEMA = "bisector.export/1"
MANIFEST = "manifest.json"
BLOCK = tarfile.BLOCKSIZE
MANIFEST_LIMIT = 16 << 20  # bytes
MEMBER_LIMIT = 2 << 30  # bytes of one member; a kernel with debug info has half of it
TOTAL_LIMIT = 16 << 30  # bytes of all
MEMBERS = 200_000
CHUNK = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9_+@=~,%#:-][A-Za-z0-9._+@=~,%#: -]*|\.[A-Za-z0-9_][A-Za-z0-9._+@=~,%#: -]*")
_HASH = re.compile(r"[0-9a-f]{64}")


class PackBroken(UsageError):
    """The file is no export, not a whole one, or not one to be trusted."""


@dataclass(frozen=True)
class Member:
    """One file of an export. ``name``: its path inside; ``size`` in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an export holds. ``made_by``: version of bisector; ``left_out``: what could not be packed, in words."""

    schema: str
    made_by: str
    campaign: str
    members: tuple[Member, ...]
    left_out: tuple[str, ...] = ()


# ---- writing -------------------------------------------------------------------------------------------------------


def write(
    path: Path, contents: Mapping[str, Path | bytes], *, made_by: str, campaign: str, left_out: Sequence[str], at: float
) -> Manifest:
    """Write an export; equal contents give equal bytes (with the same zlib).

    Args:
        path: must not exist; appears when it is whole.
        contents: path inside → a file, or its bytes.
        at: time of every member, seconds since 1970.

    Raises UsageError when ``path`` is taken, InfraError when it cannot be written or a file changes meanwhile.
    """
    if path.exists():
        raise UsageError(f"{path} is there already", hint="remove it, or name another file with --out")
    try:
        members = tuple(_member(name, contents[name]) for name in sorted(contents))
        manifest = Manifest(SCHEMA, made_by, campaign, members, tuple(left_out))
        handle, draft = tempfile.mkstemp(prefix=".bisector-export-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(file, manifest, contents, int(at))
                file.flush()
                os.fsync(file.fileno())
            Path(draft).chmod(0o644)
            Path(draft).rename(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InfraError(
            f"{path} cannot be written: {error.filename or ''} {error.strerror or error}".strip()
        ) from error
    return manifest


def _member(name: str, content: Path | bytes) -> Member:
    if problem := _unfit(name):
        raise InfraError(f"{name!r} cannot be packed: {problem}")
    if isinstance(content, bytes):
        return Member(name, len(content), hashlib.sha256(content).hexdigest())
    return Member(name, content.stat().st_size, hash_of(content))


def hash_of(path: Path) -> str:
    """SHA-256 of a file's content, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(file: BinaryIO, manifest: Manifest, contents: Mapping[str, Path | bytes], at: int) -> None:
    text = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode() + b"\n"
    packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
    with packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(_header(MANIFEST, len(text), at), io.BytesIO(text))
        for member in manifest.members:
            content = contents[member.name]
            opened: BinaryIO = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
            with opened, _Counted(opened, member) as counted:
                tar.addfile(_header(member.name, member.size, at), cast(BinaryIO, counted))


def _header(name: str, size: int, at: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mtime, header.mode = size, at, 0o644
    return header


class _Counted:
    """A file that is read once, and at its end compared with what was announced of it."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        self.file, self.member, self.hash = file, member, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.hash.update(data)
        return data

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self.hash.hexdigest() != self.member.sha256:
            raise InfraError(f"{self.member.name} changed while it was packed", hint="repeat it when nothing runs")


# ---- reading -------------------------------------------------------------------------------------------------------


def unpack(path: Path, into: Path, wanted: Callable[[str], bool] = lambda _: True) -> Manifest:
    """Check the whole of an export and put the members that are ``wanted`` below the folder ``into``.

    Raises PackBroken for what is no export of a version that we read, and for anything in it that is not as its
    manifest says; InfraError when it cannot be read or ``into`` cannot be written.
    """
    try:
        with path.open("rb") as file:
            return _unpacked(path, file, into, wanted)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
        raise _broken(path, "it is damaged or cut short, or no export at all") from error
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename}: there is no such file") from error
    except OSError as error:
        raise InfraError(f"{error.filename or path}: {error.strerror or error}") from error


def _unpacked(path: Path, file: BinaryIO, into: Path, wanted: Callable[[str], bool]) -> Manifest:
    with gzip.GzipFile(fileobj=file, mode="rb") as packed:
        stream = cast(BinaryIO, packed)
        entries = _entries(path, stream)
        first = next(entries, None)
        if first is None or first.name != MANIFEST or first.size > MANIFEST_LIMIT:
            raise _broken(path, f"it does not begin with {MANIFEST}")
        manifest = _manifest(path, _exactly(stream, first.size))
        _skip_padding(stream, first.size)
        announced = {member.name: member for member in manifest.members}
        for header in entries:
            member = announced.pop(header.name, None)
            if member is None:
                raise _broken(path, f"it holds {header.name!r}, which its manifest does not name, or names once")
            if member.size != header.size:
                raise _broken(path, f"{member.name} has {header.size} bytes and should have {member.size}")
            place = into / member.name if wanted(member.name) else None
            if _kept(stream, member, place) != member.sha256:
                raise _broken(path, f"{member.name} is not what its manifest says (its hash differs)")
            _skip_padding(stream, member.size)
    if announced:
        raise _broken(path, f"{min(announced)} is missing: it was cut short")
    return manifest


def _entries(path: Path, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Headers up to the end mark; the caller reads each one's content before it asks for the next."""
    while True:
        block = _exactly(stream, BLOCK)
        if block == bytes(BLOCK):
            return
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise _broken(path, f"{header.name!r} is no plain file")
        yield header


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        schema = json.loads(text).get("schema")
    except (ValueError, RecursionError, AttributeError):
        raise _broken(path, f"its {MANIFEST} is no JSON object") from None
    if schema != SCHEMA:
        raise PackBroken(
            f"{path} is of schema {str(schema)[:60]!r}, and this version reads {SCHEMA!r}",
            hint="use the version of bisector that made it (its manifest.json names it)",
        )
    try:
        manifest = load(Manifest, text)
    except Malformed as error:
        raise _broken(path, f"its {MANIFEST} is malformed: {error}") from None
    names = [member.name for member in manifest.members]
    if len(names) > MEMBERS or len(set(names)) != len(names):
        raise _broken(path, f"its {MANIFEST} names too many members, or one twice")
    for member in manifest.members:
        if problem := _unfit(member.name):
            raise _broken(path, f"it names {member.name[:80]!r}, {problem}")
        if not _HASH.fullmatch(member.sha256):
            raise _broken(path, f"it gives no SHA-256 for {member.name}")
        if not 0 <= member.size <= MEMBER_LIMIT:
            raise _broken(path, f"{member.name} is announced with {member.size} bytes, not 0 to {MEMBER_LIMIT}")
    if sum(member.size for member in manifest.members) > TOTAL_LIMIT:
        raise _broken(path, f"it announces more than {TOTAL_LIMIT >> 30} GiB")
    _no_file_is_a_folder(path, names)
    return manifest


def fits(name: str) -> bool:
    """Whether a path may stand in an export: plain parts, nothing that leads out."""
    return not _unfit(name)


def _unfit(name: str) -> str:
    """Why a path may not stand in an export, "" when it may."""
    if name == MANIFEST or len(name) > 255 or name.startswith("/"):
        return "which is no path inside of an export"
    for part in name.split("/"):
        if not _NAME.fullmatch(part) or part.endswith(" "):
            return "which is no path inside of an export"
    return ""


def leads_out(name: str, target: str) -> bool:
    """Whether a link called ``name``, in a part of an image (modules, bin, share), points out of that part."""
    depth = len(PurePosixPath(name).parts) - 1
    if target.startswith("/") or not target:
        return True
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 1:
            return True
    return False


def _no_file_is_a_folder(path: Path, names: Sequence[str]) -> None:
    files = set(names)
    for name in names:
        above = name.rpartition("/")[0]
        while above:
            if above in files:
                raise _broken(path, f"{above} is a file and a folder in it")
            above = above.rpartition("/")[0]


def _kept(stream: BinaryIO, member: Member, place: Path | None) -> str:
    """Read one member; write it to ``place`` when there is one. Gives its hash."""
    found, left = hashlib.sha256(), member.size
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") if place else open(os.devnull, "wb") as file:  # noqa: PTH123
        while left:
            data = _exactly(stream, min(left, CHUNK))
            found.update(data)
            file.write(data)
            left -= len(data)
    return found.hexdigest()


def _skip_padding(stream: BinaryIO, size: int) -> None:
    _exactly(stream, -size % BLOCK)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) != size:
        raise EOFError(f"{size - len(data)} bytes are missing")
    return data


def _broken(path: Path, why: str) -> PackBroken:
    return PackBroken(f"{path} cannot be used: {why}", hint="ask for the export again; nothing of it was run")
