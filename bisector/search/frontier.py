# SPDX-License-Identifier: GPL-2.0-only
"""What a search knows of its history, and what is left of that when a proof contradicts it. Pure.

"Old" and "new" are the two sides, as in git's own words: of a search for a fix the old side is the bad one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

IsAncestor = Callable[[str, str], bool]
"""Whether the first commit is an ancestor of the second or the same."""


@dataclass(frozen=True)
class Frontier:
    """Commits by side, each in the order in which they were judged; the ends stand first.

    May be the first new one: ``new[-1]`` and its ancestors, less every old commit and its ancestors.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]
    skips: tuple[str, ...] = ()

    @property
    def first_new(self) -> str:
        """The oldest commit known to be new."""
        return self.new[-1]

    def with_old(self, commit: str) -> Frontier:
        """One more old commit."""
        return replace(self, old=(*self.old, commit))

    def with_new(self, commit: str) -> Frontier:
        """One more new commit; an ancestor of the new one before."""
        return replace(self, new=(*self.new, commit))

    def with_skip(self, commit: str) -> Frontier:
        """One more commit that cannot be judged."""
        return replace(self, skips=(*self.skips, commit))

    def is_new_after_all(self, commit: str, is_ancestor: IsAncestor) -> Frontier:
        """A commit taken for old is new by its proof, and no commit that contains it is old.

        What was called new still is (it contains the culprit); only the newest such ancestor counts for git.
        """
        old = tuple(each for each in self.old if not is_ancestor(commit, each))
        return replace(self, old=old, new=(*self.new, commit))

    def is_old_after_all(self, commit: str, is_ancestor: IsAncestor) -> Frontier:
        """A commit taken for new is old by its proof, and no ancestor of it is new."""
        new = tuple(each for each in self.new if not is_ancestor(each, commit))
        return replace(self, old=(*self.old, commit), new=new)

    def wrongly_old(self, commit: str, is_ancestor: IsAncestor) -> tuple[str, ...]:
        """The commits called old that contain ``commit``, which turned out new."""
        return tuple(each for each in self.old if is_ancestor(commit, each))

    def covering(self, commit: str, is_ancestor: IsAncestor) -> str:
        """The commit called old last that contains ``commit``: what vouches for one that cannot be tried itself."""
        return next((each for each in reversed(self.old) if is_ancestor(commit, each)), "")

    def only_ends(self, *commits: str) -> Frontier:
        """Commits that the proof could not judge: these are skipped, and none of what the search called old vouches
        for anything any more."""
        new = tuple(each for each in self.new if each not in commits)
        return replace(self, old=self.old[:1], new=new, skips=(*self.skips, *commits))
