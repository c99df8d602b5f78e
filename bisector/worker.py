# SPDX-License-Identifier: GPL-2.0-only
"""What a worker of a cluster does: functions that run on its machine, with its own cache and state folders.

Each takes where it runs (execute/place.py) first. What they are given is content: a worker needs no file of the
campaign's host.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bisector import __version__, cache, doctor, targets
from bisector.agent.plan import File, Plan
from bisector.cache import at_work
from bisector.codec import digest
from bisector.errors import BisectorError, InfraError
from bisector.execute.place import TICK, Place
from bisector.interfaces import CancelToken, Listener, Progress
from bisector.model import Image, Observation, TargetKind
from bisector.recipe.model import Recipe
from bisector.system.files import write_whole
from bisector.system.proc import Processes
from bisector.system.sandbox import PACKAGE, Sandbox
from bisector.system.trees import remove_tree
from bisector.system.xdg import Folders, folders
from bisector.target import kernel_source, programs
from bisector.target.images import Images
from bisector.target.make import Make, environment
from bisector.target.qemu_tools import QemuTools
from bisector.trial import accel
from bisector.trial.run import VmRunner
from bisector.trial.sandbox import SandboxRunner

BUILDERS = frozenset(
    [program.name for program in (*targets.KERNEL_BUILD, *targets.QEMU_BUILD)]
    + [file.name for file in (*targets.KERNEL_FILES, *targets.QEMU_FILES)]
)
"""Findings of doctor that a machine needs to build; the others it needs to run trials."""


COMMON = frozenset({"python", "git", PACKAGE, "state folder", "cache folder", "store"})
"""Findings that a build needs as a trial does."""

CACHE_LIMIT = 10_000_000_000
"""Bytes of images and files of recipes that a worker keeps from earlier campaigns."""

ABANDONED = 24 * 3600.0  # seconds after which what did not arrive whole belongs to nobody

BUILD_DIRS = "trees-"
"""How the folder with the build folders of a store of trees begins."""

EVENTS = 0.25
"""Seconds between two events of one phase that are sent: make prints thousands of lines."""


Tools = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Site:
    """A worker's machine."""

    folders: Folders
    environ: Mapping[str, str]
    processes: Processes


def site(sandbox: Sandbox) -> Site:
    """This machine, as its environment says."""
    environ = dict(os.environ)
    places = folders(environ)
    return Site(places, environ, Processes(places.state / "processes", sandbox))


@dataclass(frozen=True)
class Facts:
    """A worker's answer to ``check``.

    Args:
        missing: a line for each thing that is, by what needs it (build, trial).
        jobs: processors.
        tools: see ``toolchain``.
        built: whether it has built before, and holds objects.
    """

    version: str
    missing: Mapping[str, tuple[str, ...]]
    kvm: bool
    jobs: int
    tools: Tools = ()
    built: bool = False


def check(_: Place, recipes: tuple[Recipe, ...], sandbox: Sandbox) -> Facts:
    """What this machine lacks to run the recipes, as doctor says it."""
    here = site(sandbox)
    here.folders.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    here.processes.reap_orphans()
    cache.prune_received(here.folders, CACHE_LIMIT)
    _sweep(arriving(here))
    missing: dict[str, dict[str, None]] = {"build": {}, "trial": {}}
    for recipe in recipes:
        for finding in doctor.examine(recipe, here.folders, here.environ):
            if finding.ok or not finding.needed or (finding.name == PACKAGE and sandbox.off):
                continue
            line = f"{finding.name}: {finding.found}"
            for slot in _needing(finding.name):
                missing[slot][line] = None
    kvm = os.access(accel.DEVICE, os.R_OK | os.W_OK)
    lacks = {slot: tuple(lines) for slot, lines in missing.items()}
    built = any((here.folders.cache / "build-dirs").glob(f"{BUILD_DIRS}*/*/state.json"))
    return Facts(__version__, lacks, kvm, os.cpu_count() or 1, toolchain(recipes, here), built)


def toolchain(recipes: Iterable[Recipe], here: Site) -> Tools:
    """Name and version of what builds the recipes' kernels and programs here, as far as it is there, with the libraries
    that programs are linked to: equal ones build equal images of equal sources."""
    ccache = here.folders.cache / "ccache"
    environ = environment(here.environ, ccache)
    found: dict[tuple[str, str], None] = {}
    subjects = [targets.subject_of(recipe) for recipe in recipes]
    for names in {subject.programs for subject in subjects if subject.commits is TargetKind.QEMU_SOURCE}:
        with suppress(BisectorError):
            found |= dict.fromkeys(QemuTools(here.environ, ccache, here.processes).versions(names))
    for variables in {subject.make for subject in subjects if subject.commits is TargetKind.KERNEL_SOURCE}:
        with suppress(BisectorError, IndexError):
            used = kernel_source.toolchain(Make(variables), environ, here.processes)
            found |= {(name, version): None for name, version in used if name != "make"}  # that one changes no kernel
    return tuple(found)


def _needing(name: str) -> tuple[str, ...]:
    if name in BUILDERS:
        return ("build",)
    return ("build", "trial") if name in COMMON else ("trial",)


def _sweep(folder: Path) -> None:
    """Remove what a campaign began to send and did not end."""
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


def arriving(here: Site) -> Path:
    """Folder of what comes in parts."""
    return here.folders.state / "arriving"


def take_part(_: Place, name: str, data: bytes, sandbox: Sandbox) -> None:
    """Append to a file that comes in parts. ``name``: by chance, without a slash."""
    parts = arriving(site(sandbox))
    parts.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (parts / name).open("ab") as file:
        file.write(data)


def drop_parts(_: Place, name: str, sandbox: Sandbox) -> None:
    """Remove what came of a file that nobody waits for any more."""
    (arriving(site(sandbox)) / name).unlink(missing_ok=True)


@contextmanager
def taken(here: Site, name: str) -> Iterator[Path]:
    """A file that came in parts, which is gone afterwards."""
    path = arriving(here) / name
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


# ---- images and files


def packed(folder: Path) -> bytes:
    """All below a folder as a tar file; links stay links."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name)
    return data.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Put a tar file into a folder, and nothing outside of it. Raises InfraError for one that is damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InfraError(f"what came over the network is damaged: {error}", hint="repeat it") from error


def packed_image(image: Image) -> bytes:
    """The folder of an image in the cache."""
    return packed(Path(image.programs or image.kernel).parent)


def keep_image(images: Images, key: str, image: Image, data: bytes) -> Image:
    """Put an image that came over the network into the cache. Its identity is that of what came."""
    with images.staging() as staged:
        unpack(data, staged)
        (staged / "image.json").unlink(missing_ok=True)
        return images.keep(key, staged, image)


def has_image(_: Place, identity: str, sandbox: Sandbox) -> bool:
    """Whether this machine holds the image."""
    return Images(site(sandbox).folders.cache).held(identity) is not None


def take_image(_: Place, image: Image, name: str, sandbox: Sandbox) -> str:
    """Keep an image that came in parts as ``name``. Returns its identity by its content."""
    here = site(sandbox)
    with taken(here, name) as file, at_work(here.folders.cache):
        images = Images(here.folders.cache)
        return keep_image(images, digest("received", image.identity), image, file.read_bytes()).identity


def missing_libraries(_: Place, identity: str, sandbox: Sandbox) -> tuple[str, ...]:
    """What the programs of an image need of this machine's libraries and do not find."""
    here = site(sandbox)
    image = Images(here.folders.cache).held(identity)
    return programs.missing_libraries(Path(image.programs), here.processes) if image and image.programs else ()


def missing_files(_: Place, hashes: tuple[str, ...], sandbox: Sandbox) -> tuple[str, ...]:
    """Which of a recipe's files, by SHA-256, this machine does not hold."""
    place = _files(sandbox)
    return tuple(each for each in hashes if not (place / each).is_file())


def take_file(_: Place, sha256: str, name: str, sandbox: Sandbox) -> None:
    """Keep a file of a recipe that came in parts as ``name``: what is here under its hash is not sent again.

    Raises InfraError for one that is damaged, OSError.
    """
    place = _files(sandbox)
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f".{sha256}-{os.getpid()}-{threading.get_ident()}"
    try:
        with taken(site(sandbox), name) as file:
            shutil.copyfile(file, draft)
        with draft.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
            os.fsync(content.fileno())
        if found != sha256:
            raise InfraError(f"a file of the recipe came as {found[:12]} and is {sha256[:12]}", hint="repeat it")
        draft.rename(place / sha256)
    finally:
        draft.unlink(missing_ok=True)


def _files(sandbox: Sandbox) -> Path:
    return site(sandbox).folders.cache / "files"


# ---- trials


@dataclass(frozen=True)
class TrialRequest:
    """One trial for a worker.

    Args:
        identity: of the image.
        vm: whether it runs in a VM.
        accel: what it runs on, without a VM its guest; "" where the plan says so or nothing is to be accelerated.
        accelerated: what the campaign's trials run on, as trial/accel.py keeps it; "" before the first.
        campaign: its id.
    """

    identity: str
    plan: Plan
    vm: bool
    accel: str
    boot_deadline: float
    campaign: str
    accelerated: str
    sandbox: Sandbox


@dataclass(frozen=True)
class TrialAnswer:
    """What a worker saw. ``files``: the trial's folder as a tar file; ``accelerated``: see TrialRequest."""

    observation: Observation
    files: bytes
    accelerated: str


def run_trial(place: Place, request: TrialRequest) -> TrialAnswer:
    """Run one trial here."""
    here = site(request.sandbox)
    images = Images(here.folders.cache)
    work = here.folders.state / "work" / f"{request.campaign}-{request.plan.token}"
    campaign = here.folders.state / "of" / request.campaign
    plan = replace(request.plan, files=tuple(_placed(file, _files(request.sandbox)) for file in request.plan.files))
    image = images.held(request.identity)
    if image is None:
        raise InfraError(f"the image {request.identity[:12]} is gone from the worker's cache", hint="repeat it")
    campaign.mkdir(mode=0o700, parents=True, exist_ok=True)
    if request.accelerated:
        write_whole(campaign / accel.MEMORY, request.accelerated)
    try:
        vm = VmRunner(
            here.processes, here.folders.state, here.environ, request.accel or "auto", request.boot_deadline,
            images.held, campaign,
        )  # fmt: skip
        kvm = vm if request.accel else None
        runner = vm if request.vm else SandboxRunner(here.processes, here.environ, images.held, kvm)
        with at_work(here.folders.cache), token(place, here) as cancel:
            observation = runner.run(image, plan, work, listener=reporting(place), cancel=cancel)
        files = packed(work) if work.is_dir() else packed_nothing()
        return TrialAnswer(observation, files, _text(campaign / accel.MEMORY))
    finally:
        remove_tree(work, ignore_errors=True)


def packed_nothing() -> bytes:
    """A tar file that is empty."""
    data = io.BytesIO()
    tarfile.open(fileobj=data, mode="w").close()
    return data.getvalue()


def _placed(file: File, folder: Path) -> File:
    return replace(file, path=str(folder / file.sha256))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


@contextmanager
def token(place: Place, here: Site) -> Iterator[CancelToken]:
    """A token of this machine that is set when the campaign stops the job."""
    path = here.folders.state / f"cancel-{os.getpid()}-{threading.get_ident()}"
    cancel, ended = CancelToken(str(path)), threading.Event()

    def watch() -> None:
        while not ended.wait(TICK):
            if place.stop.is_set():
                cancel.cancel()
                return

    watcher = threading.Thread(target=watch, name="cancel", daemon=True)
    watcher.start()
    try:
        yield cancel
    finally:
        ended.set()
        watcher.join()
        cancel.forget()


def reporting(place: Place) -> Listener:
    """A listener that sends what happens to the campaign; of many events of one phase in short time the first alone."""
    last = ("", 0.0)

    def listen(progress: Progress) -> None:
        nonlocal last
        phase, now = str(progress.phase), time.monotonic()
        if phase != last[0] or now - last[1] >= EVENTS or progress.fraction is None:
            last = (phase, now)
            place.send((phase, progress.detail, progress.fraction))

    return listen
