# SPDX-License-Identifier: GPL-2.0-only
"""Our own clone of a tree that a watch follows: fetching with patience, pins, and commits that were rebased.

Such a tree is built anew again and again: no state of it is an ancestor of the next, and what only yesterday's state
held is unreachable today. So each state that was tried is pinned under refs of ours, together with its base.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from bisector.errors import InfraError, Interrupted
from bisector.interfaces import NEVER, CancelToken
from bisector.model import Commit
from bisector.nightly.trees.tree import Day
from bisector.search.clone import SETTINGS, Git, quoted
from bisector.search.gitrepo import OID, UserRepository, git_environment
from bisector.system.locks import clear_stale
from bisector.system.proc import ProcessCancelled, Processes, ProcessFailed, ProcessResult, ProcessTimeout
from bisector.system.sandbox import HOST

RELEASE = re.compile(r"v\d+\.\d+(\.\d+)?")
URL = re.compile(r"(https?|git|ssh|file)://|[\w.-]+@[\w.-]+:")

FETCH_TRIES = 4
TICK = 0.2  # seconds between two looks at the request to stop
FETCH_LIMIT = 3 * 3600.0  # seconds; the first fetch of a whole history on a slow line
MOST_PACKS = 20  # each fetch adds one; from so many on every look-up gets slower
STATES = 20  # of mainline, among which the newest is looked for; each takes git a second in the whole history
SUSPECTS = 3  # commits that are taken for one that was rebased
PATCHES = 400  # commits whose patch is compared, newest first


@dataclass(frozen=True)
class TreeClone:
    """The clone. ``source``: a URL or a local path. ``pause``: seconds before the second try of a fetch. ``cancel``:
    ends a fetch."""

    folder: Path
    source: str
    processes: Processes
    pause: float = 5.0
    cancel: CancelToken = NEVER

    @property
    def git(self) -> Git:
        """git in the clone."""
        return Git(self.folder, self.processes)

    @property
    def history(self) -> UserRepository:
        """Questions to the clone."""
        return UserRepository(self.folder)

    def pin(self, day: Day) -> None:
        """Keep the state and its base for ever."""
        self.git.run("update-ref", f"{day.pins}/next", day.next.oid)
        self.git.run("update-ref", f"{day.pins}/base", day.base.oid)

    # ---- fetching: the one part that is tried again

    def listed(self, *patterns: str) -> list[tuple[str, str]]:
        """(id, ref) of the refs that the source has of these. Nothing is fetched. Raises InfraError, Interrupted."""
        self._open()
        arguments = ("ls-remote", "--", self.source, *patterns)
        lines = self._again(lambda: self._remote(*arguments)).stdout.split("\n")  # a name may hold U+2028
        found = [(oid, ref) for oid, _, ref in (line.partition("\t") for line in lines)]
        return [(oid, ref) for oid, ref in found if OID.fullmatch(oid)]

    def fetch_refs(self, *refs: str) -> None:
        """Get these refs as they are now, under the same names. Raises InfraError, Interrupted."""
        specs = [f"+{ref}:{ref}" for ref in refs]
        quiet = ("--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        self._again(lambda: self._remote("fetch", *quiet, "--", self.source, *specs))
        self._repack()

    def _repack(self) -> None:
        """Put small packs together, since git's own housekeeping is off: it would drop what only older days held.

        Nothing is dropped here, and the large first pack is not written again (--geometric). Where it fails the clone
        is as it was, and the next fetch tries again.
        """
        if len(list((self.folder / "objects/pack").glob("*.pack"))) > MOST_PACKS:
            argv = ["git", f"--git-dir={self.folder}", "repack", "--quiet", "-d", "-l", "--geometric=2"]
            environment = git_environment(os.environ)
            self._run(argv, environment, check=False)

    def _remote(self, *arguments: str) -> ProcessResult:
        environment = git_environment(os.environ) | {
            "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # no program may hide behind a URL
            "GIT_CONFIG_GLOBAL": os.fspath(self._trust),
        }
        return self._run(["git", f"--git-dir={self.folder}", *arguments], environment)

    def _run(self, argv: list[str], environment: dict[str, str], *, check: bool = True) -> ProcessResult:
        """Run a git that takes long. Raises ProcessFailed, ProcessTimeout, Interrupted."""
        stop = self.cancel.cancelled
        try:
            return self.processes.run(
                argv, access=HOST, cwd=self.folder, env=environment, timeout=FETCH_LIMIT, check=check, cancelled=stop
            )
        except ProcessCancelled as error:
            raise self._stopped() from error

    def _again(self, call: Callable[[], ProcessResult]) -> ProcessResult:
        tries = FETCH_TRIES if URL.match(self.source) else 1  # a folder that cannot be read now cannot be read later
        again = Retrying(
            retry=retry_if_exception_type((ProcessFailed, ProcessTimeout)),
            stop=stop_after_attempt(tries),
            wait=wait_exponential(multiplier=self.pause),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return again(call)
        except InfraError as error:
            raise InfraError(f"{self.source} cannot be fetched: {error.what}", hint=error.hint) from error

    def _sleep(self, seconds: float) -> None:
        """The pause between two tries. Raises Interrupted."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.cancel.cancelled():
                raise self._stopped()
            time.sleep(min(TICK, left))

    def _stopped(self) -> Interrupted:
        return Interrupted(f"stopped while {self.source} was fetched", hint="call it again to go on")

    @property
    def _trust(self) -> Path:
        return self.folder / "source.gitconfig"

    def _open(self) -> None:
        """Make the clone at the first call."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._trust.write_text(self._trusted(), encoding="utf-8")
        except OSError as error:
            raise InfraError(f"{self.folder} cannot be written: {error.strerror or error}") from error
        ready = self.folder / "ready"
        if ready.exists():
            # What a fetch left that was killed. The caller holds the lock of the watch, so that no other is at work.
            clear_stale([*self.folder.glob("*.lock"), *(self.folder / "refs").rglob("*.lock")])
            return
        argv = ["git", "init", "--quiet", "--bare", "--template=", "--initial-branch=none", os.fspath(self.folder)]
        self.processes.run(argv, access=HOST, cwd=self.folder, env=git_environment(os.environ))
        with (self.folder / "config").open("a", encoding="utf-8") as config:
            # No name: nothing is committed here, and a draft of a report looks here for who sends it.
            settings = [setting for setting in SETTINGS if not setting.startswith("user.")]
            config.write("".join(_setting(*setting.split("=", 1)) for setting in settings))
        ready.touch()  # last: a clone that was killed while it was made is made again, over what is there

    def _trusted(self) -> str:
        """git's configuration for a fetch: whose local repository the user's own git trusts, ours does too."""
        if URL.match(self.source):
            return ""
        return f'[safe]\n\tdirectory = "{quoted(UserRepository(Path(self.source)).common_dir)}"\n'

    # ---- ends below the base

    def newest_of(self, oids: Iterable[str], base: str) -> str | None:
        """The newest one of these commits that ``base`` holds and is not, of the first ``STATES``; else None."""
        history = self.history
        wanted = [oid for oid in dict.fromkeys(oids) if oid != base][:STATES]
        held = [oid for oid in wanted if history.is_ancestor(oid, base)]
        return next(iter(history.query("merge_base", "--independent", *held).split()), None) if held else None

    def last_release(self, base: str) -> str | None:
        """Name of the newest release tag (no candidate) that ``base`` holds and is not, None when there is none."""
        form = "--format=%(refname:lstrip=2) %(objectname) %(*objectname)"
        names = self.history.query("for_each_ref", form, "--sort=-version:refname", f"--merged={base}", "refs/tags/v*")
        for name, *oids in (line.split(" ") for line in names.split("\n")):
            if RELEASE.fullmatch(name) and base not in oids:
                return name
        return None

    # ---- a commit that was rebased

    def patch_id(self, oid: str) -> str:
        """What a commit changes, whatever it stands on; "" for a merge and for one that changes nothing."""
        shown = self.git.run("diff-tree", "-p", "--no-ext-diff", "--no-textconv", oid).stdout
        printed = self.git.run("patch-id", "--stable", stdin=shown).stdout if shown else ""
        return printed.split(" ")[0]

    def rebased(self, lost: Commit, patch: str, good: str, bad: str) -> tuple[Commit, ...]:
        """Commits of ``good..bad`` that may be ``lost`` under a new id: the same patch, or the same subject and author.

        A suspicion, never a verdict. Best first, at most three.
        """
        history = self.history
        every = {commit.oid: commit for commit in history.log(good, bad) if len(commit.parents) == 1}
        mine = (lost.subject, lost.author)
        named = [oid for oid, commit in every.items() if (commit.subject, commit.author) == mine]
        # Of few paths git simplifies the history: it leaves out what another branch brings too, and shows other
        # parents than a commit has.
        files = history.changed_files(lost.oid) if patch else ()
        touching = [commit.oid for commit in history.log(good, bad, paths=files)][:PATCHES] if files else []
        near = [oid for oid in dict.fromkeys((*named, *touching)) if oid in every]
        alike = [oid for oid in near if patch and self.patch_id(oid) == patch]
        return tuple(every[oid] for oid in tuple(dict.fromkeys((*alike, *named)))[:SUSPECTS])


def _setting(key: str, value: str) -> str:
    section, _, name = key.rpartition(".")
    return f'[{section}]\n\t{name} = "{value}"\n'
