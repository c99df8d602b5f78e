# SPDX-License-Identifier: GPL-2.0-only
"""What our cache folder holds, and freeing space in it without taking anything from a running campaign."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import InfraError
from bisector.store import CampaignRow, Store
from bisector.system.foreign import is_folder
from bisector.system.locks import locked
from bisector.system.trees import remove_tree, walk
from bisector.system.xdg import Folders
from bisector.target.images import UNREADABLE, Images

PARTS = {
    "images": "kernels with their modules, built or unpacked",
    "packages": "packaged kernels as they were downloaded",
    "archive": "lists of the distribution's archive",
    "build-dirs": "source trees with their objects",
    "seats": "source trees with their objects, of earlier versions",
    "builds": "logs of builds, and records of what could not be built",
    "trees": "source trees that campaigns of other hosts sent to be built",
    "files": "files of recipes that campaigns of other hosts sent",
    "programs": "what stands before the compiler cache in builds of kernels",
    "ccache": "compiler cache (it keeps itself below its own limit)",
}
PRUNED = {"images": "image", "packages": "package", "build-dirs": "build folder", "seats": "old build folder",
          "builds": "build log", "trees": "clone of source trees", "files": "file of a recipe"}  # fmt: skip
"""Parts of which the least recently used can go, with what one of them is called. An image that is built again, and a
build folder, cost time; nothing is lost with any of them."""
RECEIVED = ("images", "files")
"""Parts that a worker of a cluster prunes by itself. Build folders are used again, and their number is bounded."""
BUILD_DIRS = ("build-dirs", "seats")
"""Parts that hold a folder for each clone, with its build folders; the second is of earlier versions."""
RECENT = 24 * 3600.0  # seconds; while somebody works, what was used within them stays
MB = 1_000_000


@dataclass(frozen=True)
class Entry:
    """A thing that can go as a whole. ``size`` in bytes on disk; ``used``: when last, seconds since 1970."""

    part: str
    path: Path
    size: int
    used: float


@dataclass(frozen=True)
class PruneResult:
    """What pruning did. ``kept``: what it would have removed, and a campaign at work may need."""

    removed: tuple[Entry, ...]
    kept: tuple[Entry, ...]
    left: int  # bytes of what could be pruned that remain


def sizes(folders: Folders) -> dict[str, int]:
    """Bytes on disk of each part of the cache. Raises InfraError when it cannot be read."""
    with _errors_named(folders.cache):
        return {part: _size(folders.cache / part) for part in PARTS}


def entries(folders: Folders, parts: Iterable[str] = tuple(PRUNED)) -> tuple[Entry, ...]:
    """All that can be pruned, the least recently used first. Raises InfraError."""
    found = []
    with _errors_named(folders.cache):
        for part in parts:
            for path in _things(folders.cache / part):
                with suppress(FileNotFoundError):  # another command is at work
                    found.append(Entry(part, path, _size(path), _used(path)))
    return tuple(sorted(found, key=lambda entry: entry.used))


def _things(part: Path) -> Iterator[Path]:
    """What can go as a whole; of the build folders each one below the folder of its clone."""
    for path in _children(part):
        if part.name in BUILD_DIRS and path.is_dir() and not path.name.startswith("."):
            yield from _children(path)
        elif not path.name.startswith("."):
            yield path


def _used(path: Path) -> float:
    """When it was used last, seconds since 1970. A build folder is not touched by a build in it, its notes are."""
    notes = path / "state.json"
    return max(path.stat().st_mtime, notes.stat().st_mtime if notes.is_file() else 0.0)


def prune(folders: Folders, store: Store, limit: int) -> PruneResult:
    """Remove what was used least recently until all that can go takes at most ``limit`` bytes.

    While a command works on the cache, the images of unfinished campaigns, all build folders and what was used within a
    day stay. Raises InfraError.
    """
    return _prune(folders, limit, lambda: _held(store))


def prune_received(folders: Folders, limit: int) -> PruneResult:
    """The same of what campaigns of other hosts sent here, on a machine that keeps no campaigns. Raises InfraError."""
    return _prune(folders, limit, set, RECEIVED)


def _prune(
    folders: Folders, limit: int, held_now: Callable[[], set[str]], parts: Iterable[str] = tuple(PRUNED)
) -> PruneResult:
    listed = entries(folders, parts)
    total = sum(entry.size for entry in listed)
    removed, kept = [], []
    with _errors_named(folders.cache), alone(folders.cache) as nobody_works:
        held = set() if nobody_works else held_now()
        young = time.time() - RECENT
        for entry in listed:
            if total <= limit:
                break
            in_use = not nobody_works and (entry.part in BUILD_DIRS or entry.used > young)
            if in_use or entry.path.name in held:
                kept.append(entry)
                continue
            _remove(entry.path)
            removed.append(entry)
            total -= entry.size
        if nobody_works:
            _sweep(folders.cache)
    return PruneResult(tuple(removed), tuple(kept), total)


def forget_failures(folders: Folders, store: Store) -> int:
    """Forget every candidate that is recorded as one that cannot be built, so that it is built again when it is needed.

    Campaigns that ended keep what they saw. Returns how many records there were. Raises InfraError.
    """
    with _errors_named(folders.cache):
        forgotten = Images(folders.cache).forget_failures()
    store.forget_failures()
    return forgotten


@contextmanager
def at_work(cache: Path) -> Iterator[None]:
    """Held while a command works with the cache. The kernel frees it with our death, however we die."""
    with _errors_named(cache):
        cache.mkdir(parents=True, exist_ok=True)
        handle = os.open(cache / ".in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone(cache: Path) -> Iterator[bool]:
    """Whether no other command works with the cache; if so none begins to before the end."""
    cache.mkdir(parents=True, exist_ok=True)
    handle = os.open(cache / ".in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            nobody = True
        except BlockingIOError:
            nobody = False
        yield nobody
    finally:
        os.close(handle)


def _held(store: Store) -> set[str]:
    """Identities of the images of campaigns that another process has locked."""
    return {image.identity for row in store.campaigns() if _busy(store, row) for image in store.images(row.id)}


def _busy(store: Store, row: CampaignRow) -> bool:
    if row.outcome is not None:
        return False
    try:
        with locked(store.campaign_folder(row.id) / "lock", busy="at work"):
            return False
    except InfraError:
        return True


def _remove(path: Path) -> None:
    """By a rename first: what is half removed must not look whole."""
    gone = path.with_name(f".gone-{path.name}")
    with suppress(FileNotFoundError):  # another command prunes, too
        path.rename(gone)
        _delete(gone)


def _sweep(cache: Path) -> None:
    """What killed commands left half made. Half a download stays: it is gone on with."""
    for part in PRUNED:
        for path in _children(cache / part):
            if path.name.startswith((".new-", ".gone-", ".unpack-")):
                _delete(path)
    for clone in (each for part in BUILD_DIRS for each in _children(cache / part)):
        if clone.is_dir() and not _children(clone):
            clone.rmdir()
        for path in clone.glob(".gone-*") if clone.is_dir() else ():
            _delete(path)


def _delete(path: Path) -> None:
    if is_folder(path):
        remove_tree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    """Bytes on disk of a file or of all below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    with suppress(FileNotFoundError):
        total += path.lstat().st_blocks * 512
        if is_folder(path):
            for folder, _, names in walk(path):
                for name in names:
                    with suppress(FileNotFoundError):
                        total += (folder / name).lstat().st_blocks * 512
    return total


@contextmanager
def _errors_named(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfraError(f"the cache in {cache} cannot be used: {error.filename}: {error.strerror or error}") from error


def as_text(found: dict[str, int], listed: tuple[Entry, ...], folder: Path) -> str:
    """The parts with their sizes, then what can go, the least recently used first."""
    lines = [f"{folder}", ""]
    lines += [
        f"{size / MB:>9,.0f} MB  {part:<10} {PARTS[part]}" for part, size in found.items() if size or part != "seats"
    ]
    lines.append(f"{sum(found.values()) / MB:>9,.0f} MB  in all")
    if listed:
        lines += ["", "Least recently used first (this is the order in which --prune SIZE removes):"]
        lines += [
            f"{entry.size / MB:>9,.1f} MB  {_day(entry.used)}  {PRUNED[entry.part]} {_short(entry)}" for entry in listed
        ]
    return "\n".join(lines) + "\n"


def pruned_text(done: PruneResult) -> str:
    """What pruning did, in a few lines."""
    freed = sum(entry.size for entry in done.removed)
    counts = Counter(PRUNED[entry.part] for entry in done.removed)
    what = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items()) or "nothing"
    lines = [f"removed {what}: {freed / MB:,.0f} MB"]
    if done.kept:
        lines.append(f"kept {len(done.kept)} that a running command may need")
    return "\n".join([*lines, f"{done.left / MB:,.0f} MB of what can be removed are left"]) + "\n"


def _short(entry: Entry) -> str:
    if entry.part in BUILD_DIRS:
        return f"{entry.path.parent.name}/{entry.path.name}"
    if entry.part != "images":
        return entry.path.name
    with suppress(*UNREADABLE):
        return (
            f"{json.loads((entry.path / 'image.json').read_text(encoding='utf-8'))['release']} ({entry.path.name[:12]})"
        )
    return entry.path.name[:12]


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
