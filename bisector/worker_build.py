# SPDX-License-Identifier: GPL-2.0-only
"""How a worker of a cluster builds kernels and programs of QEMU: from trees that came as bundles, by its own ccache.

See worker.py; here is what takes part in builds alone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bisector.cache import at_work
from bisector.errors import InfraError
from bisector.execute.local import give_way
from bisector.execute.place import Place
from bisector.model import BuildFailure, Candidate, Image
from bisector.search.bundles import StoredTree, TreeStore
from bisector.system.sandbox import Sandbox
from bisector.target.kernel_source import KernelBuild, KernelSource
from bisector.target.qemu_source import QemuBuild, QemuSource
from bisector.worker import BUILD_DIRS, Site, packed_image, reporting, site, taken, token

LOG_LIMIT = 4 << 20
"""Bytes of the end of a build's log that come back."""


def held_trees(_: Place, sandbox: Sandbox) -> tuple[str, ...]:
    """Ids of the trees that this machine holds."""
    here = site(sandbox)
    return TreeStore.of(here.folders.cache, here.processes).trees()


def take_tree(place: Place, name: str, tree: str, sandbox: Sandbox) -> None:
    """Take in the tree whose bundle came in parts as ``name``. Raises InfraError, Interrupted."""
    here = site(sandbox)
    with taken(here, name) as bundle, at_work(here.folders.cache), token(place, here) as cancel:
        TreeStore.of(here.folders.cache, here.processes).take(bundle, tree, cancel)


@dataclass(frozen=True)
class BuildRequest:
    """One image for a worker to build.

    Args:
        key: names the build, as the campaign's host computed it: with another toolchain it is another one.
        jobs: parallel jobs.
        ahead: nobody waits for it.
    """

    candidate: Candidate
    tree: str
    how: KernelBuild | QemuBuild
    key: str
    jobs: int
    ahead: bool
    sandbox: Sandbox


@dataclass(frozen=True)
class BuildAnswer:
    """What a build gave. ``files``: the image's folder as a tar file; ``log``: the end of its output."""

    made: Image | BuildFailure
    files: bytes
    log: bytes


def build(place: Place, request: BuildRequest) -> BuildAnswer:
    """Build one image here, or take it from this machine's cache. Raises InfraError.

    One that nobody needs yet gives way to all else, in a thread of its own: this one runs trials, too.
    """
    if not request.ahead:
        return _build(place, request)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead", initializer=give_way) as thread:
        return thread.submit(_build, place, request).result()


def _build(place: Place, request: BuildRequest) -> BuildAnswer:
    here = site(request.sandbox)
    kept, store = here.folders.cache, TreeStore.of(here.folders.cache, here.processes)
    with at_work(kept), token(place, here) as cancel:
        source, build_dirs = store.source(request.tree), kept / "build-dirs" / f"{BUILD_DIRS}{store.folder.name}"
        target = _target(request, here, source, build_dirs)
        key = target.key(request.candidate)
        if key != request.key:
            tools = ", ".join(version for _, version in target.tools)
            raise InfraError(f"its tools are not those of the campaign any more: {tools}", hint="start it again")
        made = target.image(request.candidate, listener=reporting(place), cancel=cancel)
        files = b"" if isinstance(made, BuildFailure) else packed_image(made)
        return BuildAnswer(made, files, _end_of(target.images.log_of(key)))


def _target(request: BuildRequest, here: Site, source: StoredTree, build_dirs: Path) -> KernelSource | QemuSource:
    """What builds as the campaign's host would."""
    how, kept, jobs = request.how, here.folders.cache, request.jobs
    if isinstance(how, QemuBuild):
        return QemuSource(source, build_dirs, kept, how.programs, here.processes, jobs=jobs, environ=here.environ)
    return KernelSource(source, build_dirs, kept, how, here.processes, jobs=jobs, environ=here.environ)


def _end_of(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_LIMIT))
            return file.read()
    except OSError:
        return b""
