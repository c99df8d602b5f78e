# SPDX-License-Identifier: GPL-2.0-only
"""Which commit git bisect tries next, in process; proven equal to git itself by tests/calibration.

git's ``bisect.c`` (2.39): find_bisection, approx_halfway, best_bisection, best_bisection_sorted, filter_skipped,
skip_away with get_prn and sqrti. Only what needs no paths: every commit counts.
"""

from __future__ import annotations

import heapq
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from bench.calibration.history import History, Judged

PRN_MODULO = 32768


@dataclass(frozen=True)
class Found:
    """How git ended: one suspect is the first bad commit, several are "only skipped commits left"."""

    suspects: frozenset[int]


def next_commit(history: History, bad: int, goods: Iterable[int], skips: frozenset[int]) -> int | Found:
    """The commit that git tries next, or what it found.

    ``skips``: all that were ever skipped in this bisection; one alone makes git sort and find a way round.
    """
    left = history.ancestors[bad]
    for good in goods:
        left &= ~history.ancestors[good]
    oldest_first = walk(history, bad, left)[::-1]
    if skips:
        return _round_skips(history, bad, left, oldest_first, skips)
    best = _best(history, left, oldest_first)
    return Found(frozenset((bad,))) if best == bad else best


def walk(history: History, bad: int, left: int) -> list[int]:
    """The commits of ``left`` in the order of git's date queue, newest first, equal dates as they came in."""
    queue, count, seen = [(-history.dates[bad], 0, bad)], 1, 1 << bad
    order = []
    while queue:
        commit = heapq.heappop(queue)[2]
        order.append(commit)
        for parent in history.parents[commit]:
            if left >> parent & 1 and not seen >> parent & 1:
                seen |= 1 << parent
                heapq.heappush(queue, (-history.dates[parent], count, parent))
                count += 1
    return order


def _best(history: History, left: int, oldest_first: list[int]) -> int:
    total = len(oldest_first)
    weight = {commit: (history.ancestors[commit] & left).bit_count() for commit in oldest_first}
    inside = {c: [p for p in history.parents[c] if left >> p & 1] for c in oldest_first}

    def halfway(commit: int) -> bool:
        off = abs(2 * weight[commit] - total)
        return off <= 1 or off < total // 1024

    known = set()
    for commit in oldest_first:
        if not inside[commit]:
            known.add(commit)
    for commit in oldest_first:  # merges are counted first, and the first one that is halfway is taken
        if len(inside[commit]) > 1:
            if halfway(commit):
                return commit
            known.add(commit)
    while len(known) < total:
        for commit in oldest_first:
            if commit not in known and any(parent in known for parent in inside[commit]):
                known.add(commit)
                if halfway(commit):
                    return commit
    return max(oldest_first, key=lambda commit: min(weight[commit], total - weight[commit]))


def _round_skips(history: History, bad: int, left: int, commits: list[int], skips: frozenset[int]) -> int | Found:
    total = len(commits)

    def order(commit: int) -> tuple[int, str]:
        weight = (history.ancestors[commit] & left).bit_count()
        return -min(weight, total - weight), history.oids[commit]

    by_worth = sorted(commits, key=order)
    if by_worth[0] not in skips:
        return Found(frozenset((bad,))) if by_worth[0] == bad else by_worth[0]
    allowed = [commit for commit in by_worth if commit not in skips]
    chosen = _skip_away(allowed, bad)
    return Found(frozenset(commits)) if chosen == bad else chosen


def _skip_away(allowed: list[int], bad: int) -> int:
    count = len(allowed)
    prn = ((count * 1103515245 + 12345) & 0xFFFFFFFF) // 65536 % PRN_MODULO
    index = (count * prn // PRN_MODULO) * _sqrti(prn) // _sqrti(PRN_MODULO)
    if index >= count:
        return allowed[0]
    if allowed[index] != bad:
        return allowed[index]
    return allowed[index - 1] if index else allowed[0]


def _sqrti(value: int) -> int:
    """git's integer square root, in the single precision that git counts in."""
    if not value:
        return 0
    x = _single(float(value))
    while True:
        y = _single((x + _single(value / x)) / 2)
        off = abs(y - x)
        x = y
        if off < 0.5:
            return math.floor(x)


def _single(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def bisect(history: History, good: int, bad: int, judged: Judged) -> tuple[list[tuple[int, str]], Found]:
    """A whole bisection: what git tried with the answers, in order, and what it found."""
    goods, skips = [good], frozenset[int]()
    steps: list[tuple[int, str]] = []
    while True:
        choice = next_commit(history, bad, goods, skips)
        if isinstance(choice, Found):
            return steps, choice
        verdict = judged(choice)
        steps.append((choice, verdict))
        if verdict == "bad":
            bad = choice
        elif verdict == "good":
            goods.append(choice)
        else:
            skips |= {choice}
