# SPDX-License-Identifier: GPL-2.0-only
"""The protocols between packages: who makes images, who runs trials, and what is reported meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from bisector.agent.plan import Plan
from bisector.execute.work import Work
from bisector.model import BuildFailure, Candidate, Image, Judgement, Observation, Outcome, Trial


class Phase(StrEnum):
    """What an event is about: the field ``event`` of a JSON line, and whether and how a person sees it."""

    STAGE = "stage"  # something new begins
    CANDIDATE = "candidate"  # a candidate's turn
    CHECKOUT = "checkout"
    DOWNLOAD = "download"
    UNPACK = "unpack"
    BUILD = "build"
    SAME_INPUTS = "same_inputs"  # no build is needed, another one read the same
    ACCEL = "accel"  # what runs the VM is known
    BOOT = "boot"
    STORAGE = "storage"
    WORKLOAD = "workload"
    TAKEN = "taken"  # a slot begins its work
    FREE = "free"  # a slot has ended its work
    TRIAL = "trial"
    VERDICT = "verdict"
    SEARCH = "search"  # git asks for the next commit
    OUTCOME = "outcome"
    NIGHT = "night"
    ANSWER = "answer"  # of a night's question
    REGRESSION = "regression"
    DRAFT = "draft"


@dataclass(frozen=True)
class Progress:
    """One event while something runs.

    ``trial``, ``judgement`` and ``outcome``: what it is about, for programs; with the phases trial, verdict and
    outcome. ``facts``: the same for phases of a higher layer. ``campaign`` (id), ``recipe``, ``stage`` (the campaign's
    part: ends, search, proof ...), ``candidate``: where it happens, "" where there is none. ``work``: the slot that it
    happens in, None outside of slots.
    """

    phase: Phase
    detail: str = ""
    fraction: float | None = None  # 0..1 where known
    trial: Trial | None = None
    judgement: Judgement | None = None
    outcome: Outcome | None = None
    facts: Mapping[str, object] | None = None
    campaign: str = ""
    recipe: str = ""
    stage: str = ""
    candidate: str = ""
    work: Work | None = None


Listener = Callable[[Progress], None]


def with_context(
    listener: Listener,
    *,
    campaign: str = "",
    recipe: str = "",
    stage: str = "",
    candidate: str = "",
    work: Work | None = None,
) -> Listener:
    """A listener that adds to each event where it happened, where the event does not say so."""

    def add(progress: Progress) -> None:
        listener(
            replace(
                progress,
                campaign=progress.campaign or campaign,
                recipe=progress.recipe or recipe,
                stage=progress.stage or stage,
                candidate=progress.candidate or candidate,
                work=progress.work or work,
            )
        )

    return add


def ignore(_: Progress) -> None:
    """A listener that does nothing."""


@dataclass(frozen=True)
class CancelToken:
    """A request to stop that crosses processes: set when its file exists. Picklable; ``CancelToken()`` is never set.

    ``above``: the file of another token, whose request goes for this one, too.
    """

    path: str = ""
    above: str = ""

    def cancelled(self) -> bool:
        """Whether it is to stop."""
        return any(path and Path(path).exists() for path in (self.path, self.above))

    def child(self, name: str) -> CancelToken:
        """A token of its own for a part of the work. It stops with this one, or alone."""
        return CancelToken(f"{self.path}-{name}", self.path) if self.path else CancelToken()

    def forget(self) -> None:
        """Take the request back: what it was for has ended."""
        if self.path:
            Path(self.path).unlink(missing_ok=True)

    def cancel(self) -> None:
        """Ask to stop. Idempotent."""
        if self.path:
            Path(self.path).touch()


NEVER = CancelToken()
"""Never set."""


@dataclass(frozen=True)
class Change:
    """One path in which two trees differ. Modes as git writes them; 000000 where there is no such path."""

    path: str
    old_mode: str
    new_mode: str

    @property
    def added_or_gone(self) -> bool:
        """Whether the path is in one of the two trees alone."""
        return "000000" in (self.old_mode, self.new_mode)


EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The tree of git that holds nothing; git knows it without an object."""


class Sources(Protocol):
    """Where source trees come from; search/gitrepo.py is one, a test's folder another."""

    def tree_of(self, candidate: Candidate) -> str:
        """Content identity of the candidate's source with its edits applied. Raises EditsDoNotApply."""
        ...

    def checkout(
        self, candidate: Candidate, folder: Path, cancel: CancelToken = NEVER, like: Path | None = None
    ) -> None:
        """Make ``folder`` hold exactly the candidate's source; the rest keeps its mtimes.

        ``like``: an earlier checkout; where ``folder`` is empty it gets those of its files that are the same, with
        their mtimes.

        Raises EditsDoNotApply, Interrupted: what is half done then is made right by the next checkout there.
        """
        ...

    def changes(self, old: str, new: str) -> tuple[Change, ...] | None:
        """The paths in which two trees (by content identity, or EMPTY_TREE) differ; None where one of the trees is not
        here."""
        ...


class EditsDoNotApply(Exception):
    """An edit (revert, fixup, apply) conflicts with the candidate's revision."""


class Target(Protocol):
    """Candidate → image."""

    def key(self, candidate: Candidate) -> str:
        """Names the build before it is made: equal keys give equal images. Raises EditsDoNotApply."""
        ...

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        """Build, fetch or look up. Raises InfraError when the harness, not the candidate, failed; Interrupted."""
        ...


@runtime_checkable
class KnowsInputs(Protocol):
    """A target that knows what its builds read."""

    def same_inputs(self, candidate: Candidate) -> Image | None:
        """An image of another candidate whose build reads nothing in which the two differ; None where there is none,
        or where the candidate's own build is known already. Raises InfraError."""
        ...


class Runner(Protocol):
    """Image + plan → observation."""

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        """Run one trial in ``folder`` (made here). Never raises for what a kernel does: that is an ending."""
        ...
