# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree into git without a file of it written: tarball or folder → ``git fast-import``."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

IDENTITY = "Planted History <planted@localhost>"
EPOCH = 1_700_000_000  # the root's date; each commit is an hour later

# No setting of the person who runs it reaches the history.
GIT_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
}


def git(repo: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """Run git in ``repo`` and return what it printed. Raises CalledProcessError."""
    done = subprocess.run(
        ["git", "-c", "gc.auto=0", "-C", os.fspath(repo), *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        check=True,
        env=GIT_ENVIRONMENT,
    )
    return done.stdout.decode()


# ---- the tree --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One file of the tree: path from its top, git's mode, content (of a symbolic link: where it points)."""

    path: str
    mode: str
    content: bytes


def entries(tree: Path) -> Iterator[Entry]:
    """Every file of ``tree``: an upstream tarball with one folder at its top, or that folder unpacked."""
    return _entries_of_folder(tree) if tree.is_dir() else _entries_of_tarball(tree)


def _entries_of_folder(folder: Path) -> Iterator[Entry]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != ".git")
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in sorted(names + links):
            path = Path(parent, name)
            path_name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                target = os.readlink(path)  # noqa: PTH115 - a Path would turn ./a/ into a
                yield Entry(path_name, "120000", os.fsencode(target))
            else:
                yield Entry(path_name, _mode(path.stat().st_mode), path.read_bytes())


def _entries_of_tarball(tarball: Path) -> Iterator[Entry]:
    """xz unpacks in a process of its own, with both cores."""
    with contextlib.ExitStack() as stack:
        if tarball.name.endswith(".xz"):
            argv = ["xz", "--decompress", "--stdout", "--threads=0", os.fspath(tarball)]
            unpacker = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE))
            stack.callback(unpacker.kill)
            archive = stack.enter_context(tarfile.open(fileobj=unpacker.stdout, mode="r|"))
        else:
            archive = stack.enter_context(tarfile.open(tarball, mode="r|*"))
        for member in archive:
            _, _, path = member.name.removeprefix("./").partition("/")
            if member.issym():
                yield Entry(path, "120000", os.fsencode(member.linkname))
            elif member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                yield Entry(path, _mode(member.mode), content.read())


def _mode(bits: int) -> str:
    return "100755" if bits & 0o100 else "100644"


# ---- into git --------------------------------------------------------------------------------------------------------


class Importer:
    """A stream into ``git fast-import``. Without ``finish`` nothing of it becomes visible in the repository."""

    def __init__(self, repo: Path) -> None:
        self._process = subprocess.Popen(
            ["git", "-c", "core.compression=1", "-C", os.fspath(repo), "fast-import", "--quiet", "--done"],
            stdin=subprocess.PIPE,
            env=GIT_ENVIRONMENT,
        )
        assert self._process.stdin is not None
        self._stream: IO[bytes] = self._process.stdin

    def commit(self, ref: str, number: int, subject: str, parents: tuple[str, ...]) -> None:
        """Open a commit; ``file`` calls follow. ``parents``: marks (``:3``) or commit ids."""
        date = EPOCH + 3600 * number
        message = subject.encode()
        lines = [f"commit {ref}", f"mark :{number + 1}", f"author {IDENTITY} {date} +0000"]
        lines += [f"committer {IDENTITY} {date} +0000", f"data {len(message)}"]
        self._stream.write("\n".join(lines).encode() + b"\n" + message + b"\n")
        for word, parent in zip(("from", "merge"), parents, strict=False):
            self._stream.write(f"{word} {parent}\n".encode())

    def file(self, entry: Entry) -> None:
        """Put one file into the open commit."""
        path = entry.path.replace("\\", "\\\\").replace('"', '\\"')
        self._stream.write(f'M {entry.mode} inline "{path}"\ndata {len(entry.content)}\n'.encode())
        self._stream.write(entry.content + b"\n")

    def reset(self, ref: str, target: str) -> None:
        """Point ``ref`` to a mark or a commit id."""
        self._stream.write(f"reset {ref}\nfrom {target}\n\n".encode())

    def finish(self) -> None:
        """End the stream. Raises CalledProcessError when git refused it."""
        self._stream.write(b"done\n")
        self._stream.close()
        if self._process.wait():
            raise subprocess.CalledProcessError(self._process.returncode, "git fast-import")

    def abandon(self) -> None:
        """Stop without a trace."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._stream.close()
