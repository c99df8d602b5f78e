# SPDX-License-Identifier: GPL-2.0-only
"""Our own bare clone of the user's repository: objects are borrowed, everything that is written is written here."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from bisector.errors import InfraError
from bisector.interfaces import EMPTY_TREE, NEVER, CancelToken, Change
from bisector.model import Candidate, Commit, Edit
from bisector.search.edits import edited_tree
from bisector.search.gitrepo import History, UserRepository, git_environment
from bisector.search.worktree import Worktree
from bisector.system.locks import clear_stale, locked
from bisector.system.proc import Processes, ProcessFailed, ProcessResult
from bisector.system.sandbox import CLEAN, HOST, Access, Trust
from bisector.system.trees import remove_tree

SETTINGS = (
    "advice.graftFileDeprecated=false",
    f"core.attributesFile={os.devnull}",
    f"core.excludesFile={os.devnull}",
    f"core.hooksPath={os.devnull}",
    "core.filesRefLockTimeout=10000",  # ms; two campaigns share packed-refs
    "core.logAllRefUpdates=false",
    "core.packedRefsTimeout=10000",
    "commit.gpgSign=false",
    "gc.auto=0",
    "index.threads=0",
    "maintenance.auto=false",
    "user.email=bisector@localhost",
    "user.name=bisector",
)
ALTERNATES = "objects/info/alternates"  # in a clone: where the objects are that it borrows
MISSING = 128  # exit code of git where it does not know an object
NO_DATE = "1000000000 +0000"  # commits made for a computation are equal when what they hold is equal


@dataclass(frozen=True)
class Git:
    """Runs git in one repository through system/proc.py, away from anybody's configuration. ``cancel``: ends it."""

    git_dir: Path
    processes: Processes
    cancel: CancelToken = NEVER

    def stopped_by(self, cancel: CancelToken) -> Git:
        """The same git, each run of which is ended by ``cancel`` (ProcessCancelled)."""
        return replace(self, cancel=cancel)

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment."""
        who = {f"GIT_{role}_DATE": NO_DATE for role in ("AUTHOR", "COMMITTER")}
        return git_environment(os.environ) | who

    def run(
        self,
        *arguments: str,
        codes: tuple[int, ...] = (0,),
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        writable: tuple[Path, ...] = (),
    ) -> ProcessResult:
        """Run ``git ARGUMENTS``. Raises ProcessFailed when it exits with another code than ``codes``, ProcessCancelled.

        ``writable``: for a git that writes files of a tree: it may change these folders alone, and runs confined.
        """
        argv = ["git", f"--git-dir={self.git_dir}", *arguments]
        environment = self.environment | dict(env or {})
        access: Access | Trust = HOST
        if writable:
            access = Access(writable, (self.git_dir, *object_stores(self.git_dir)))
            environment = {name: value for name, value in environment.items() if name in CLEAN or name[:4] == "GIT_"}
        finished = self.processes.run(
            argv, access=access, cwd=self.git_dir, env=environment, stdin=stdin, check=False,
            cancelled=self.cancel.cancelled,
        )  # fmt: skip
        if finished.returncode not in codes:
            raise ProcessFailed(finished)
        return finished

    def ask(self, *arguments: str) -> str:
        """Its output without the last newline."""
        return self.run(*arguments).stdout.rstrip("\n")


class _BorrowedHistory(History):
    """The history of our clone. Its refs are those of the day on which it was made, so names are the user's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.edited: dict[tuple[str, tuple[Edit, ...]], str] = {}  # trees by revision and edits

    def resolve(self, revision: str) -> Commit:
        """The commit that ``revision`` names in the user's repository now."""
        objects, *_ = (self.git_dir / ALTERNATES).read_text(encoding="utf-8").splitlines()
        return History(Path(objects).parent).resolve(revision)


@lru_cache(maxsize=4)
def _kept(git_dir: Path, made: tuple[int, int]) -> _BorrowedHistory:
    return _BorrowedHistory(git_dir)


def _history(git_dir: Path) -> _BorrowedHistory:
    """Kept, as a clone is picklable and git is not, and as it remembers its answers; not for another clone that
    was made in the place of one that was removed."""
    try:
        made = (git_dir / ALTERNATES).stat()  # written once, when the clone is made
    except OSError as error:
        raise InfraError(f"{git_dir} cannot be read: {error.strerror or error}", hint="repeat the command") from error
    return _kept(git_dir, (made.st_ino, made.st_mtime_ns))


@dataclass(frozen=True)
class PrivateClone:
    """One clone per user's repository, shared by all campaigns. Picklable; implements model.Sources.

    ``folder`` holds ``repo.git``, ``bisect/CAMPAIGN`` (worktrees for git's bisect state) and ``worktrees``.
    """

    folder: Path
    processes: Processes

    @classmethod
    def of(cls, source: UserRepository, state: Path, processes: Processes) -> PrivateClone:
        """The clone of ``source`` below ``state``; made at the first call. Raises InfraError."""
        clones = state.absolute() / "clones"
        folder = clones / hashlib.sha256(os.fsencode(source.common_dir)).hexdigest()[:16]
        with locked(clones / f"{folder.name}.lock"):
            if not folder.exists():
                _make(source, folder, processes)
        return cls(folder, processes)

    @property
    def git(self) -> Git:
        """git in this clone."""
        return Git(self.folder / "repo.git", self.processes)

    def history(self) -> History:
        """Questions to this clone, which sees the user's new commits too, and knows them by the user's names."""
        return _history(self.git.git_dir)

    @contextmanager
    def bisect_worktree(self, campaign: str) -> Iterator[Path]:
        """A fresh linked worktree without files, for git's bisect state (which is per worktree) of one campaign.

        What a killed campaign left of it is removed first. Raises InfraError when the campaign already searches.
        """
        worktree = self.folder / "bisect" / campaign
        busy = f"the campaign {campaign} is already searching in another process"
        with locked(worktree.with_name(f"{campaign}.lock"), busy=busy):
            self._drop(worktree)
            with self.changing():
                # A commit must be named; no file of it is written. The clone's HEAD may be an unborn branch.
                anchor = self._anchor()
                self.git.run("worktree", "add", "--no-checkout", "--detach", os.fspath(worktree), anchor)
            try:
                yield worktree
            finally:
                self._drop(worktree)

    def tree_of(self, candidate: Candidate) -> str:
        """Id of the tree with the edits applied. Raises EditsDoNotApply."""
        history, edited = _history(self.git.git_dir), (candidate.revision, candidate.edits)
        if edited not in history.edited:
            history.edited[edited] = edited_tree(self.git, history, candidate)
        return history.edited[edited]

    def checkout(
        self, candidate: Candidate, folder: Path, cancel: CancelToken = NEVER, like: Path | None = None
    ) -> None:
        """Make ``folder`` hold exactly the candidate's source; see worktree.py, and interfaces.Sources.

        Raises EditsDoNotApply, InfraError, Interrupted.
        """
        self.processes.reap_orphans()  # a git of a killed campaign must not go on writing into the worktree
        git = self.git.stopped_by(cancel)
        worktree = Worktree.at(folder, self.folder / "worktrees", git)
        if like:
            worktree.begin_like(like, self.processes, cancel)
        worktree.put(self.tree_of(candidate))

    def changes(self, old: str, new: str) -> tuple[Change, ...] | None:
        """The paths in which two trees differ; a rename is a path that is gone and one that was added. None where one
        of the trees is not in this repository."""
        return tree_changes(self.git, old, new)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Held while something is written that all campaigns share."""
        with locked(self.folder / "changing.lock"):
            git_dir = self.git.git_dir
            clear_stale([git_dir / "packed-refs.lock", git_dir / "config.lock", git_dir / "HEAD.lock"])
            yield

    def _drop(self, worktree: Path) -> None:
        """Remove a worktree in any state: `git worktree remove` refuses one that was killed while it was made."""
        with self.changing():
            remove_tree(worktree, ignore_errors=True)
            remove_tree(self.git.git_dir / "worktrees" / worktree.name, ignore_errors=True)

    def _anchor(self) -> str:
        """A commit for HEAD of new worktrees: an empty one of our own, so that none of the user's has to last."""
        return self.git.ask("commit-tree", "-m", "no source", EMPTY_TREE)


def tree_changes(git: Git, old: str, new: str) -> tuple[Change, ...] | None:
    """See ``PrivateClone.changes``."""
    finished = git.run("diff-tree", "-r", "--raw", "--no-renames", "--no-ext-diff", "-z", old, new, codes=(0, MISSING))
    if finished.returncode == MISSING:
        return None
    words = finished.stdout.split("\0")[:-1]
    rows = zip(words[::2], words[1::2], strict=True)
    return tuple(Change(path, row[1:7], row[8:14]) for row, path in rows)


def object_stores(git_dir: Path) -> tuple[Path, ...]:
    """Folders that a repository borrows objects from, those that they borrow from in turn included."""
    found: dict[Path, None] = {}
    queue = [git_dir / "objects"]
    while queue:
        store = queue.pop()
        try:
            listed = (store / "info/alternates").read_bytes().splitlines()
        except OSError:
            continue
        for line in listed:
            other = store / os.fsdecode(line)
            if (other / "pack").is_dir() and other not in found:  # who writes such a list may name any folder
                found[other] = None
                queue.append(other)
    return tuple(found)


def _make(source: UserRepository, folder: Path, processes: Processes) -> None:
    """Clone beside the final place and rename, so that a clone which is there is whole."""
    clones = folder.parent
    for left in clones.glob(f"{folder.name}.making-*"):  # we hold the lock: whoever made it is dead
        remove_tree(left, ignore_errors=True)
    try:
        draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.making-", dir=clones))  # only we may enter
        # The user's git trusts the owner of this repository (else it would not have opened): so must ours, which
        # does not read the user's configuration.
        trust = draft / "gitconfig"
        trust.write_text(f'[safe]\n\tdirectory = "{quoted(source.common_dir)}"\n', encoding="utf-8")
    except OSError as error:
        raise InfraError(f"{clones} cannot be written: {error.strerror or error}") from error
    argv = ["git", "clone", "--quiet", "--shared", "--bare", "--template="]
    argv += [word for setting in SETTINGS for word in ("--config", setting)]
    argv += ["--", os.fspath(source.common_dir), os.fspath(draft / "repo.git")]
    environment = git_environment(os.environ) | {"GIT_CONFIG_GLOBAL": os.fspath(trust), "GIT_ALLOW_PROTOCOL": "file"}
    try:
        processes.run(argv, access=HOST, cwd=clones, env=environment)
        trust.unlink()
        draft.rename(folder)
    except BaseException:
        remove_tree(draft, ignore_errors=True)
        raise


def quoted(path: Path) -> str:
    """A path as git's configuration quotes it."""
    return os.fspath(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
