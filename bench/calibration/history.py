# SPDX-License-Identifier: GPL-2.0-only
"""Generated histories: linear ones, and graphs with merges as a kernel's has them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

EPOCH = 1_700_000_000


@dataclass(frozen=True)
class History:
    """Commits 0 (the good end, everybody's ancestor) to n - 1 (the bad end, everybody's descendant), parents first.

    ``dates``: seconds, never older than a parent's. ``oids``: 40 hex digits; made up until git has made real ones.
    """

    parents: tuple[tuple[int, ...], ...]
    dates: tuple[int, ...]
    oids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def ancestors(self) -> list[int]:
        """For each commit the set of its ancestors and itself, as bits."""
        sets: list[int] = []
        for commit, parents in enumerate(self.parents):
            bits = 1 << commit
            for parent in parents:
                bits |= sets[parent]
            sets.append(bits)
        return sets

    def is_ancestor(self, old: int, new: int) -> bool:
        """Whether ``old`` is an ancestor of ``new`` or the same."""
        return bool(self.ancestors[new] >> old & 1)


def linear(size: int, chance: random.Random) -> History:
    """A single strand."""
    return _history([(commit - 1,) if commit else () for commit in range(size)], chance)


def graph(size: int, chance: random.Random, *, forks: float = 0.12, same_second: float = 0.1) -> History:
    """A history with branches and merges: ``forks`` of its commits begin a branch, about as many end one.

    Raises nothing; the last commits merge what is still open, so the size may pass ``size`` a little.
    """
    parents: list[tuple[int, ...]] = [()]
    heads = [0]
    while len(parents) < size or len(heads) > 1:
        commit, closing = len(parents), len(parents) >= size
        dice = chance.random()
        if len(heads) > 1 and (closing or dice < forks * len(heads) / 3):
            count = 3 if len(heads) > 2 and chance.random() < 0.05 else 2
            merged = chance.sample(heads, count)
            heads = [head for head in heads if head not in merged] + [commit]
            parents.append(tuple(merged))
        elif dice > 1 - forks and commit > 1:
            parents.append((chance.randrange(max(0, commit - 60), commit),))
            _move(heads, parents[-1][0], commit)
        else:
            head = chance.choice(heads)
            parents.append((head,))
            _move(heads, head, commit)
    return _history(parents, chance, same_second)


def _move(heads: list[int], old: int, new: int) -> None:
    if old in heads:
        heads.remove(old)
    heads.append(new)


def _history(parents: list[tuple[int, ...]], chance: random.Random, same_second: float = 0.0) -> History:
    dates, now = [], EPOCH
    for _ in parents:
        now += 0 if chance.random() < same_second else chance.randrange(1, 600)
        dates.append(now)
    oids = tuple(f"{chance.getrandbits(160):040x}" for _ in parents)
    return History(tuple(parents), tuple(dates), oids)


def import_stream(history: History) -> bytes:
    """Input for ``git fast-import`` that makes ``history`` on the branch main; mark k + 1 is commit k."""
    lines: list[str] = []
    for commit, parents in enumerate(history.parents):
        message = f"commit {commit}\n"
        lines += [
            "commit refs/heads/main",
            f"mark :{commit + 1}",
            f"committer Bench <bench@localhost> {history.dates[commit]} +0000",
            f"data {len(message)}",
            message,
        ]
        lines += [f"{'merge' if place else 'from'} :{parent + 1}" for place, parent in enumerate(parents)]
        lines += [f"M 100644 inline file-{commit % 7}", f"data {len(str(commit))}", f"{commit}", ""]
    return "\n".join(lines).encode()


Judged = Callable[[int], str]
"""A commit's verdict: good, bad, skip."""
