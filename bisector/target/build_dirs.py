# SPDX-License-Identifier: GPL-2.0-only
"""Build folders: places to build in, each a source tree with its object folder, used by one build at a time.

    build-dirs/N/lock            held (flock) while somebody builds; the kernel frees it with our death
    build-dirs/N/tree            the source of the last candidate
    build-dirs/N/objects         its objects; moved to tree/.objects while make runs (see make.py)
    build-dirs/N/state.json       what the objects fit, and when they were made
    build-dirs/N/journal.json    there while make may write: the objects as they were before

A new one begins with a copy of another whose objects differ by their config alone (``original``, ``BuildDir.adopt``).

An incremental build is right when each object is as new as its source says. Four things break that, and each is
handled here before make sees the objects:

* A build that was killed. A compiler writes its object in place, fixdep its .cmd file, objtool changes an object that
  is there already: what was cut short is newer than its source, and kbuild takes it for current. So the journal lists
  every file with its stat before make starts, and after a kill each file that differs from it is deleted; its owner
  target is then made anew. Comparing whole stats (inode and ctime too) needs no trust in clocks or their granularity.
  When the kill fell into the making of include/config or a generated header, the object folder is thrown away: whether
  the touched symbol files and the headers fit together is not known.
* A source that was deleted. Without its source an object has no rule, and make takes a target without a rule for
  current: a kernel would be linked that a clean build cannot make. See ``leftovers``.
* A header that was added, and is found before the one that an object lists. make looks at what is listed alone, so each
  object whose list has a path of that name is deleted, and all of a build by ninja. Where the tree of the objects is
  not known any more, all objects go. ccache's direct mode has the same blind spot (see ccache.py), and is off for such
  a build.
* A clock that stepped back, or a file system with coarse times. A source written now must be newer than every object
  made before; we wait for that, or throw the objects away. After a reboot they are thrown away too: object data that
  never reached the disk may stand behind a valid stat. ccache, which checks what it reads, makes up for most of it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bisector.causes import BuildStage
from bisector.errors import InfraError
from bisector.system.foreign import NotRegularFile, is_folder, read_plain, write_plain
from bisector.system.trees import remove_tree, walk
from bisector.target.commands import CannotBeBuilt
from bisector.target.images import write_json
from bisector.target.leftovers import COMMAND_LIMIT, lists_header, remove_leftovers, remove_shadowed
from bisector.target.make import OBJECTS

TOOLS = "tools"  # of the objects: programs of the host, by tools/build/Makefile.build of the kernel
MOST_SEATS = 4  # per repository; more only when so many builds run at once
PATIENCE = 10.0  # seconds that a killed build's last processes may take to die
BEHIND = 2.0  # seconds that the clock may be behind the newest object before the objects are thrown away
_TICK = 0.02
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_GENERATED = re.compile(r"include/(?:config|generated)/|arch/[^/]+/include/generated/")

Stat = tuple[int, ...]


@dataclass
class Notes:
    """What is known of the objects of a build folder.

    ``lines``: steps that make printed last time, cold (from nothing) and warm.
    """

    fit: str = ""  # what they were built with
    base: str = ""  # the part of it that a build system cannot do without; "" where it is all of it
    boot: str = ""
    newest: int = 0  # mtime of the newest object, ns
    tree: str = ""  # id of the tree that was built last
    headers: str = ""  # names the set of headers of that tree
    configured: str = ""  # names the settings by which that tree's config was made, "" where it was not made
    lines: dict[str, int] = field(default_factory=dict)


class BuildDir:
    """One build folder, held by us. ``take`` gives it; its objects are trustworthy from then on."""

    def __init__(self, folder: Path, *, whole: bool = False) -> None:
        self._whole = whole
        self.folder = folder
        self.tree = folder / "tree"
        self.notes = _read_notes(folder)
        self._objects = folder / "objects"
        self._at_work = self.tree / OBJECTS  # where they stand while make runs, which can put anything there
        self._journal = folder / "journal.json"

    @property
    def objects(self) -> Path:
        """The object folder while make may work in it. Raises CannotBeBuilt where make left something else there."""
        if not is_folder(self._at_work):
            raise CannotBeBuilt(BuildStage.COMPILE, (f"the build left no folder of objects where it was: {OBJECTS}",))
        return self._at_work

    @property
    def cold(self) -> bool:
        """Whether there are no objects yet, while make does not work."""
        return not self._objects.exists()

    def require_place(self) -> None:
        """Raises CannotBeBuilt where the tree has something of its own in the place of the object folder."""
        if os.path.lexists(self._at_work):
            raise CannotBeBuilt(BuildStage.CONFIG, (f"this tree holds {OBJECTS}, where objects go",))

    def recover(self) -> None:
        """Undo what an interrupted build left, and see to it that the next source is newer than every object."""
        for gone in self.folder.glob("gone-*"):
            remove_tree(gone)
        if self._journal.exists():
            self._wait_for_the_dead()  # before we look what they left: they can still change it
            if self.cold:  # a build was killed before it could move them back
                self._bring_back()
            if not self._roll_back():
                self.discard()
            self._journal.unlink()
        if not self.cold and (self.notes.boot != _boot() or not self._clock_is_ahead()):
            self.discard()

    @contextmanager
    def at_work(
        self, fit: str, tree: str = "", added: frozenset[str] = frozenset(), base: str = ""
    ) -> Iterator[tuple[str, ...]]:
        """Objects stand in the tree and make may write. When the block raises, or we die, its work is undone later.

        Args:
            tree: id of the tree.
            base: as of ``take``: objects that share it are kept.
            added: names of files that it has and the tree of the objects (``notes.tree``) had not.

        Gives the targets that were removed because one of those names may be found in their making.
        """
        fits = self.notes.fit == fit or (bool(base) and self.notes.base == base)
        if not self.cold and (not fits or (self._whole and lists_header(self._objects, added))):
            self.discard()
        cold = self.cold
        self._objects.mkdir(exist_ok=True)
        remove_leftovers(self._objects, self.tree, OBJECTS)
        shadowed = remove_shadowed(self._objects, added)
        write_json(self._journal, self._listed())
        self._objects.rename(self._at_work)
        if cold:
            self.notes = Notes(lines=self.notes.lines)
        yield shadowed
        self._bring_back()
        self.notes.fit, self.notes.base, self.notes.boot, self.notes.tree = fit, base, _boot(), tree
        self.notes.newest = max((stat[0] for stat in self._listed().values()), default=0)
        write_json(self.folder / "state.json", asdict(self.notes))
        self._journal.unlink()

    def adopt(self, other: BuildDir, copy: Callable[[Path, Path], None]) -> None:
        """Begin with a copy of another folder's objects. The tree is one of its tree, with its times.

        ``copy``: copies a folder to a place where nothing is, with all times, or raises.
        """
        draft = self.folder / f"gone-{time.time_ns()}"  # which the next one to come removes, where we are killed
        try:
            copy(other._objects, draft)
        except BaseException:
            remove_tree(draft, ignore_errors=True)
            raise
        _rename_within(draft / TOOLS, f"{os.path.realpath(other.tree)}/", f"{os.path.realpath(self.tree)}/")
        draft.rename(self._objects)
        self.notes = replace(other.notes, configured="")
        write_json(self.folder / "state.json", asdict(self.notes))

    def empty(self) -> None:
        """Throw the objects away while make may work in the folder."""
        for place in self.objects.iterdir():
            remove_tree(place) if is_folder(place) else place.unlink()

    def _bring_back(self) -> None:
        """Move the objects out of the tree. What is no folder goes: a link in its place leads to files of others."""
        if is_folder(self._at_work):
            self._at_work.rename(self._objects)
        else:
            self._at_work.unlink(missing_ok=True)

    def _roll_back(self) -> bool:
        """Delete what changed since the journal. False when the objects as a whole cannot be trusted."""
        if self._whole:
            return False
        try:
            listed = json.loads(self._journal.read_text(encoding="utf-8"))
            before = {name: tuple(stat) for name, stat in listed.items()}
            now = manifest(self._objects)
        except (OSError, ValueError, TypeError, AttributeError):  # a disk may have lost what was on it
            return False
        changed = [name for name in now if now[name] != before.get(name)]
        if any(_GENERATED.match(name) for name in (*changed, *(before.keys() - now.keys()))):
            return False
        for name in changed:
            (self._objects / name).unlink()
        return True

    def discard(self) -> None:
        """Throw the objects away; by a rename first, so that a kill leaves no half of them to be found."""
        gone = self.folder / f"gone-{time.time_ns()}"
        if self._objects.exists():
            self._objects.rename(gone)
            remove_tree(gone)

    def _listed(self) -> dict[str, Stat]:
        """The objects, if any; those of a tree that left folders too deep to be listed (PATH_MAX) are thrown away."""
        if self.cold:
            return {}
        try:
            return manifest(self._objects)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
        self.discard()
        self._objects.mkdir()
        return {}

    def _wait_for_the_dead(self) -> None:
        """Wait until nothing works in this build folder any more. The killed build's own guard ends its processes."""
        end = time.monotonic() + PATIENCE
        while working := list(_working_below(self.folder)):
            if time.monotonic() > end:
                pids = " ".join(map(str, working))
                raise InfraError(f"an earlier build still runs in {self.folder}: process {pids}", hint=f"kill {pids}")
            time.sleep(_TICK)

    def _clock_is_ahead(self) -> bool:
        """Whether a file written now is newer than every object; waits for it where the times are coarse."""
        probe = self.folder / "clock"
        end = time.monotonic() + BEHIND
        while True:
            probe.write_bytes(b"")
            written = probe.stat().st_mtime_ns
            if written > self.notes.newest:
                return True
            if time.monotonic() > end or self.notes.newest - written > BEHIND * 1e9:
                return False
            time.sleep(_TICK)


@contextmanager
def take(folder: Path, fit: str, *, whole: bool = False) -> Iterator[BuildDir]:
    """Hold a free build folder below ``folder``: one whose objects fit, else a new one, else any.

    Args:
        fit: names the settings that the build will use; its ``base`` (of ``at_work`` and ``original``) the part of
            them that objects must share where the build system sees by itself what the rest changes.
        whole: after a kill all objects go, not those alone that it touched: for a build system that is not kbuild.

    Raises InfraError when an earlier build's processes still work in the build folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place in _by_promise(folder, fit):
        place.mkdir(exist_ok=True)
        handle = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            build_dir = BuildDir(place, whole=whole)
            build_dir.recover()
            yield build_dir
            return
        finally:
            os.close(handle)


@contextmanager
def original(build_dir: BuildDir, base: str) -> Iterator[BuildDir | None]:
    """Another build folder whose objects are of use here, held meanwhile: the one that was used last.

    None where there is none, or where ``build_dir`` has been used before. ``base``: as of ``take``.
    """
    handles: list[int] = []
    try:
        fresh = bool(base) and build_dir.cold and not build_dir.tree.exists()
        yield _original(build_dir.folder, base, handles) if fresh else None
    finally:
        for handle in handles:
            os.close(handle)


def _original(folder: Path, base: str, handles: list[int]) -> BuildDir | None:
    notes = {place: _read_notes(place) for place in folder.parent.iterdir() if place.name.isdecimal()}
    places = [place for place in notes if place != folder and notes[place].base == base]
    for place in sorted(places, key=lambda place: notes[place].newest, reverse=True):
        handles.append(os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            other = BuildDir(place)
            other.recover()
        except (OSError, InfraError):  # somebody builds there, or what a killed build left still runs, or is broken
            continue
        if not other.cold and other.notes.base == base:
            return other
    return None


def _rename_within(folder: Path, old: str, new: str) -> None:
    """Replace the name of a folder in the commands that make noted below ``folder``, which keep their times.

    tools/build of the kernel gives its compiler absolute paths, and knows a command by the object's. No link is
    followed, nor ``folder`` where it is one: this is done outside of the sandbox, in what a build left.
    """
    for place, _, files in walk(folder) if is_folder(folder) else ():
        for name in files:
            if name.endswith((".cmd", ".d")):
                with suppress(NotRegularFile, UnicodeDecodeError):
                    text = read_plain(place, name, COMMAND_LIMIT).decode()
                    if old in text:
                        before = (place / name).stat(follow_symlinks=False)
                        write_plain(place, name, text.replace(old, new))
                        os.utime(place / name, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)


def manifest(folder: Path) -> dict[str, Stat]:
    """Relative name → (mtime ns, ctime ns, size, inode) of each file and link below ``folder``."""
    found: dict[str, Stat] = {}
    queue = [""]
    while queue:
        prefix = queue.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    queue.append(name + "/")
                else:
                    stat = entry.stat(follow_symlinks=False)
                    found[name] = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
    return found


def _by_promise(folder: Path, fit: str) -> Iterable[Path]:
    """Build folders in the order in which to ask for them; without end, so that one is found."""
    numbers = sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())
    fits = {number: _read_notes(folder / str(number)).fit for number in numbers}
    fitting = [number for number in numbers if fits[number] == fit]
    fresh = [number for number in range(MOST_SEATS) if not fits.get(number)]
    others = [number for number in numbers if number not in (*fitting, *fresh)]
    yield from (folder / str(number) for number in (*fitting, *fresh, *others))
    number = MOST_SEATS
    while True:
        if number not in numbers:
            yield folder / str(number)
        number += 1


def _read_notes(folder: Path) -> Notes:
    try:
        return Notes(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return Notes()


def _working_below(folder: Path) -> Iterator[int]:
    """Pids of processes that stand below ``folder``: make and all it starts do."""
    inside = os.path.realpath(folder) + "/"
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                place = str(Path(entry.path, "cwd").readlink())
            except OSError:  # it ended, or is another user's
                continue
            if place.startswith(inside):
                yield int(entry.name)


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="utf-8").strip()
