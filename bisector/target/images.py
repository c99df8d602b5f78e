# SPDX-License-Identifier: GPL-2.0-only
"""The cache of images: what was built, found by its key, kept by its content.

    images/IDENTITY/{kernel,config,modules/lib/modules/...,image.json}
    images/IDENTITY/{bin/...,share/...,image.json}     programs, and the data that they look for beside their folder
    images/IDENTITY/inputs-SETTINGS-TREE.json   what a build that gave this image read (inputs.py)
    builds/KEY.json   an identity, or a recorded failure
    builds/KEY.log    the build's whole output

Everything appears by one rename after its bytes are on disk: what can be found here is whole, whenever we were killed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bisector.causes import BuildStage, FailureCause
from bisector.model import BuildFailure, Image
from bisector.system.trees import paths_below, remove_tree
from bisector.target.inputs import Inputs

PROGRAMS = ("bin", "share")  # a program finds its data by its own place (../share), as it does when installed

MOST_RECORDS = 64
"""So many records of inputs are looked at for one candidate; each costs git some ten milliseconds."""

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a record ends in that is damaged, or that another version wrote."""

_NAMED = 16  # digits of an identity in the name of a record
_CHUNK = 1 << 20
_ABANDONED = 24 * 3600.0  # seconds after which a staging folder belongs to nobody


def identity_of(kernel: Path, modules: Path | None = None) -> str:
    """What an image is known by: SHA-256 over the kernel file and every file and link below ``modules``, by name.

    The config and the tools are not in it: two builds that give the same bytes are the same image.
    """
    total = hashlib.sha256(f"image 1\nkernel {_hash(kernel)}\n".encode())
    for line in _listed(modules) if modules else ():
        total.update(line)
    return total.hexdigest()


def identity_of_programs(folder: Path) -> str:
    """What an image of programs is known by: SHA-256 over every file and link below its bin and share, by name."""
    total = hashlib.sha256(b"programs 1\n")
    for name in PROGRAMS:
        total.update(f"{name}/\n".encode())
        for line in _listed(folder / name):
            total.update(line)
    return total.hexdigest()


def identity_of_staged(staged: Path) -> str:
    """That of the kernel, or of the programs, in a folder that holds one image."""
    if (staged / "bin").is_dir():
        return identity_of_programs(staged)
    modules = staged / "modules"
    return identity_of(staged / "kernel", modules if modules.is_dir() else None)


def _listed(folder: Path) -> Iterator[bytes]:
    for path in sorted(paths_below(folder)):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield f"{name} -> {path.readlink()}\n".encode()
        elif path.is_file():
            yield f"{name} {_hash(path)}\n".encode()


class Images:
    """Images and recorded failures below the cache folder ``folder``. Safe to use from processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = folder / "images"
        self._builds = folder / "builds"

    def find(self, key: str) -> Image | BuildFailure | None:
        """What is known of the build ``key``; None when nothing is, or when its image was pruned.

        A failure that another build might not end in (``BuildFailure.lasting``) is not taken for known.
        """
        try:
            build = json.loads((self._builds / f"{key}.json").read_text(encoding="utf-8"))
            if failure := build.get("failure"):
                recorded = _failure_from(failure)
                return recorded if recorded.lasting else None
            folder = self._images / build["identity"]
            image = _image_from(
                json.loads((folder / "image.json").read_text(encoding="utf-8")), folder, build["seconds"]
            )
            os.utime(folder)  # the oldest go first when space is needed
        except UNREADABLE:
            return None
        return image if Path(image.path).exists() else None

    def held(self, identity: str) -> Image | None:
        """The image of that content, whichever build gave it; None when the cache does not have it."""
        folder = self._images / identity
        try:
            image = _image_from(json.loads((folder / "image.json").read_text(encoding="utf-8")), folder, 0.0)
            os.utime(folder)
        except UNREADABLE:
            return None
        return image if Path(image.path).exists() else None

    def log_of(self, key: str) -> Path:
        """Where the output of the build ``key`` goes; its folder is there."""
        self._builds.mkdir(parents=True, exist_ok=True)
        return self._builds / f"{key}.log"

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to put an image together in; gone afterwards unless ``keep`` took it."""
        self._images.mkdir(parents=True, exist_ok=True)
        for left in self._images.glob(".*-*"):  # by builds that were killed, or of others that are at work
            if time.time() - (_modified(left) or time.time()) > _ABANDONED:
                remove_tree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self._images))
        try:
            yield folder
        finally:
            remove_tree(folder, ignore_errors=True)

    def keep(self, key: str, staged: Path, image: Image) -> Image:
        """Store what lies in ``staged`` under its identity, and the build under ``key``.

        ``staged`` holds kernel, config and modules, or bin and share; ``image`` says the rest, its paths and identity
        are set here. Returns the image as it can be found.
        """
        identity, main = identity_of_staged(staged), "bin" if (staged / "bin").is_dir() else "kernel"
        nowhere = replace(image, identity=identity, kernel="", modules="", config="", programs="")
        _write(staged / "image.json", asdict(nowhere))
        staged.chmod(0o755)
        _sync_below(staged)
        folder = self._images / identity
        if folder.exists() and not (folder / main).exists():  # somebody removed a part of it
            folder.rename(self._images / f".broken-{time.time_ns()}")
        try:
            _rename_new(staged, folder)
        except FileExistsError:  # the same image was there: from other sources or another campaign
            for record in staged.glob("inputs-*.json"):
                record.rename(folder / record.name)
            if self.held(identity) is None:  # its files are these, and what is said of them cannot be read
                write_json(folder / "image.json", asdict(nowhere))
        self._record(key, {"identity": identity, "seconds": image.seconds})
        return _image_from(json.loads((folder / "image.json").read_text(encoding="utf-8")), folder, image.seconds)

    def inputs(self, fit: str) -> Iterator[tuple[str, Inputs]]:
        """What builds with those settings read, each with its image's identity; of the images used last first."""
        records = [(_modified(path.parent), path) for path in self._images.glob(f"*/inputs-{fit[:_NAMED]}-*.json")]
        for _, path in sorted(records, reverse=True)[:MOST_RECORDS]:
            with contextlib.suppress(*UNREADABLE):
                found = Inputs.from_json(path.read_text(encoding="utf-8"))
                if found.fit == fit:
                    yield path.parent.name, found

    def keep_failure(self, key: str, failure: BuildFailure) -> None:
        """Record that the candidate of ``key`` cannot be built, so that it is not built again."""
        self._record(key, {"failure": asdict(failure)})

    def forget_failures(self) -> int:
        """Remove every recorded failure, so that its candidate is built again. Returns how many there were."""
        forgotten = 0
        for path in self._builds.glob("*.json") if self._builds.is_dir() else ():
            with contextlib.suppress(*UNREADABLE):
                if "failure" in json.loads(path.read_text(encoding="utf-8")):
                    path.unlink()
                    forgotten += 1
        return forgotten

    def failures(self) -> tuple[BuildFailure, ...]:
        """All recorded failures."""
        found = []
        for path in sorted(self._builds.glob("*.json")) if self._builds.is_dir() else ():
            with contextlib.suppress(*UNREADABLE):
                found.append(_failure_from(json.loads(path.read_text(encoding="utf-8"))["failure"]))
        return tuple(found)

    def _record(self, key: str, content: dict[str, Any]) -> None:
        self._builds.mkdir(parents=True, exist_ok=True)
        write_json(self._builds / f"{key}.json", content)


def put_inputs(staged: Path, inputs: Inputs) -> None:
    """Lay the record beside the files of an image that is put together."""
    name = f"inputs-{inputs.fit[:_NAMED]}-{inputs.tree[:_NAMED]}.json"
    (staged / name).write_text(inputs.as_json(), encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Replace the file ``path`` by ``content`` as JSON, so that a kill or a crash leaves the old or the new one."""
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    os.close(handle)
    try:
        _write(Path(name), content)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _rename_new(staged: Path, folder: Path) -> None:
    try:
        staged.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder)) from error
        raise
    _sync(folder.parent)


def _write(path: Path, content: object) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())


def _failure_from(content: dict[str, Any]) -> BuildFailure:
    """Raises KeyError, TypeError, ValueError for what is none."""
    stage, errors = BuildStage(content["stage"]), tuple(content["errors"])
    cause = FailureCause(content.get("cause", FailureCause.SOURCE))
    return BuildFailure(**content | {"stage": stage, "errors": errors, "cause": cause})


def _image_from(content: dict[str, Any], folder: Path, seconds: float) -> Image:
    modules, config, programs = folder / "modules", folder / "config", folder / "bin"
    return Image(
        **content
        | {
            "kernel": "" if programs.is_dir() else str(folder / "kernel"),
            "programs": str(programs) if programs.is_dir() else "",
            "modules": str(modules) if modules.is_dir() else "",
            "config": str(config) if config.is_file() else "",
            "tools": tuple((name, version) for name, version in content["tools"]),
            "commands": tuple(content["commands"]),
            "seconds": seconds,  # of this build; other sources that gave the same image took their own time
        }
    )


def _modified(path: Path) -> float:
    """Its mtime; 0 where another command has taken it away meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _hash(path: Path) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            content.update(chunk)
    return content.hexdigest()


def _sync_below(folder: Path) -> None:
    for path in [*paths_below(folder), folder]:
        if not path.is_symlink():
            _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
