# SPDX-License-Identifier: GPL-2.0-only
"""What a search knows of its history, and what is left of that when a proof contradicts it. Pure.

"Good" and "bad" are the older and the newer side, as in git's own words: with --find-fix the older side is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

IsAncestor = Callable[[str, str], bool]
"""Whether the first commit is an ancestor of the second or the same."""


@dataclass(frozen=True)
class Frontier:
    """Commits by verdict, each in the order in which they were judged; the ends stand first.

    May be the first bad one: ``bads[-1]`` and its ancestors, less every good commit and its ancestors.
    """

    goods: tuple[str, ...]
    bads: tuple[str, ...]
    skips: tuple[str, ...] = ()

    @property
    def bad(self) -> str:
        """The oldest commit known to be bad."""
        return self.bads[-1]

    def with_good(self, commit: str) -> Frontier:
        """One more good commit."""
        return replace(self, goods=(*self.goods, commit))

    def with_bad(self, commit: str) -> Frontier:
        """One more bad commit; an ancestor of the bad one before."""
        return replace(self, bads=(*self.bads, commit))

    def with_skip(self, commit: str) -> Frontier:
        """One more commit that cannot be judged."""
        return replace(self, skips=(*self.skips, commit))

    def is_bad_after_all(self, commit: str, is_ancestor: IsAncestor) -> Frontier:
        """A commit taken for good reproduced in the proof: it is bad, and no commit that contains it is good.

        What was called bad still is (it contains the culprit); only the newest bad ancestor counts for git.
        """
        goods = tuple(good for good in self.goods if not is_ancestor(commit, good))
        return replace(self, goods=goods, bads=(*self.bads, commit))

    def is_good_after_all(self, commit: str, is_ancestor: IsAncestor) -> Frontier:
        """A commit taken for bad did not reproduce in the proof: it is good, and no ancestor of it is bad."""
        bads = tuple(bad for bad in self.bads if not is_ancestor(bad, commit))
        return replace(self, goods=(*self.goods, commit), bads=bads)

    def wrongly_good(self, commit: str, is_ancestor: IsAncestor) -> tuple[str, ...]:
        """The commits called good that contain ``commit``, which turned out bad."""
        return tuple(good for good in self.goods if is_ancestor(commit, good))

    def covering(self, commit: str, is_ancestor: IsAncestor) -> str:
        """The commit called good last that contains ``commit``: what vouches for one that cannot be tried itself."""
        return next((good for good in reversed(self.goods) if is_ancestor(commit, good)), "")

    def only_ends(self, *commits: str) -> Frontier:
        """Commits that the proof could not judge: these are skipped, and none of what the search called good vouches
        for anything any more."""
        bads = tuple(bad for bad in self.bads if bad not in commits)
        return replace(self, goods=self.goods[:1], bads=bads, skips=(*self.skips, *commits))
