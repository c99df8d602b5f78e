# SPDX-License-Identifier: GPL-2.0-only
"""A campaign's side of a cluster with real workers, real git and real bundles; kernels are small (fake_kernel.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bisector.execute.cluster import ClusterExecutor
from bisector.execute.executor import Slot
from bisector.execute.start import StartSetting
from bisector.interfaces import CancelToken, Progress
from bisector.jobs import make_image
from bisector.model import BuildConfig, BuildFailure, Candidate, Image, TargetKind
from bisector.remote import ClusterSetting, cluster_executor
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import UserRepository
from bisector.system.proc import Processes
from bisector.system.sandbox import CONFINED
from bisector.target.kernel_source import KernelSource
from tests.search.planted import git
from tests.target.fake_kernel import FakeTree

ROOT = Path(__file__).parents[2]
SOURCE = {"drivers/core.c": "core 1\n", "drivers/disk.c": "disk 1\n"}


@dataclass
class Lab:
    """A repository of small kernels, our clone of it, and a cluster. ``root``: where all of it lies."""

    root: Path
    executor: ClusterExecutor | None = None
    seen: list[Progress] = field(default_factory=list)

    @property
    def repo(self) -> Path:
        return self.root / "linux"

    @property
    def processes(self) -> Processes:
        return Processes(self.root / "processes")

    def commit(self, files: dict[str, str] | None = None) -> Candidate:
        """A commit more."""
        if not self.repo.exists():
            self.repo.mkdir()
            git(self.repo, "init", "-q", "-b", "main")
        FakeTree(self.repo, SOURCE | (files or {})).write()
        git(self.repo, "add", "-A")
        git(self.repo, "commit", "-q", "-m", "a change", "--allow-empty")
        return Candidate(TargetKind.KERNEL_SOURCE, git(self.repo, "rev-parse", "HEAD"))

    def target(self, cache: str = "cache") -> KernelSource:
        """What builds the kernels."""
        (self.root / "my.config").write_text("CONFIG_BLOCK=y\n")
        clone = PrivateClone.of(UserRepository(self.repo), self.root / "state", self.processes)
        build_dirs = self.root / cache / "build-dirs"
        config = BuildConfig(("./my.config",))
        return KernelSource(clone, build_dirs, self.root / cache, config, self.processes, jobs=2, folder=self.root)

    @contextmanager
    def cluster(self, workers: int = 2) -> Iterator[ClusterExecutor]:
        """Real workers of a real scheduler."""
        state = self.root / "state"
        setting = ClusterSetting(
            f"local:{workers}", (), self.root / "cache", state, CONFINED, self.seen.append, ahead=1
        )
        starting = StartSetting(state, self.processes, {**os.environ, "PYTHONPATH": str(ROOT)})
        with cluster_executor(setting, starting) as executor:
            self.wait(lambda: sum(w.checked for w in executor.cluster.workers.values()) == workers)
            self.executor = executor
            try:
                yield executor
            finally:
                executor.shutdown(cancel_futures=True)

    def submit(self, target: KernelSource, candidate: Candidate, slot: Slot = "build") -> Any:
        """Begin a build."""
        assert self.executor
        return self.executor.submit(slot, make_image, target, candidate, self.seen.append, CancelToken())

    def image(self, target: KernelSource, candidate: Candidate) -> Image:
        """An image, or the test fails with what the build said."""
        made = self.submit(target, candidate).result(60)
        assert isinstance(made, Image), made
        return made

    def failure(self, target: KernelSource, candidate: Candidate) -> BuildFailure:
        """A failure, or the test fails."""
        made = self.submit(target, candidate).result(60)
        assert isinstance(made, BuildFailure), made
        return made

    @property
    def said(self) -> list[str]:
        """What a person saw."""
        return [progress.detail for progress in self.seen]

    def cache_of(self, worker: str) -> Path:
        """The cache folder of a worker."""
        return self.root / "state/workers" / worker / "cache/bisector"

    @staticmethod
    def wait(true: Callable[[], bool], seconds: float = 30) -> None:
        """Until it is true; fails after a while."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.05)
