# SPDX-License-Identifier: GPL-2.0-only
"""``jobs.make_image`` on a worker: the tree goes there as a bundle, the image comes back.

Which build it is, is computed on the campaign's host from the tree, the config and the toolchain of the campaign; a
worker with another one would make another image, and gets no builds.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bisector import worker, worker_build
from bisector.execute.remote import Call, Worker, WorkerLost, WorkerMismatch
from bisector.execute.work import here
from bisector.interfaces import CancelToken, Listener, Phase, Progress
from bisector.jobs import in_slot
from bisector.model import BuildFailure, Candidate, Image
from bisector.search.bundles import make_bundle
from bisector.search.clone import PrivateClone
from bisector.system.sandbox import Sandbox
from bisector.target.images import identity_of_staged
from bisector.target.kernel_file import build_id_of_image
from bisector.target.kernel_source import KernelSource
from bisector.target.qemu_source import QemuSource
from bisector.transfer import arrived, parts_of

SILENT = 3600.0  # seconds without a line of make after which a build hangs; a large link takes minutes
MOST_BASES = 64  # trees of a worker that are remembered


def can_travel(target: object) -> bool:
    """Whether a worker can build what this target builds."""
    return isinstance(target, KernelSource | QemuSource) and isinstance(target.sources, PrivateClone)


@dataclass(eq=False)
class BuildNames:
    """The builds that are at work, by their names."""

    _taken: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: str) -> bool:
        """Whether nobody else is at that build: then the caller is, until ``free``."""
        with self._lock:
            free = key not in self._taken
            self._taken.add(key)
            return free

    def free(self, key: str) -> None:
        """It is made, or given up."""
        with self._lock:
            self._taken.discard(key)


@dataclass(eq=False)
class RemoteBuild:
    """``jobs.make_image`` from source on a worker. ``state``: our state folder; ``key``: names the build, which is made
    once where two want it at once (two searches of a night)."""

    sandbox: Sandbox
    state: Path
    at_work: BuildNames
    key: str
    target: KernelSource | QemuSource
    candidate: Candidate
    listener: Listener
    cancel: CancelToken
    heard_by: Listener = field(default=lambda _: None, init=False)
    _failed_on: set[str] = field(default_factory=set, init=False)  # names of workers

    @property
    def about(self) -> str:
        """What it is about, for the count of failures."""
        return str(self.candidate)

    def cancelled(self) -> bool:
        """Whether it is to stop."""
        return self.cancel.cancelled()

    def ready(self) -> bool:
        """Not while the same is built: then it is found built."""
        return self.at_work.take(self.key)

    def trouble(self, result: object) -> str:
        """A build that the harness fails has no result."""
        return ""

    def heard(self, message: Any) -> None:
        """Hand on an event of the build."""
        phase, detail, fraction = message
        self.heard_by(Progress(Phase(phase), detail, fraction))

    def fits(self, worker: Worker) -> int:
        """A worker that has built before holds objects and trees; one that failed at it comes last."""
        if worker.name in self._failed_on:
            return 1
        return 3 if worker.notes.get("built") else 2

    def run(self, call: Call) -> Image | BuildFailure:
        """Bring the tree there, have it built, and take over what came of it."""
        try:
            return self._run(call)
        finally:
            self.at_work.free(self.key)

    def _run(self, call: Call) -> Image | BuildFailure:
        sources, key = self.target.sources, self.key
        assert isinstance(sources, PrivateClone)  # can_travel
        tree = sources.tree_of(self.candidate)
        with in_slot(self.listener, str(self.candidate)) as job:
            self.heard_by = job.listener
            made = self.target.known(key)
            if made is None:
                self._failed_on.add(call.worker.name)
                bring_tree(call, sources, tree, self.sandbox, self.state, self.cancel)
                request = worker_build.BuildRequest(
                    self.candidate, tree, self.target.how, key, self._jobs(call.worker), here().ahead, self.sandbox
                )
                made = self._kept(key, call, call.run(worker_build.build, request, silence=SILENT))
                self._failed_on.discard(call.worker.name)
                call.worker.notes["built"] = True
            job.ended = "failed" if isinstance(made, BuildFailure) else ""
        return made

    def lost(self, what: str) -> Any:
        """It is built again on another worker."""
        raise WorkerLost(what)

    @staticmethod
    def _jobs(builder: Worker) -> int:
        return max(1, int(builder.notes.get("jobs", 1)) // max(1, builder.slots.get("build", 1)))

    def _kept(self, key: str, call: Call, answer: worker_build.BuildAnswer) -> Image | BuildFailure:
        """The image in our cache, with the name of its host. Raises WorkerMismatch for one that is not what it claims
        to be: nothing of it is kept then."""
        images, name = self.target.images, call.worker.name
        images.log_of(key).write_bytes(answer.log)
        if isinstance(answer.made, BuildFailure):
            failure = replace(answer.made, log=str(images.log_of(key)))
            self.target.failed(key, failure)
            return failure
        said = replace(answer.made, host=name)
        with images.staging() as staged:
            worker.unpack(answer.files, staged)
            (staged / "image.json").unlink(missing_ok=True)
            found = identity_of_staged(staged)
            if found != said.identity:
                raise WorkerMismatch(f"{name} built image {said.identity[:12]} and sent {found[:12]}")
            inside = build_id_of_image(staged / "kernel", self.target.processes) if said.build_id else ""
            if inside not in ("", said.build_id):
                raise WorkerMismatch(f"{name} says build id {said.build_id[:12]} of a kernel with {inside[:12]}")
            kept = images.keep(key, staged, said)
        call.worker.notes.setdefault("images", set()).add(kept.identity)
        return kept


def bring_tree(call: Call, clone: PrivateClone, tree: str, sandbox: Sandbox, state: Path, cancel: CancelToken) -> None:
    """Have the tree on the worker: what is missing there, on top of the trees that it holds.

    Raises WorkerLost, Interrupted.
    """
    with call.alone():
        held: list[str] | None = call.worker.notes.get("trees")
        if held is None:
            held = call.worker.notes["trees"] = list(call.ask(worker_build.held_trees, sandbox))
        if tree in held:
            return
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bundle-", dir=state) as folder:
            bundle = Path(folder) / "bundle"
            make_bundle(clone, tree, held, bundle, cancel)
            with bundle.open("rb") as file, arrived(call, parts_of(file), sandbox) as name:
                call.ask(worker_build.take_tree, name, tree, sandbox)
        held.insert(0, tree)
        del held[MOST_BASES:]
