# SPDX-License-Identifier: GPL-2.0-only
"""Builds a small git history over the distribution's QEMU source: one commit serialises discards, a later one does not.

    python -m tests.e2e.qemu_history --tree TARBALL_OR_FOLDER --out REPO

The change itself is made here at run time (SERIALISED): discards and write zeroes join the mechanism of tracked
requests that the block layer has for others, so that they wait for writes to the same cluster, and these for them.
Dates and names are fixed: the same tree gives the same commit ids on each machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.e2e.edits import Edit, TreeUnfit, _swap, append, take_back
from tests.e2e.fastimport import EPOCH, Entry, Importer, entries, git

REQUESTS = "block/io.c"
_RACING = (
    "    ret = bdrv_co_write_req_prepare(child, offset, bytes, req, flags);\n",
    "    ret = bdrv_co_write_req_prepare(child, offset, bytes, &req, 0);\n",
)
_SERIALISED = (
    """\
    /* Write zeroes may free the cluster that a write in flight is about to map. */
    ret = bdrv_co_write_req_prepare(child, offset, bytes, req,
                                    flags & BDRV_REQ_ZERO_WRITE ?
                                    flags | BDRV_REQ_SERIALISING : flags);
""",
    """\
    /* A discard may free the cluster that a write in flight is about to map. */
    ret = bdrv_co_write_req_prepare(child, offset, bytes, &req,
                                    BDRV_REQ_SERIALISING);
""",
)
_BROKEN = "\nint qcow2_limits(void)\n{\n    return qcow2_limits_of_nobody;\n}\n"


class Role(StrEnum):
    """What a planted commit is there for."""

    ROOT = "root"
    DOCUMENTATION = "documentation"
    UNBUILT = "not built"
    COMMENT = "comment"
    CHANGED = "built, and of no effect"
    FIX = "fix"
    CULPRIT = "culprit"
    UNBUILDABLE = "does not compile"
    REPAIR = "repair"


@dataclass(frozen=True)
class Planned:
    """One commit to be made."""

    role: Role
    subject: str
    edit: Edit


@dataclass(frozen=True)
class Manifest:
    """What was planted: ids in order; ``start`` has the race, ``fixed`` has not, ``end`` has it again."""

    version: str
    commits: tuple[str, ...]
    roles: tuple[str, ...]

    def oid(self, role: Role) -> str:
        """The commit of ``role``; for roles that one commit alone has."""
        return self.commits[self.roles.index(role.value)]

    def answer(self, oid: str) -> str:
        """The verdict that the commit must get."""
        place = self.commits.index(oid)
        if self.roles[place] == Role.UNBUILDABLE:
            return "skip"
        fix, culprit = (self.roles.index(role.value) for role in (Role.FIX, Role.CULPRIT))
        return "good" if fix <= place < culprit else "bad"


def serialise(text: str) -> str:
    """block/io.c with discards and write zeroes that wait for writes to the same cluster. Raises TreeUnfit."""
    for racing, serialised in zip(_RACING, _SERIALISED, strict=True):
        text = _swap(text, racing, serialised, REQUESTS)
    return text


def race(text: str) -> str:
    """The inverse of ``serialise``."""
    for racing, serialised in zip(_RACING, _SERIALISED, strict=True):
        text = _swap(text, serialised, racing, REQUESTS)
    return text


def _note(role: Role, path: str) -> Planned:
    if role is Role.DOCUMENTATION:
        return Planned(role, f"{path}: add a note", Edit(path, append("\n.. Part of the notes on storage.\n")))
    return Planned(role, f"{path}: say where the notes are", Edit(path, append("\n/* The notes lie in docs/. */\n")))


PLAN = (
    _note(Role.DOCUMENTATION, "docs/about/index.rst"),
    _note(Role.UNBUILT, "hw/net/e1000.c"),
    _note(Role.COMMENT, "block/null.c"),
    Planned(Role.FIX, "block: serialise discard and write zeroes", Edit(REQUESTS, serialise)),
    _note(Role.DOCUMENTATION, "docs/tools/qemu-img.rst"),
    _note(Role.COMMENT, "block/qcow2-cache.c"),
    _note(Role.UNBUILT, "hw/ide/core.c"),  # tag fixed
    Planned(
        Role.CHANGED,
        "qemu-io-cmds: keep a figure",
        Edit("qemu-io-cmds.c", append("\nconst int qemu_io_figure = 42;\n")),
    ),
    _note(Role.DOCUMENTATION, "docs/system/images.rst"),
    Planned(Role.CULPRIT, "block: do not hold discards up", Edit(REQUESTS, race)),
    Planned(Role.UNBUILDABLE, "qcow2: limits of nobody", Edit("block/qcow2-bitmap.c", append(_BROKEN))),
    Planned(Role.REPAIR, "qcow2: no limits of nobody", Edit("block/qcow2-bitmap.c", take_back(_BROKEN))),
    _note(Role.UNBUILT, "hw/scsi/scsi-disk.c"),
    _note(Role.COMMENT, "block/qcow2-snapshot.c"),
    _note(Role.DOCUMENTATION, "docs/tools/qemu-nbd.rst"),
)
TAGS = {"start": 0, "fixed": 7, "end": len(PLAN)}


def build(tree: Path, out: Path) -> Manifest:
    """Build the repository ``out`` (must not exist) from a tarball or an unpacked folder.

    Raises:
        TreeUnfit: the tree does not look as expected; nothing is left behind.
        FileExistsError: ``out`` exists.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; give a new path or remove it")
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        git(partial, "init", "--quiet", "--initial-branch=main")
        _import(partial, tree)
        git(partial, "checkout", "--quiet", "--force", "main")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return read(out)


def read(repo: Path) -> Manifest:
    """What was planted in ``repo``, matched to the plan by its commits' dates."""
    made: dict[int, str] = {}
    for line in git(repo, "log", "--format=%ct %H", "end").splitlines():
        date, oid = line.split()
        made[(int(date) - EPOCH) // 3600] = oid
    roles = (Role.ROOT, *(commit.role for commit in PLAN))
    version = git(repo, "show", "start:VERSION").strip()
    return Manifest(version, tuple(made[number] for number in range(len(roles))), tuple(roles))


def _import(repo: Path, tree: Path) -> None:
    wanted = {commit.edit.path for commit in PLAN}
    state: dict[str, Entry] = {}
    importer = Importer(repo)
    try:
        importer.commit("refs/heads/main", 0, "Import the tree", ())
        for entry in entries(tree):
            if entry.path in wanted:
                state[entry.path] = entry
            importer.file(entry)
        if missing := sorted(wanted - set(state)):
            raise TreeUnfit(f"the tree lacks {', '.join(missing)}")
        for number, commit in enumerate(PLAN, start=1):
            entry = state[commit.edit.path]
            changed = dataclasses.replace(entry, content=commit.edit.change(entry.content.decode()).encode())
            state[entry.path] = changed
            importer.commit("refs/heads/main", number, commit.subject, (f":{number}",))
            importer.file(changed)
        for tag, number in TAGS.items():
            importer.reset(f"refs/tags/{tag}", f":{number + 1}")
        importer.finish()
    except BaseException:
        importer.abandon()
        raise


def main(argv: list[str]) -> int:
    """Command line; prints the commits with their roles."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e.qemu_history", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--tree", type=Path, required=True, help="tarball or folder of QEMU 7.2 or later")
    parser.add_argument("--out", type=Path, required=True, help="the repository to make")
    given = parser.parse_args(argv)
    try:
        manifest = build(given.tree, given.out)
    except (TreeUnfit, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    for oid, role in zip(manifest.commits, manifest.roles, strict=True):
        print(oid, role)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
