# SPDX-License-Identifier: GPL-2.0-only
"""The one module that uses GitPython: questions to a repository, none of which writes anything.

Long or writing work (clone, worktrees, checkout, bisect) is started by system/proc.py: see clone.py and commits.py.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import git
from git.exc import GitCommandError, GitCommandNotFound

from bisector.errors import InfraError, UsageError
from bisector.model import Commit
from bisector.system.distribution import install

OID = re.compile(r"[0-9a-f]{40}")
COMMIT_FORMAT = "%H%x00%P%x00%an <%ae>%x00%s"
NEAR_NAMES = 3
REPOSITORY_HINT = "name a folder that holds the source's git repository"

PROTECTED = (
    ("core.alternateRefsCommand", "true"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("core.untrackedCache", "false"),
    ("diff.external", ""),
    ("gpg.program", "false"),
    ("submodule.recurse", "false"),
)
"""Settings that go before those of a repository's own configuration, which may name commands for git to run."""

QUIET: Mapping[str, str] = {
    "GIT_ALLOW_PROTOCOL": "",  # nothing is fetched; who fetches says from where
    "GIT_ATTR_NOSYSTEM": "1",  # a person's attributes could change the bytes that a checkout writes
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_GRAFT_FILE": "/dev/null/none",  # grafts and replacements would make another history than the one built
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # no refresh of the user's index on the side
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
    "GIT_CONFIG_COUNT": str(len(PROTECTED)),
    **{f"GIT_CONFIG_KEY_{number}": name for number, (name, _) in enumerate(PROTECTED)},
    **{f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(PROTECTED)},
}
"""Settings under which git neither writes on the side nor hears of anybody's configuration."""

OPENED = ("--absolute-git-dir", "--git-common-dir", "--is-shallow-repository", "--show-object-format")
"""What is read of a repository when it is opened, a line each. git calls a format sha1 or sha256 since 2.25."""

OPENING = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
"""What the opening question alone hears of the user's: git decides by it whether it trusts the repository's owner."""


def git_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment for a git of ours: nothing of the user's GIT_* variables, ``QUIET`` laid over the rest."""
    return {name: value for name, value in environ.items() if not name.startswith("GIT_")} | dict(QUIET)


class _QuietGit(git.Git):
    """Runs git under ``QUIET``. GitPython can add to our environment but not take away: ``env`` does."""

    opened = False  # whether git has already said that it trusts the repository

    def execute(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        settings = git_environment({})
        hidden = [name for name in os.environ if name.startswith("GIT_") and name not in settings]
        if not self.opened:
            hidden = [name for name in hidden if name not in OPENING]
            settings = {name: value for name, value in settings.items() if name not in OPENING}
        self.update_environment(**settings)
        return super().execute(["env", *(f"--unset={name}" for name in hidden), *command], *args, **kwargs)


class History:
    """Questions about commits.

    Args:
        folder: a repository, bare or not, a linked worktree, or a folder below one.

    Raises UsageError when it is none, or one that git refuses to trust.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder", hint=REPOSITORY_HINT)
        # Not git.Repo: it looks for the repository by itself, and follows GIT_DIR and its like on the way.
        self._git = _QuietGit(folder)
        try:
            answer = self._git.rev_parse(*OPENED)
        except GitCommandNotFound as error:
            raise InfraError("git is not installed", hint=install("git")) from error
        except GitCommandError as error:
            said = _words(error)
            if "not a git repository" in said:
                raise UsageError(f"{folder} is not a git repository", hint=REPOSITORY_HINT) from error
            raise UsageError(f"{folder}: git refuses the repository", hint=said) from error
        git_dir, common, shallow, objects = _lines(folder, answer)
        if objects != "sha1":
            raise UsageError(
                f"{folder} names its commits by {objects.upper()}, and this version knows SHA-1 alone",
                hint="name a clone in git's default format; 'git rev-parse --show-object-format' says which one it is",
            )
        self.git_dir = Path(git_dir)
        self.common_dir = Path(os.path.realpath(folder / common))
        self.shallow = shallow == "true"
        self._commits: dict[str, Commit] = {}
        self._known: dict[tuple[str, ...], str] = {}  # answers about commits by their ids, which nothing can change
        # Named, so that git neither searches for it again nor asks again whom it belongs to.
        self._git.set_persistent_git_options(git_dir=git_dir)
        self._git.opened = True

    def resolve(self, revision: str) -> Commit:
        """The commit that ``revision`` names, a tag peeled.

        Raises UsageError for what names no commit, with names that are near it.
        """
        if not revision or revision[0] in "-^" or not revision.isprintable():
            raise UsageError(f"{revision!r} is not a revision", hint="name a tag, a branch or a commit")
        peeled = revision if revision.startswith(":/") else f"{revision}^{{commit}}"  # :/ takes all that follows
        try:
            oid = self._ask("rev_parse", "--verify", "--end-of-options", peeled)
        except GitCommandError as error:
            raise UsageError(
                f"{self.folder} knows no commit {revision!r}", hint=self._remedy(revision, error)
            ) from error
        return self.commit(oid)

    def commit(self, oid: str) -> Commit:
        """The commit with that id. Raises InfraError when the object is not there."""
        return self.commits([oid])[0]

    def commits(self, oids: Iterable[str]) -> tuple[Commit, ...]:
        """The commits with those ids, in that order. Raises InfraError when an object is not there."""
        wanted = tuple(oids)
        if not wanted:
            return ()
        if unfit := [oid for oid in wanted if not OID.fullmatch(oid)]:
            raise InfraError(f"{unfit[0]!r} is not the id of a commit")
        if unknown := [oid for oid in wanted if oid not in self._commits]:
            self._git(c="core.commitGraph=false")  # of the next call: parents as the commits themselves name them
            found = self._listed("--no-walk=unsorted", *unknown, "--")
            self._commits.update({commit.oid: commit for commit in found})
        return tuple(self._commits[oid] for oid in wanted)

    def log(self, good: str, bad: str, *, paths: Iterable[str] = (), first_parent: bool = False) -> tuple[Commit, ...]:
        """Commits reachable from ``bad`` and not from ``good``, newest first."""
        return self._listed("--topo-order", *self._range(good, bad, paths, first_parent))

    def left(self, bad: str, goods: Iterable[str], paths: Iterable[str] = ()) -> tuple[Commit, ...]:
        """Commits reachable from ``bad`` and from none of ``goods``, newest first; of ``paths`` where there are any."""
        return self._listed("--topo-order", bad, *(f"^{good}" for good in goods), "--", *paths)

    def count(self, good: str, bad: str, paths: Iterable[str] = (), first_parent: bool = False) -> int:
        """Number of commits that ``log`` would list."""
        return int(self._get("rev_list", "--count", *self._range(good, bad, paths, first_parent)))

    def merge_bases(self, one: str, other: str) -> tuple[str, ...]:
        """Ids of the best common ancestors; empty when the two share no history."""
        return tuple(self._fixed("merge_base", "--all", one, other, codes=(0, 1)).split())

    def merge_base(self, one: str, other: str) -> str | None:
        """Id of a best common ancestor, None when the two share no history."""
        return next(iter(self.merge_bases(one, other)), None)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether ``newer`` holds ``older`` (or is it)."""
        return older == newer or self.merge_bases(older, newer) == (older,)

    def changed_files(self, oid: str, parent: str = "") -> tuple[str, ...]:
        """Paths that a commit changed against ``parent`` (default: its first parent; all files of a root commit)."""
        parent = parent or next(iter(self.commit(oid).parents), "")
        ends = [parent, oid] if parent else ["--root", "--no-commit-id", oid]
        return tuple(filter(None, self._get("diff_tree", "--name-only", "--no-renames", "-r", "-z", *ends).split("\0")))

    def describe(self, oid: str) -> str:
        """A name for people, from the nearest tag; the first 12 digits where there is none."""
        return self._get("describe", "--tags", "--always", "--abbrev=12", oid)

    def tree(self, oid: str) -> str:
        """Id of a commit's tree."""
        return self._fixed("rev_parse", "--verify", f"{oid}^{{tree}}")

    def query(self, verb: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """What a git command prints that only reads, for questions of other packages (``verb``: ``rev_list`` ...).

        "" for an exit code of ``codes`` other than 0. Raises InfraError for any other.
        """
        return self._get(verb, *arguments, codes=codes)

    def _listed(self, *arguments: str) -> tuple[Commit, ...]:
        # rev-list, not log: that one heeds log.* of the repository's own configuration (showSignature, follow).
        form = ["--no-commit-header", f"--format={COMMIT_FORMAT}", "--encoding=UTF-8"]
        lines = self._get("rev_list", *form, *arguments).split("\n")
        return tuple(_commit(line) for line in lines if line)

    def _range(self, good: str, bad: str, paths: Iterable[str], first_parent: bool) -> list[str]:
        return [*(["--first-parent"] if first_parent else []), bad, f"^{good}", "--", *paths]

    def _ask(self, verb: str, *arguments: str) -> str:
        answer = str(self._git._call_process(verb, *arguments))
        return answer.encode(errors="surrogateescape").decode(errors="replace")  # old commits are not all in UTF-8

    def _get(self, verb: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        try:
            return self._ask(verb, *arguments)
        except GitCommandError as error:
            if error.status in codes:
                return ""
            raise InfraError(f"git {verb.replace('_', '-')} failed in {self.folder}", hint=_words(error)) from error

    def _fixed(self, verb: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """``_get``, read once where every argument is an option or the id of an object."""
        if not all(word.startswith("-") or OID.match(word) for word in arguments):
            return self._get(verb, *arguments, codes=codes)
        question = (verb, *arguments)
        if question not in self._known:
            self._known[question] = self._get(verb, *arguments, codes=codes)
        return self._known[question]

    def _remedy(self, revision: str, error: GitCommandError) -> str:
        said = _words(error)
        if "ambiguous" in said:
            return said
        if near := list(self._near(revision)):
            return f"did you mean {' or '.join(near)}?"
        return f"it may have to be fetched first: git -C {self.folder} fetch --tags"

    def _near(self, revision: str) -> Iterator[str]:
        names = self._get("for_each_ref", "--format=%(refname:short)").split("\n")
        names = [name for name in names if name and not name.startswith("bisect/")]
        # The "v" of a version is what is most often left out, and nearness would rank v6.1 beside v6.18.
        exact = [name for name in names if name == f"v{revision}"]
        yield from exact or difflib.get_close_matches(revision, names, n=NEAR_NAMES)


class UserRepository(History):
    """The user's repository. It is only read: no lock, no index refresh, no ref, no object is written.

    Raises UsageError for what is no repository, and for a shallow or partial clone, whose history cannot be searched.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if self.shallow:
            raise UsageError(
                f"{folder} is a shallow clone: the commits between good and bad may be missing",
                hint=f"git -C {folder} fetch --unshallow",
            )
        if remote := self._promisor():
            raise UsageError(
                f"{folder} is a partial clone: files are missing until they are fetched",
                hint="\n".join(
                    f"git -C {folder} {step}"
                    for step in (
                        f"fetch --refetch --no-filter {shlex.quote(remote)}",
                        f"config --unset {shlex.quote(f'remote.{remote}.promisor')}",
                        f"config --unset {shlex.quote(f'remote.{remote}.partialclonefilter')}",
                        "config --unset extensions.partialclone",
                    )
                ),
            )

    def _promisor(self) -> str:
        """Name of the remote that a partial clone gets its missing objects from, "" for a whole one."""
        pattern = r"^(extensions\.partialclone|remote\..*\.promisor)$"
        for line in self._get("config", "--get-regexp", pattern, codes=(0, 1)).split("\n"):
            key, _, value = line.partition(" ")
            if key.startswith("extensions."):
                return value or "origin"
            if value.lower() in ("", "true", "yes", "on", "1"):
                return key.removeprefix("remote.").removesuffix(".promisor")
        return ""


def _lines(folder: Path, answer: str) -> list[str]:
    """git's answer to ``OPENED``, line by line. Raises UsageError where a path is more than a line."""
    lines = answer.rstrip("\n").split("\n")
    if len(lines) != len(OPENED):
        raise UsageError(f"{folder}: the path of the repository has a line end", hint="move or link it elsewhere")
    return lines


def _commit(line: str) -> Commit:
    oid, parents, author, subject = line.split("\0")
    return Commit(oid=oid, subject=subject, author=author, parents=tuple(parents.split()))


def _words(error: GitCommandError) -> str:
    """What git itself said."""
    said = str(error.stderr).strip()
    return said.removeprefix("stderr:").strip().strip("'").strip()
