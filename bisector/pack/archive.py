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

from bisector.codec import DecodeError, load
from bisector.errors import InfraError, UsageError

SCHEMA = "bisector.export/1"
MANIFEST = "manifest.json"
BLOCK = tarfile.BLOCKSIZE
MANIFEST_LIMIT = 12 << 20  # bytes
MEMBER_LIMIT = 2 << 30  # bytes of one member; a kernel with debug info has half of it
TOTAL_LIMIT = 16 << 30  # bytes of all
MEMBERS = 40_000
RATIO, SPARE = 100, 192 << 20
"""An export holds at most so many times the bytes of its file, and so many bytes more: a log may repeat one line."""

RECORD = "campaign.json"
RECIPE = "recipe/recipe.yaml"
AHEAD = "ahead.json"  # trials that ran ahead and were not needed; for people, nothing reads it
LINKS = "links.json"  # of an image: the links below its parts, name → target
PLAN = "plan.json"  # in a trial's folder
PARSED = {
    ("", RECORD): 24 << 20,
    ("", RECIPE): 1 << 20,
    ("images/", f"/{LINKS}"): 4 << 20,
    ("trials/", f"/{PLAN}"): 1 << 20,
}
"""Bytes of the members that are parsed, by how their path begins and ends."""

OWN, OWN_FILES, OWN_BYTES = "recipe/", 1000, 256 << 20  # what lies beside a recipe: all of it is unpacked at once
DEEPEST = 32  # folders above a member
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
        if problem := too_much(members):
            raise InfraError(f"the campaign cannot be packed: it has {problem}", hint="leave out --with-images")
        manifest = Manifest(SCHEMA, made_by, campaign, members, tuple(left_out))
        handle, draft = tempfile.mkstemp(prefix=".bisector-export-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(file, manifest, contents, int(at))
                file.flush()
                _refuse_a_bomb(members, os.fstat(handle).st_size)
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
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if size > largest(name):
        raise InfraError(f"{name} cannot be packed: it has {size} bytes, and an export {largest(name)} for it")
    if isinstance(content, bytes):
        return Member(name, size, hashlib.sha256(content).hexdigest())
    return Member(name, size, hash_of(content))


def _refuse_a_bomb(members: Sequence[Member], packed: int) -> None:
    """What we would not unpack we do not write."""
    if (total := sum(member.size for member in members)) > RATIO * packed + SPARE:
        largest_one = max(members, key=lambda member: member.size)
        raise InfraError(
            f"the export would hold {total >> 20} MiB in {packed >> 10} KiB, which nobody unpacks",
            hint=f"{largest_one.name} has most of it: shorten that log in the campaign's folder",
        )


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
            with opened, _Counter(opened, member) as counted:
                tar.addfile(_header(member.name, member.size, at), cast(BinaryIO, counted))


def _header(name: str, size: int, at: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mtime, header.mode = size, at, 0o644
    return header


class _Counter:
    """A file that is read once, and at its end compared with what was announced of it."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        self.file, self.member, self.hash = file, member, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.hash.update(data)
        return data

    def __enter__(self) -> _Counter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self.hash.hexdigest() != self.member.sha256:
            raise InfraError(f"{self.member.name} changed while it was packed", hint="repeat it when nothing runs")


# ---- reading -------------------------------------------------------------------------------------------------------


def unpack(path: Path, into: Path, wanted: Callable[[str], bool] = lambda _: True) -> Manifest:
    """Check the whole of an export and put the members that are ``wanted`` below the folder ``into``.

    All that it announces is held to limits before anything of it is expanded, and no more is expanded than announced.

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
        if first is None or first.name != MANIFEST:
            raise _broken(path, f"it does not begin with {MANIFEST}")
        if first.size > MANIFEST_LIMIT:
            raise _broken(path, f"its {MANIFEST} is larger than {MANIFEST_LIMIT >> 20} MiB")
        manifest = _manifest(path, _exactly(stream, first.size), os.fstat(file.fileno()).st_size)
        _skip_padding(stream, first.size)
        announced = {member.name: member for member in manifest.members}
        for header in entries:
            member = announced.pop(header.name, None)
            if member is None:
                raise _broken(path, f"it holds {header.name[:80]!a}, which its manifest does not name, or names once")
            if member.size != header.size:
                raise _broken(path, f"{member.name} has {header.size} bytes and should have {member.size}")
            place = into / member.name if wanted(member.name) else None
            if _kept(stream, member, place) != member.sha256:
                raise _broken(path, f"{member.name} is not what its manifest says (its hash differs)")
            _skip_padding(stream, member.size)
    if announced:
        raise _broken(path, f"{min(announced)} is missing: it was cut short")
    return manifest


@dataclass(frozen=True)
class _Entry:
    """A tar header as far as it matters."""

    name: str
    size: int


def _entries(path: Path, stream: BinaryIO) -> Iterator[_Entry]:
    """Headers up to the end mark; the caller reads each one's content before it asks for the next."""
    while True:
        block = _exactly(stream, BLOCK)
        if block == bytes(BLOCK):
            return
        yield _entry(path, block)


def _entry(path: Path, block: bytes) -> _Entry:
    """A header of the ustar format (POSIX.1-1988) of a plain file. Raises PackBroken, ValueError."""
    if int(block[148:156].rstrip(b"\0 "), 8) != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise ValueError("a header's checksum is wrong")
    prefix, name = _text(block[345:500]), _text(block[:100])
    whole = f"{prefix}/{name}" if prefix and block[257:262] == b"ustar" else name
    if block[156:157] not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise _broken(path, f"{whole!a} is no plain file")
    return _Entry(whole, int(block[124:136].rstrip(b"\0 ") or b"0", 8))


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode()


def _manifest(path: Path, text: bytes, packed: int) -> Manifest:
    """``packed``: bytes of the export's file."""
    if sum(map(text.count, (b",", b"[", b"{"))) > 5 * MEMBERS:  # a member has four
        raise _broken(path, f"its {MANIFEST} names too many members")
    try:
        schema = json.loads(text).get("schema")
    except (ValueError, RecursionError, AttributeError):
        raise _broken(path, f"its {MANIFEST} is no JSON object") from None
    if schema != SCHEMA:
        raise PackBroken(
            f"{path} is of schema {str(schema)[:60]!a}, and this version reads {SCHEMA!r}",
            hint="use the version of bisector that made it (its manifest.json names it)",
        )
    try:
        manifest = load(Manifest, text)
    except DecodeError as error:
        raise _broken(path, f"its {MANIFEST} is malformed: {error}") from None
    names = [member.name for member in manifest.members]
    if len(names) > MEMBERS or len(set(names)) != len(names):
        raise _broken(path, f"its {MANIFEST} names too many members, or one twice")
    for member in manifest.members:
        if problem := _unfit(member.name):
            raise _broken(path, f"it names {member.name[:80]!a}, {problem}")
        if not _HASH.fullmatch(member.sha256):
            raise _broken(path, f"it gives no SHA-256 for {member.name}")
        limit = largest(member.name)
        if not 0 <= member.size <= limit:
            raise _broken(path, f"{member.name} is announced with {member.size} bytes, not 0 to {limit}")
    if problem := too_much(manifest.members):
        raise _broken(path, f"it announces {problem}")
    if (total := sum(member.size for member in manifest.members)) > RATIO * packed + SPARE:
        raise _broken(path, f"it announces {total >> 20} MiB, too many for a file of {packed >> 10} KiB")
    _no_file_is_a_folder(path, names)
    return manifest


def largest(name: str) -> int:
    """Bytes that the member ``name`` may have."""
    found = (limit for (begin, end), limit in PARSED.items() if name.startswith(begin) and name.endswith(end))
    return next(found, MEMBER_LIMIT)


def too_much(members: Sequence[Member]) -> str:
    """Which limit they pass together, "" when they pass none."""
    own = [member.size for member in members if member.name.startswith(OWN)]
    if len(members) > MEMBERS:
        return f"more than {MEMBERS} files"
    if sum(member.size for member in members) > TOTAL_LIMIT:
        return f"more than {TOTAL_LIMIT >> 30} GiB"
    if len(own) > OWN_FILES or sum(own) > OWN_BYTES:
        return f"more than {OWN_FILES} files or {OWN_BYTES >> 20} MiB beside its recipe"
    return ""


def fits(name: str) -> bool:
    """Whether a path may stand in an export: plain parts, nothing that leads out."""
    return not _unfit(name)


def _unfit(name: str) -> str:
    """Why a path may not stand in an export, "" when it may."""
    if name == MANIFEST or len(name) > 255 or name.startswith("/") or name.count("/") > DEEPEST:
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
    found = hashlib.sha256()
    if place is None:
        for data in _pieces(stream, member.size):
            found.update(data)
        return found.hexdigest()
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        for data in _pieces(stream, member.size):
            found.update(data)
            file.write(data)
    return found.hexdigest()


def _pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        data = _exactly(stream, min(size, CHUNK))
        yield data
        size -= len(data)


def _skip_padding(stream: BinaryIO, size: int) -> None:
    _exactly(stream, -size % BLOCK)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) != size:
        raise EOFError(f"{size - len(data)} bytes are missing")
    return data


def _broken(path: Path, why: str) -> PackBroken:
    return PackBroken(f"{path} cannot be used: {why}", hint="ask for the export again; nothing of it was run")
