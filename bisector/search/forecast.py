# SPDX-License-Identifier: GPL-2.0-only
"""What git would ask for next: git itself says it, on a copy of its bisect state."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector.direction import Direction
from bisector.model import Candidate, Edit, EditKind
from bisector.search.clone import PrivateClone
from bisector.search.commits import FOUND, ONLY_SKIPPED
from bisector.search.gitrepo import OID, History
from bisector.system.files import write_whole
from bisector.system.proc import ProcessResult
from bisector.system.sandbox import HOST

NEXT = "BISECT_HEAD"  # what `git bisect --no-checkout` sets to the commit that it wants judged


@dataclass(frozen=True)
class Next:
    """What comes after an answer: ``revision`` is judged next, or the search has ended, and may name ``found``."""

    revision: str = ""
    found: str = ""


@dataclass(frozen=True)
class Forecast:
    """Answers what comes next.

    Args:
        worktree: a linked worktree of the clone for the copy of the state; another one than git's own search uses.
        log: of git's own search (`git bisect log`), as it stands.
    """

    clone: PrivateClone
    worktree: Path
    direction: Direction
    log: Path

    def after(self, *marks: tuple[str, str]) -> Next:
        """What comes after these answers, given as git's word and a commit's id. Raises InfraError when git fails."""
        lines = [f"git bisect {word} {revision}" for word, revision in marks]
        replayed = self.worktree / "replayed.log"
        write_whole(replayed, self.log.read_text(encoding="utf-8") + "".join(f"{line}\n" for line in lines))
        self._git("bisect", "replay", str(replayed))
        noted = self._git("bisect", "log").stdout
        if found := FOUND.search(noted):
            return Next(found=found[1])
        if ONLY_SKIPPED.search(noted):
            return Next()
        revision = self._git("rev-parse", "--verify", "--quiet", NEXT).stdout.strip()
        return Next(revision if OID.fullmatch(revision) else "")

    def likely(
        self, candidate: Candidate, words: Sequence[str], ends: tuple[str, str], most: int
    ) -> Iterator[Candidate]:
        """The candidates that are needed after either answer, then those after two answers, and so on.

        Args:
            words: git's words for the answers, the likelier first.
            ends: ids of the old and the new end, over which a proof lays the culprit's edits.
            most: commits of the search after which no further answers are foreseen.
        """
        count = 0
        open_ends: deque[tuple[tuple[str, str], ...]] = deque([()])
        revisions: dict[tuple[tuple[str, str], ...], str] = {(): candidate.revision}
        while open_ends and count < most:
            known = open_ends.popleft()
            for word in words:
                marks = (*known, (word, revisions[known]))
                then = self.after(*marks)
                if then.revision:
                    revisions[marks] = then.revision
                    open_ends.append(marks)
                    count += 1
                    yield Candidate(candidate.target, then.revision, candidate.edits)
                elif then.found:
                    yield from proof_candidates(self.clone.history(), candidate, then.found, ends)

    def _git(self, *arguments: str) -> ProcessResult:
        argv, environment = ["git", *arguments], self.clone.git.environment
        return self.clone.processes.run(argv, access=HOST, cwd=self.worktree, env=environment, check=False)


def proof_candidates(history: History, like: Candidate, culprit: str, ends: tuple[str, str]) -> Iterator[Candidate]:
    """What the proof of a culprit tries: it, its parents, and its edits over the ends.

    Args:
        like: gives the target and the edits of every candidate.
        ends: ids of the old and the new end.
    """
    parents = history.commit(culprit).parents
    for revision in (culprit, *parents):
        yield Candidate(like.target, revision, like.edits)
    if len(parents) == 1:
        old, new = ends
        yield Candidate(like.target, new, (Edit(EditKind.REVERT, culprit),))
        yield Candidate(like.target, old, (Edit(EditKind.APPLY, culprit),))
