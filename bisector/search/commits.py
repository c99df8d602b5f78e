# SPDX-License-Identifier: GPL-2.0-only
"""The search among commits: drives the real `git bisect run` and answers each of its steps with a verdict.

git's bisect state is made afresh for each search and lives in a worktree of our clone; what was judged before is the
store's, so a search that was killed is simply started again.
"""

from __future__ import annotations

import codecs
import os
import re
import selectors
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bisector.direction import BUG, Direction
from bisector.errors import InfraError, UsageError
from bisector.exitcodes import GitCode
from bisector.interfaces import Listener, Phase, Progress, ignore
from bisector.model import Candidate, Commit, Edit, Judgement, TargetKind, Verdict
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import OID, History
from bisector.system.files import write_whole
from bisector.system.proc import Child, Processes, ProcessResult
from bisector.system.sandbox import HOST

STEP = Path(__file__).with_name("step.py")
SOCKET = "ask"  # in the worktree's folder
GOODBYE = 5.0  # seconds for git to end by itself once its step has aborted
OUTPUT_KEPT = 64 << 10  # bytes of git's output kept for an error message

# Exit codes of git bisect (enum bisect_error in git's bisect.h, negated).
ONLY_SKIPPED_LEFT, MERGE_BASE_CHECK, NO_TESTABLE_COMMIT = 2, 3, 4

ESTIMATE = re.compile(r"Bisecting: (\d+) revisions? left to test after this \(roughly (\d+) steps?\)")
FOUND = re.compile(r"^# first '?\w+'? commit: \[([0-9a-f]{40})\]", re.MULTILINE)
ONLY_SKIPPED = re.compile(r"^# only skipped commits left to test", re.MULTILINE)
MARK = re.compile(r"^git bisect (good|bad|fixed|broken|skip) ([0-9a-f ]+)$", re.MULTILINE)


class SearchEnd(StrEnum):
    """How a search ended."""

    FIRST_BAD = "first_bad"  # one commit (of a search for a fix: the first fixed one)
    NARROWED = "narrowed"  # only commits that cannot be judged are left
    MERGE_BASE_BAD = "merge_base_bad"  # good is no ancestor of bad, and where they part it is as at the bad end
    OUTSIDE_PATHS = "outside_paths"  # no commit that touches the given paths can be it


@dataclass(frozen=True)
class SearchResult:
    """What git found. ``suspects``: newest first; ``steps``: what was judged, in order; ``log``: git bisect log."""

    ended: SearchEnd
    summary: str
    first_bad: Commit | None = None
    suspects: tuple[Commit, ...] = ()
    merge_base: Commit | None = None
    log: str = ""
    steps: tuple[Judgement, ...] = ()

    @property
    def weak(self) -> tuple[Judgement, ...]:
        """Judgements that git took for a skip because the budget of trials was spent undecided."""
        return tuple(step for step in self.steps if step.verdict is Verdict.WEAK)


Ask = Callable[[Candidate], Judgement]


def search(
    clone: PrivateClone,
    old: Commit,
    new: Commit,
    ask: Ask,
    *,
    direction: Direction = BUG,
    worktree: Path,
    processes: Processes,
    paths: Iterable[str] = (),
    first_parent: bool = False,
    known_skips: Iterable[str] = (),
    known_old: Iterable[str] = (),
    edits: tuple[Edit, ...] = (),
    target: TargetKind = TargetKind.KERNEL_SOURCE,
    log: Path | None = None,
    listener: Listener = ignore,
) -> SearchResult:
    """Find the first commit of the new side between two ends that the caller has judged already.

    Args:
        old, new: the ends.
        ask: judges one candidate, in this thread. What it raises ends git's bisection and comes out of here.
        worktree: from ``clone.bisect_worktree``; fresh.
        paths: only commits that touch one of them are candidates (an assumption of the user's).
        known_skips: ids of commits that cannot be judged.
        known_old: ids of further commits of the old side.
        edits: laid over every candidate.
        log: file that holds `git bisect log` as it stands after each step.

    Raises UsageError when the ends are in no order that can be searched; InfraError when git fails.
    """
    history, skips = clone.history(), tuple(known_skips)
    check_ends(history, old, new, direction)
    bisection = _Bisection(clone, worktree, processes, direction, tuple(paths), first_parent)

    def keep_log() -> None:
        if log is not None:
            write_whole(log, bisection.log())

    dialogue = _Dialogue(ask, direction, Candidate(target, "", edits), listener, keep_log)
    ended = bisection.start(new, (old.oid, *known_old), skips, dialogue.heard)
    if ended.returncode == 0 and not bisection.over():
        ended = dialogue.hold(bisection)
    keep_log()
    bisection.compare(dialogue.steps, skips)
    return _result(bisection, ended, history, tuple(dialogue.steps))


def check_ends(history: History, old: Commit, new: Commit, direction: Direction) -> tuple[str, ...]:
    """Ids of the merge bases that git has to test first: none when the old end is an ancestor of the new one."""
    if old.oid == new.oid:
        raise UsageError(f"good and bad are the same commit {old}", hint="name two commits")
    bases = history.merge_bases(old.oid, new.oid)
    if not bases:
        raise UsageError(f"good and bad share no history: {old} and {new}", hint="name two commits of one history")
    if new.oid in bases:
        raise UsageError(f"{direction.new} {new} is an ancestor of {direction.old} {old}", hint=direction.swap_hint)
    return () if old.oid in bases else bases


def stood_in(history: History, bases: tuple[str, ...], steps: Iterable[Judgement]) -> tuple[str, ...]:
    """What a search between ends on different branches takes for granted, in words.

    Args:
        bases: from ``check_ends``.
        steps: all that was judged; the last verdict of a commit counts.
    """
    if not bases:
        return ()
    last = {step.candidate.revision: step.verdict for step in steps}
    skipped = {oid for oid, verdict in last.items() if verdict in (Verdict.SKIP, Verdict.WEAK)}
    said = ["the older end is no ancestor of the newer one: their merge base stood in for it"]
    # git goes on without them, as if they were like the older end (git-bisect(1) warns, and so do we).
    said += [f"the merge base {base} cannot be judged" for base in history.commits(set(bases) & skipped)]
    return tuple(said)


@dataclass(frozen=True)
class _Bisection:
    """git's side: its commands, its log, what it left when it ended."""

    clone: PrivateClone
    worktree: Path
    processes: Processes
    direction: Direction
    paths: tuple[str, ...]
    first_parent: bool

    def start(
        self, new: Commit, old: tuple[str, ...], skips: tuple[str, ...], heard: Callable[[str], None]
    ) -> ProcessResult:
        """`git bisect start` with both ends, then the skips that are known. It may end the search at once."""
        argv = ["bisect", "start", "--no-checkout"]
        argv += ["--first-parent"] if self.first_parent else []
        words = self.direction
        argv += [f"--term-old={words.git_old}", f"--term-new={words.git_new}"] if words.find_fix else []
        finished = self.git(*argv, new.oid, *old, "--", *self.paths)
        if skips and finished.returncode == 0 and not self.over():
            finished = self.git("bisect", "skip", *skips)
        heard(finished.stdout)
        return finished

    def git(self, *arguments: str) -> ProcessResult:
        """git in the worktree; its exit code is for the caller."""
        argv = ["git", *arguments]
        return self.processes.run(argv, access=HOST, cwd=self.worktree, env=self.clone.git.environment, check=False)

    def run(self, socket_path: Path) -> Child:
        """`git bisect run` with the messenger."""
        argv = ["git", "bisect", "run", sys.executable, "-I", "-S", os.fspath(STEP), os.fspath(socket_path)]
        return self.processes.start(argv, access=HOST, cwd=self.worktree, env=self.clone.git.environment)

    def log(self) -> str:
        """`git bisect log` as it stands."""
        path = self.clone.git.git_dir / "worktrees" / self.worktree.name / "BISECT_LOG"
        return path.read_text(errors="replace", encoding="utf-8") if path.exists() else ""

    def over(self) -> bool:
        """Whether git has ended the search."""
        log = self.log()
        return bool(FOUND.search(log) or ONLY_SKIPPED.search(log))

    def left(self) -> list[str]:
        """Ids of the commits that may still be the first bad one, newest first."""
        options, words = ["--first-parent"] if self.first_parent else [], self.direction
        known = [f"refs/bisect/{words.git_new}", "--not", f"--glob=refs/bisect/{words.git_old}-*"]
        return self.git("rev-list", "--topo-order", *options, *known, "--", *self.paths).stdout.split()

    def compare(self, steps: Iterable[Judgement], skips: Iterable[str]) -> None:
        """Raise InfraError when git noted a verdict that we did not give: a step that failed in an unforeseen way."""
        ours = {step.candidate.revision: self.direction.git_word(step.verdict) for step in steps}
        ours |= dict.fromkeys(skips, "skip")
        for word, revisions in MARK.findall(self.log()):
            for revision in revisions.split():
                if ours.get(revision) != word:
                    said = ours.get(revision, "nothing")
                    raise InfraError(f"git took {revision[:12]} for {word}, and the campaign said {said}")


class _Dialogue:
    """Our side: answers git's steps one by one."""

    def __init__(
        self, ask: Ask, direction: Direction, like: Candidate, listener: Listener, before_step: Callable[[], None]
    ) -> None:
        self.steps: list[Judgement] = []
        self.said = ""  # the end of git's output
        self._ask = ask
        self._direction = direction
        self._like = like
        self._listener = listener
        self._before_step = before_step
        self._estimate: tuple[int, int] | None = None

    def heard(self, text: str) -> None:
        """Take in what git printed; in it stands its estimate of what is left."""
        self.said = (self.said + text)[-OUTPUT_KEPT:]
        for line in text.split("\n"):  # splitlines() also breaks at what a subject may hold
            if found := ESTIMATE.match(line):
                self._estimate = int(found[1]), int(found[2])
            elif line.startswith("Bisecting: a merge base must be tested"):
                self._estimate = None

    def hold(self, bisection: _Bisection) -> ProcessResult:
        """Let git run to its end. Raises what ``ask`` raises."""
        path = bisection.worktree / SOCKET
        with _listening(path) as server, bisection.run(path) as child, selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            selector.register(child.fd, selectors.EVENT_READ)
            output = codecs.getincrementaldecoder("utf-8")("replace")
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if child.fd in ready:  # before the step's question: git prints its estimate first
                    chunk = os.read(child.fd, 64 << 10)
                    self.heard(output.decode(chunk))
                    if not chunk:
                        return ProcessResult(child.argv, child.wait(), self.said, "", 0.0)
                elif server.fileno() in ready:
                    self._serve(server, child)

    def _serve(self, server: socket.socket, child: Child) -> None:
        connection, _ = server.accept()
        try:
            with connection, connection.makefile("rb") as questions:
                revision = questions.readline().decode("ascii", "replace").strip()
                self._before_step()
                code = self._answer(revision)
                with suppress(OSError):  # the step is gone: git ends by itself, and its exit code says why
                    connection.sendall(b"%d\n" % code)
        except BaseException:
            # The step has lost us, returns 128, and git ends its bisection.
            with suppress(TimeoutError):
                child.wait(GOODBYE)
            raise

    def _answer(self, revision: str) -> GitCode:
        if not OID.fullmatch(revision):
            raise InfraError(f"the step of git bisect named {revision!r}, which is no commit")
        self._listener(self._progress())
        judgement = self._ask(replace(self._like, revision=revision))
        self.steps.append(judgement)
        return self._direction.code(judgement.verdict)

    def _progress(self) -> Progress:
        number = len(self.steps) + 1
        if self._estimate is None:
            return Progress(Phase.SEARCH, f"{number}: the merge base of good and bad")
        revisions, steps = self._estimate
        total = number + steps
        detail = f"{number} of about {total}: {revisions} revision{'' if revisions == 1 else 's'} left"
        return Progress(Phase.SEARCH, detail, (number - 1) / total)


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A Unix socket at ``path``, however long that is: named by way of its open folder (unix(7): 107 bytes)."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
            server.listen()
            yield server
    finally:
        os.close(folder)
        path.unlink(missing_ok=True)


def _result(
    bisection: _Bisection,
    ended: ProcessResult,
    history: History,
    steps: tuple[Judgement, ...],
) -> SearchResult:
    log = bisection.log()
    result = SearchResult(SearchEnd.FIRST_BAD, "", log=log, steps=steps)
    new = bisection.direction.git_new
    if found := FOUND.search(log):
        first = history.commit(found[1])
        return replace(result, first_bad=first, summary=f"{first} is the first {new} commit")
    if ended.returncode == ONLY_SKIPPED_LEFT or ONLY_SKIPPED.search(log):
        suspects = history.commits(bisection.left())
        summary = f"the first {new} commit is one of {len(suspects)} that cannot be distinguished"
        return replace(result, ended=SearchEnd.NARROWED, suspects=suspects, summary=summary)
    if ended.returncode == MERGE_BASE_CHECK and steps:
        base = history.commit(steps[-1].candidate.revision)
        return replace(
            result, ended=SearchEnd.MERGE_BASE_BAD, merge_base=base, summary=_older_than_fork(base, bisection.direction)
        )
    if ended.returncode == NO_TESTABLE_COMMIT and bisection.paths:
        summary = f"the first {new} commit touches none of {', '.join(bisection.paths)}"
        return replace(result, ended=SearchEnd.OUTSIDE_PATHS, summary=summary)
    lines = "\n".join(ended.stdout.strip().splitlines()[-10:])
    raise InfraError(f"git bisect ended with exit code {ended.returncode} and no answer", hint=lines)


def _older_than_fork(base: Commit, direction: Direction) -> str:
    if not direction.find_fix:
        return (
            f"bad already at {base}, where the branches of good and bad part: the bug is older, and was fixed on the "
            "way to good. Name a good commit that is an ancestor of bad, or search for the fix from there to good"
        )
    return (
        f"good already at {base}, where the branches of bad and good part: the bug came in on the way to bad, and the "
        "branch of good never had it, so there is no fix to find"
    )
