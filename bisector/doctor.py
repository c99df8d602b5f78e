# SPDX-License-Identifier: GPL-2.0-only
"""What this host lacks to run recipes, with the command that installs it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import BisectorError, InfraError
from bisector.layers import arch, table
from bisector.layers.row import Program, Row
from bisector.recipe.matrix import apply, cells, controls
from bisector.recipe.model import Recipe
from bisector.recipe.programs import StepProgram, of_steps
from bisector.store import Store
from bisector.system.distribution import install
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST, OFF, PACKAGE, find_program
from bisector.system.xdg import Folders
from bisector.targets import KERNEL_BUILD, KERNEL_FILES, QEMU_BUILD, QEMU_FILES, BuildFile, subject_of
from bisector.trial.programs import MissingProgram, missing
from bisector.trial.run import find_vng

GIB = 1 << 30
PKG_CONFIG = ("lib/*/pkgconfig", "lib/pkgconfig", "lib64/pkgconfig", "share/pkgconfig")  # below /usr
SANDBOX_REMEDY = (
    "allow user namespaces to users (sysctl kernel.unprivileged_userns_clone=1; where AppArmor restricts them, a "
    "profile for bwrap), in a container: docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN "
    f"--security-opt apparmor=unconfined; else {OFF}"
)
GIT_WITH_MERGE_TREE = (2, 38)
"""The first git whose merge-tree writes a tree (git 2.38 release notes)."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``needed``: without it the recipe (or every recipe) cannot run."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


VM = (
    Program(arch.VM.qemu, "qemu-system-x86", "boots the VM, and the inner guest"),
    Program("busybox", "busybox-static", "the inner guest's userspace"),
    Program("file", "file", "virtme-ng finds a kernel's modules by the release that it shows"),
)
VOLATILE = (Program("qemu-img", "qemu-utils", "makes volatile disks"),)
EXTENTS = (Program("filefrag", "e2fsprogs", "says where a file of the inner guest lies"),)


def examine(recipe: Recipe | None, folders: Folders, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Look at everything a recipe needs (or, without one, everything any shipped recipe needs)."""
    path = f"{environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    findings = [_python(), _git(folders, path), _sandbox(folders)]
    findings += [_program(program, path) for program in _programs(recipe)]
    if recipe is None or recipe.vm is not None:
        findings += [_vng(environ), _vm_python()]
    if recipe is None or recipe.vm is not None or recipe.guest:
        findings.append(_kvm())
    findings += [_space("state", folders.state, GIB), _space("cache", folders.cache, 10 * GIB)]
    findings.append(_store(folders))
    files = subject_of(recipe).build_files if recipe else (*KERNEL_FILES, *QEMU_FILES)
    findings += [_library(file) if file.pkg_config else _header(file) for file in files]
    if recipe is not None:
        findings += _steps(recipe, folders, environ)
    return tuple(findings)


def as_text(findings: tuple[Finding, ...]) -> str:
    """A line per finding, then the one command that installs what is missing."""
    lines = []
    for finding in findings:
        mark = "ok     " if finding.ok else ("MISSING" if finding.needed else "absent ")
        lines.append(f"{mark} {finding.name}: {finding.found}")
        if not finding.ok and finding.remedy:
            lines.append(f"        {finding.remedy}")
    broken = [finding for finding in findings if finding.needed and not finding.ok]
    lines += ["", "this host can run it" if not broken else f"{len(broken)} to fix"]
    return "\n".join(lines) + "\n"


def _programs(recipe: Recipe | None) -> Iterator[Program]:
    if recipe is None:
        yield from dict.fromkeys((*KERNEL_BUILD, *VM, *_of_storage(table.ROWS.values()), *EXTENTS, *QEMU_BUILD[:3]))
        return
    layers = [*recipe.storage.values(), *(recipe.guest.storage.values() if recipe.guest else ())]
    yield from subject_of(recipe).build_programs
    if recipe.vm is not None or recipe.guest:
        yield VM[0]
    if recipe.guest and recipe.guest.os == "linux":
        yield VM[1]
        files = any(table.KINDS[layer.kind].mounted for layer in recipe.guest.storage.values())
        yield from EXTENTS if files and recipe.has_blocks_in_guest else ()
    yield from VOLATILE if any(layer.words.get("volatile") for layer in layers) else ()
    yield from _of_storage(table.ROWS[layer.kind, layer.type] for layer in layers)


def _of_storage(rows: Iterable[Row]) -> dict[Program, None]:
    return dict.fromkeys(program for row in rows for program in row.programs)


def _steps(recipe: Recipe, folders: Folders, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The programs of the recipe's own steps, in any of its cells and controls."""
    processes = Processes(folders.state / "processes")
    wanted: dict[StepProgram, MissingProgram | None] = {}
    for cell in (*cells(recipe), *controls(recipe)):
        if not cell.not_applicable:
            applied = apply(recipe, cell)
            absent = {one.program: one for one in missing(applied, environ, processes)}
            wanted |= {program: absent.get(program) for program in of_steps(applied)}
    for program, lacking in wanted.items():
        name = f"step {program.step}: {program.script or program.name}" if program.step else f"needs: {program.name}"
        found = program.name if program.script else "there"
        yield Finding(name, lacking is None, lacking.what if lacking else found, lacking.hint if lacking else "")


def _program(program: Program, path: str) -> Finding:
    where = shutil.which(program.name, path=path)
    remedy = f"{install(program.package)}   ({program.purpose})"
    return Finding(program.name, where is not None, where or "not in PATH", remedy, program.needed)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), f"{version} ({sys.executable})", "Python 3.11 or newer")


def _git(folders: Folders, path: str) -> Finding:
    remedy = install("git")
    if not shutil.which("git", path=path):
        return Finding("git", False, "not in PATH", remedy)
    finished = Processes(folders.state / "processes").run(["git", "--version"], access=HOST, check=False)
    numbers = re.findall(r"\d+", finished.stdout)
    version = tuple(map(int, numbers[:2]))
    return Finding("git", version >= GIT_WITH_MERGE_TREE, finished.stdout.strip(), "git 2.38 or newer")


def _sandbox(folders: Folders) -> Finding:
    """Whether code of others can be confined here: tried for real."""
    try:
        Processes(folders.state / "processes").check_sandbox()
    except InfraError as error:
        return Finding(PACKAGE, False, error.what, SANDBOX_REMEDY if find_program() else error.hint)
    return Finding(PACKAGE, True, f"{find_program()}, confines what is built and tried")


def _vng(environ: Mapping[str, str]) -> Finding:
    vng = find_vng(environ)
    there = Path(vng).is_absolute()
    return Finding("virtme-ng", there, vng if there else "vng not found", "pip install virtme-ng")


def _vm_python() -> Finding:
    there = Path("/usr/bin/python3").exists()
    found = "/usr/bin/python3" if there else "no /usr/bin/python3: the VM will use this Python's real path"
    return Finding("python in the VM", there, found, install("python3"), needed=False)


def _kvm() -> Finding:
    """Existence of /dev/kvm proves nothing: the first trial tries it with a real boot and remembers the answer."""
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Finding("/dev/kvm", True, "opens; the first trial boots with it once and remembers whether that worked")
    what = "not accessible: trials use software emulation"
    return Finding("/dev/kvm", False, what, "add yourself to the group kvm", needed=False)


def _space(name: str, folder: Path, wanted: int) -> Finding:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / GIB:.0f} GiB free"
    return Finding(f"{name} folder", free >= wanted, found, f"free space: {wanted // GIB} GiB wanted")


def _store(folders: Folders) -> Finding:
    try:
        Store(folders.state).close()
    except BisectorError as error:
        return Finding("store", False, error.what, error.hint)
    return Finding("store", True, str(folders.state / "bisector.db"))


def _library(library: BuildFile) -> Finding:
    """What a configure script asks pkg-config for."""
    places = (path for place in PKG_CONFIG for path in Path("/usr").glob(f"{place}/{library.name}.pc"))
    return _build_file(library, next(places, None))


def _header(header: BuildFile) -> Finding:
    places = [Path("/usr/include"), *Path("/usr/include").glob("*-linux-gnu")]
    return _build_file(header, next((path for place in places if (path := place / header.name).exists()), None))


def _build_file(wanted: BuildFile, found: Path | None) -> Finding:
    purpose = f"   ({wanted.purpose})" if wanted.purpose else ""
    remedy = install(wanted.package) + purpose
    return Finding(wanted.name, found is not None, str(found or "not found"), remedy, wanted.needed)
