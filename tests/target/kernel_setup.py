# SPDX-License-Identifier: GPL-2.0-only
"""A set-up with a fake kernel tree: sources, fragments and a target over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fake_kernel import FakeSources

from bisector.interfaces import CancelToken, Progress, ignore
from bisector.model import BuildConfig, BuildFailure, Candidate, Image
from bisector.system.proc import Processes
from bisector.target.kernel_source import KernelSource

SOURCE = {"drivers/core.c": "core 1\n", "drivers/disk.c": "disk 1\n"}


@dataclass
class KernelSetup:
    """One place to build in, with everything that belongs to it below ``root``."""

    root: Path
    sources: FakeSources = field(default_factory=FakeSources)
    messages: list[Progress] = field(default_factory=list)

    def candidate(self, revision: str = "one", files: dict[str, str] | None = None, **facts: object) -> Candidate:
        """A candidate whose tree has ``files`` over the usual ones."""
        return self.sources.add(self.root / "upstream", revision, SOURCE | (files or {}), **facts)

    def target(
        self, *, name: str = "a", fragment: str = "CONFIG_BLOCK=y\n", base: str = "", make: dict[str, str] | None = None
    ) -> KernelSource:
        """A target with its own build folders and cache below ``name``."""
        place = self.root / name
        place.mkdir(exist_ok=True)
        (place / "my.config").write_text(fragment)
        if base:
            (place / "base").write_text(base)
        config = BuildConfig(("./my.config",), "base" if base else "", tuple((make or {}).items()))
        return KernelSource(
            self.sources,
            place / "build-dirs",
            place / "cache",
            config,
            Processes(place / "processes"),
            jobs=2,
            folder=place,
        )

    def build(self, target: KernelSource, candidate: Candidate) -> Image:
        """An image, or the test fails with what the build said."""
        outcome = target.image(candidate, listener=self.messages.append, cancel=CancelToken())
        assert isinstance(outcome, Image), outcome
        return outcome

    def failure(self, target: KernelSource, candidate: Candidate) -> BuildFailure:
        """A failure, or the test fails."""
        outcome = target.image(candidate, listener=ignore, cancel=CancelToken())
        assert isinstance(outcome, BuildFailure), outcome
        return outcome

    def clean(self, candidate: Candidate, name: str = "clean") -> Image:
        """The image that a first build in a new place gives."""
        return self.build(self.target(name=name), candidate)

    def build_dir(self, name: str = "a", number: int = 0) -> Path:
        """A build folder's folder."""
        return self.root / name / "build-dirs" / str(number)

    def marks(self, name: str = "a", number: int = 0) -> Path:
        """Where builds in a build folder say what they do, and look whether they shall wait: they can write there."""
        folder = self.root / name / f"cache/ccache/marks-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def compiled(self, name: str = "a", number: int = 0) -> int:
        """How many objects were compiled in a build folder so far."""
        counted = self.marks(name, number) / "compiled"
        return len(counted.read_text().splitlines()) if counted.exists() else 0
