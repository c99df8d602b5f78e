# SPDX-License-Identifier: GPL-2.0-only
"""What all targets from source have in common: looked up by content, else checked out, built and kept."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol

from bisector.causes import BuildStage
from bisector.codec import digest
from bisector.errors import InfraError, Interrupted, ToolchainChanged, UsageError
from bisector.interfaces import EMPTY_TREE, CancelToken, Change, EditsDoNotApply, Listener, Phase, Progress, Sources
from bisector.model import BuildFailure, Candidate, Image
from bisector.system.copies import copy_tree
from bisector.system.proc import Processes, ProcessFailed
from bisector.system.sandbox import Access, installation
from bisector.target.build_dirs import BuildDir, Notes, original, take
from bisector.target.ccache import CAREFUL, Embeds, headers_differ, headers_of, of_headers
from bisector.target.commands import CannotBeBuilt, Commands
from bisector.target.images import Images, put_inputs
from bisector.target.inputs import Inputs

RECORDS = 2
"""Of records of what was read: where more is found in what a build left, earlier ones are of no use."""

Tools = tuple[tuple[str, str], ...]
"""Name and version of each tool that builds."""


def in_words(tool: tuple[str, str]) -> str:
    """A tool or library with its version, which says of a tool what it is of ("gcc: gcc 12.2"), of a library not."""
    name, version = tool
    return version if ": " in version else f"{name} {version}"


class Build(Protocol):
    """One build in a build folder, from sources to files of an image."""

    commands: Commands

    def configure(self) -> None:
        """Decide what is built and how. Raises CannotBeBuilt."""
        ...

    def compile(self) -> None:
        """Build it. Raises CannotBeBuilt."""
        ...

    def collect(self, staged: Path) -> Image:
        """Put the image's files into ``staged``. Returns what is known of it, without identity and paths."""
        ...

    def inputs(self, tree: str, fit: str, candidate: str) -> Inputs | None:
        """What it read, after all else; None where that is not known. Raises OSError."""
        ...


REMEDY = """\
go on with the first one: install it again, or link it into a folder that stands first in PATH
(ln -s /usr/bin/gcc-12 FOLDER/gcc; PATH=FOLDER:$PATH), and repeat the command with --resume;
or begin anew without --resume: then everything is built and tried by the new one"""


class SourceTarget(ABC):
    """A target that is built.

    Args:
        sources: where trees come from.
        build_dirs: folder of the build folders; its path may hold no blank and no colon (kbuild and QEMU's configure
            refuse both).
        cache: our cache folder, for images and ccache.

    Raises UsageError for a folder of build folders in which nothing can be built.
    """

    kind: ClassVar[str]
    """What is built, in one word; part of each build's name."""

    whole: ClassVar[bool] = False
    """Whether a build that was killed leaves objects that cannot be trusted."""

    harmless: ClassVar[tuple[str, ...]] = ()
    """Tools whose version changes no image, by name."""

    def __init__(self, sources: Sources, build_dirs: Path, cache: Path, processes: Processes) -> None:
        self.sources = sources
        self._build_dirs = Path(os.path.realpath(build_dirs))
        if any(character.isspace() or character == ":" for character in str(self._build_dirs)):
            raise UsageError(
                f"no {self.kind} can be built in {self._build_dirs}: its build refuses blanks and colons in paths",
                hint="name another cache folder by XDG_CACHE_HOME",
            )
        self._cache = cache
        self.processes = processes
        self.images = Images(cache)
        self._failed: dict[str, BuildFailure] = {}  # by this object, which does not try the same twice
        self._pinned: tuple[Tools, str] | None = None

    @cached_property
    def tools(self) -> Tools:
        """Name and version of each tool that builds. Raises InfraError when one is missing."""
        return self._tools_now()

    @abstractmethod
    def _tools_now(self) -> Tools:
        """The same, looked up anew."""

    @cached_property
    def _fit(self) -> str:
        """What objects must have been made with to be of use; with the tree it names the build."""
        return self._fit_of(self._deciding(self._pinned[0] if self._pinned else self.tools))

    @abstractmethod
    def _fit_of(self, tools: Tools) -> str:
        """``_fit`` for these tools, all of which change an image."""

    @property
    def _base(self) -> str:
        """The part of ``_fit`` that objects must share to be of use for another config; "" where they never are."""
        return ""

    def _deciding(self, tools: Tools) -> Tools:
        return tuple((name, version) for name, version in tools if name not in (*self.harmless, "sandbox"))

    def pin(self, tools: Tools, campaign: str) -> None:
        """Name builds by these tools, with which the campaign (id) began: what they built is found, and where this host
        has others nothing is built."""
        self._pinned = tools, campaign
        self.__dict__.pop("_fit", None)

    def other_tools(self) -> str:
        """How this host's tools are now other ones than those by which builds are named, "" where they are not. Raises
        InfraError when one is missing."""
        named, now = (self._deciding(t) for t in (self._pinned[0] if self._pinned else self.tools, self._tools_now()))
        noted = {name for name, _ in named}  # an earlier version of this program noted less
        now = tuple((name, version) for name, version in now if name in noted)
        if named == now:
            return ""
        before = ", ".join(in_words(tool) for tool in named if tool not in now)
        after = ", ".join(in_words(tool) for tool in now if tool not in named)
        who = f"campaign {self._pinned[1]}" if self._pinned else "this command"
        return f"{who} began with {before or 'less'}, and this host has {after or 'less'} now"

    @property
    def names_by_all_tools(self) -> bool:
        """Whether builds have the names that another host with these tools gives them: a campaign that an earlier
        version of this program began noted less. Raises InfraError when a tool is missing."""
        return self._pinned is None or {name for name, _ in self.tools} <= {name for name, _ in self._pinned[0]}

    def _require_same_tools(self, candidate: Candidate) -> None:
        """Two compilers build two images of one source. Raises ToolchainChanged."""
        if other := self.other_tools():
            raise ToolchainChanged(f"{candidate} is not built: {other}", hint=REMEDY if self._pinned else "repeat it")

    @abstractmethod
    def _build(
        self,
        candidate: Candidate,
        build_dir: BuildDir,
        changes: Sequence[Change] | None,
        log: Path,
        listener: Listener,
        cancel: CancelToken,
    ) -> Build:
        """A build in ``build_dir``, which holds the candidate's source; its commands are written to ``log``.

        ``changes``: in which it differs from the source of the folder's objects; None where that is not known.
        """

    def _access(self, build_dir: BuildDir, *tools: str) -> Access:
        """What a build in ``build_dir`` may touch. ``tools``: paths of programs that may lie below a home folder."""
        ccache = self._cache / "ccache"
        ccache.mkdir(parents=True, exist_ok=True)
        return Access((build_dir.tree, ccache), tuple(place for tool in tools for place in installation(tool)))

    def key(self, candidate: Candidate) -> str:
        """Names the build: source tree, config, options, tools. Raises EditsDoNotApply, InfraError.

        Raises UsageError for lines of a config where there is none, or lines that are none.
        """
        own = (self._own_config(candidate.config_lines),) if candidate.config_lines else ()
        return digest(self.kind, self.sources.tree_of(candidate), self._fit, *own)

    def _settings(self, candidate: Candidate) -> str:
        """Names all of a build but the tree."""
        own = self._own_config(candidate.config_lines) if candidate.config_lines else ""
        return digest(self.kind, RECORDS, self._fit, own)

    def same_inputs(self, candidate: Candidate) -> Image | None:
        """The image of a build that read nothing in which the candidate's tree differs from its own; ``same_inputs`` of
        it names what was built. None where there is none, or where the candidate's own build is known.

        Any image of the same config, tools and options will do, whoever built it. Raises InfraError.
        """
        try:
            if self.images.find(self.key(candidate)):
                return None
            tree = self.sources.tree_of(candidate)
        except EditsDoNotApply:
            return None
        for identity, inputs in self.images.inputs(self._settings(candidate)):
            changes = self.sources.changes(inputs.tree, tree)
            if changes is not None and inputs.first_read(changes) is None and (image := self.images.held(identity)):
                return replace(image, same_inputs=inputs.candidate)
        return None

    def _own_config(self, lines: tuple[str, ...]) -> str:
        """Names a candidate's own lines of the config."""
        raise UsageError(f"{self.kind} has no config: {lines[0]}")

    def known(self, key: str) -> Image | BuildFailure | None:
        """What is known of the build ``key``, without building anything."""
        return self._failed.get(key) or self.images.find(key)

    def failed(self, key: str, failure: BuildFailure) -> None:
        """Record that the candidate of ``key`` cannot be built."""
        self.images.keep_failure(key, failure)
        self._failed[key] = failure

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        """Look up or build. A failure of the candidate's own is recorded; one of this host is raised as InfraError."""
        try:
            key = self.key(candidate)
        except EditsDoNotApply as error:
            return BuildFailure(BuildStage.EDITS, tuple(str(error).splitlines()))
        try:
            if known := self.known(key):
                return known
            if cancel.cancelled():
                raise Interrupted(f"the build of {candidate} was not started")
            self._require_same_tools(candidate)
            with take(self._build_dirs, self._fit, whole=self.whole) as build_dir:
                listener(Progress(Phase.CHECKOUT, str(candidate)))
                with original(build_dir, self._base) as other:
                    self.sources.checkout(candidate, build_dir.tree, cancel, other.tree if other else None)
                    with suppress(ProcessFailed):  # without them all is made anew
                        if other:
                            build_dir.adopt(other, partial(self._copy, cancel))
                return self._built(key, candidate, build_dir, listener, cancel)
        except OSError as error:
            what = f"building {candidate}: {error.filename or self._build_dirs}: {error.strerror or error}"
            raise InfraError(what, hint="bisector cache shows what can go") from error

    def _copy(self, cancel: CancelToken, folder: Path, target: Path) -> None:
        target.mkdir()
        copy_tree(folder, target, self.processes, cancel.cancelled)

    def _record_inputs(self, build: Build, candidate: Candidate, staged: Path) -> None:
        name = str(replace(candidate, label=""))
        if inputs := build.inputs(self.sources.tree_of(candidate), self._settings(candidate), name):
            put_inputs(staged, inputs)

    def _built(
        self, key: str, candidate: Candidate, build_dir: BuildDir, listener: Listener, cancel: CancelToken
    ) -> Image | BuildFailure:
        log = self.images.log_of(key)
        log.write_text(f"# {candidate.revision}: {candidate}\n", encoding="utf-8")
        begin = time.monotonic()
        try:
            build_dir.require_place()
        except CannotBeBuilt as error:
            return self._not_made(key, error, log, begin)
        tree = self.sources.tree_of(candidate)
        changes = self.sources.changes(build_dir.notes.tree, tree) if build_dir.notes.tree else None
        if changes is None:
            build_dir.discard()  # a header may be there that is found before one that an object lists
        headers = self._headers(build_dir.notes, changes, tree)
        build = self._build(candidate, build_dir, changes, log, listener, cancel)
        build.commands.environment = of_headers(build.commands.environment, headers)
        added = (change.path for change in changes or () if change.old_mode == "000000")
        names = frozenset(PurePosixPath(path).name for path in added)
        with build_dir.at_work(self._fit, tree, names, self._base) as shadowed:
            build_dir.notes.headers = headers
            if shadowed:
                build.commands.environment = {**build.commands.environment, **CAREFUL}
            try:
                try:
                    return self._made(key, candidate, build, begin)
                except Embeds as found:
                    build.commands.note(f"{found}: built again, by its preprocessed sources")
                    build_dir.empty()
                    build.commands.environment = {**build.commands.environment, **CAREFUL}
                    return self._made(key, candidate, build, begin)
            except CannotBeBuilt as error:  # an orderly end: what failed to be made was deleted by make or ninja
                return self._not_made(key, error, log, begin)

    def _not_made(self, key: str, error: CannotBeBuilt, log: Path, begin: float) -> BuildFailure:
        failure = replace(error.failure, log=str(log), seconds=round(time.monotonic() - begin, 1))
        self.failed(key, failure)
        return failure

    def _headers(self, notes: Notes, changes: Sequence[Change] | None, tree: str) -> str:
        """Names the tree's set of headers. ``changes``: in which it differs from the tree of ``notes``."""
        if notes.headers and changes is not None and not headers_differ(changes):
            return notes.headers
        everything = self.sources.changes(EMPTY_TREE, tree)
        return tree if everything is None else headers_of(everything)

    def _made(self, key: str, candidate: Candidate, build: Build, begin: float) -> Image:
        """The image, kept. Raises CannotBeBuilt, Embeds."""
        build.commands.done = ()
        build.configure()
        build.compile()
        with self.images.staging() as staged:  # not before: the cache may be emptied while a build takes hours
            facts = build.collect(staged)
            self._record_inputs(build, candidate, staged)
            image = replace(
                facts,
                tools=(*self.tools, ("sandbox", self.processes.sandbox.describe())),
                commands=build.commands.done,
                seconds=round(time.monotonic() - begin, 1),
            )
            return self.images.keep(key, staged, image)
