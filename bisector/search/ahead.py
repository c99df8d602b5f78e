# SPDX-License-Identifier: GPL-2.0-only
"""What a search has built before it needs it: git's next candidate for either answer, then what the proof tries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bisector.direction import Direction
from bisector.judge import Judge
from bisector.model import Candidate, Commit, Verdict
from bisector.search.clone import PrivateClone
from bisector.search.forecast import Forecast, proof_candidates
from bisector.search.knowledge import Knowledge


@dataclass(frozen=True)
class SearchAhead:
    """Says to the judge's idle builders what may be needed next.

    Args:
        like: gives the target of every candidate.
        ends: ids of the old and the new end.
    """

    judge: Judge
    clone: PrivateClone
    direction: Direction
    like: Candidate
    ends: tuple[str, str]

    @contextmanager
    def during(self, known: Knowledge, campaign: str, log: Path) -> Iterator[None]:
        """While git searches: beside the trials of a candidate idle builders make what git will ask for next.

        Args:
            campaign: its id; the copy of the bisect state has a worktree of its own.
            log: of git's search, as it stands.
        """
        if not self.judge.tools.builders_ahead():
            yield
            return
        with self.clone.bisect_worktree(f"{campaign}-ahead") as worktree:
            forecast = Forecast(self.clone, worktree, self.direction, log)

            def before(candidate: Candidate) -> None:
                needed = self.judge.with_fixups(candidate)
                self.judge.builds.want(partial(self._likely, forecast, candidate), now=needed)

            known.before = before
            try:
                yield
            finally:
                known.before = None
                self.judge.builds.rest()

    def _likely(self, forecast: Forecast, candidate: Candidate) -> Iterator[Candidate]:
        """What comes after either answer; with more builders what comes after several.

        Before any trial both answers are as likely, and a bad one comes sooner. What has the inputs of a build needs
        none; the proof, which builds all that it tries, comes when the search has ended.
        """
        way, like = self.direction, replace(self.like, revision=candidate.revision)
        words = way.git_word(Verdict.BAD), way.git_word(Verdict.GOOD)
        most = max(len(words), self.judge.tools.builders_ahead())
        for each in map(self.judge.with_fixups, forecast.likely(like, words, self.ends, most)):
            if self.judge.tools.build_all or not self.judge.known_image(each):
                yield each

    def for_ends(self, good: Candidate, bad: Candidate) -> None:
        """The bad end beside the good one. One builder alone would begin it only to be stopped."""
        if self.judge.tools.builders_ahead() > 1:
            self.judge.builds.want(lambda: [self.judge.with_fixups(bad)], now=self.judge.with_fixups(good))

    def for_proof(self, culprit: Commit) -> None:
        """What the proof of the culprit tries."""
        history = self.clone.history()
        self.judge.builds.want(
            lambda: map(self.judge.with_fixups, proof_candidates(history, self.like, culprit.oid, self.ends))
        )
