# SPDX-License-Identifier: GPL-2.0-only
"""The search over releases, against planted answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from bisector.direction import BUG, FIX, Direction
from bisector.model import Candidate, Judgement, TargetKind, Verdict
from bisector.search.releases import Ending, Found, Release, between, limit, numbers, scan, search

GOOD, BAD, SKIP = Verdict.GOOD, Verdict.BAD, Verdict.SKIP


def release(version: str) -> Release:
    return Release(numbers(version), Candidate(TargetKind.KERNEL_PACKAGE, f"{version}-1", label=version))


class Planted:
    """Answers from a table and counts what was tried."""

    def __init__(self, verdicts: Mapping[str, Verdict]) -> None:
        self.verdicts = verdicts
        self.tried: list[str] = []
        self.releases = [release(version) for version in verdicts]

    def judge(self, candidate: Candidate) -> Judgement:
        self.tried.append(candidate.label)
        return Judgement(candidate, self.verdicts[candidate.label], "planted")

    def search(self, direction: Direction = BUG) -> Found:
        return search(self.releases, self.judge, direction)


def test_four_series_need_four_candidates() -> None:
    planted = Planted(
        {"6.12.43": GOOD, "6.12.95": GOOD, "6.16.3": GOOD, "6.16.12": GOOD, "6.17.8": GOOD, "6.17.13": GOOD}
        | {"6.18.5": BAD, "6.18.15": BAD}
    )
    found = planted.search()
    assert planted.tried == ["6.12.95", "6.18.5", "6.17.8", "6.17.13"]
    assert found.ending is Ending.BETWEEN
    assert found.summary == "6.17 good, 6.18 bad: look between v6.17 and v6.18"
    assert found.limit == 6


def test_a_bug_that_came_by_backport_is_found_inside_its_series() -> None:
    planted = Planted(
        {"6.12.1": GOOD, "6.12.2": GOOD, "6.16.3": GOOD, "6.16.5": GOOD, "6.16.7": BAD, "6.16.12": BAD, "6.17.1": BAD}
        | {"6.18.1": BAD}
    )
    found = planted.search()
    assert found.ending is Ending.INSIDE
    assert found.summary == "came with a stable backport between 6.16.3 and 6.16.7"
    assert found.notes == ("6.16.5, between the two: not tested, or cannot be judged",)  # six candidates were tried


def test_ends_of_one_series_are_searched_by_patch_level() -> None:
    planted = Planted({"6.16.3": GOOD, "6.16.5": GOOD, "6.16.7": BAD, "6.16.12": BAD})
    assert planted.search().summary == "came with a stable backport between 6.16.5 and 6.16.7"


def test_a_bug_that_is_fixed_later_in_its_series_is_still_found_there() -> None:
    planted = Planted({"6.16.3": GOOD, "6.17.8": GOOD, "6.18.5": BAD, "6.18.40": GOOD, "7.0.3": BAD, "7.1.1": BAD})
    found = planted.search()
    assert found.summary == "6.17 good, 6.18 bad: look between v6.17 and v6.18"


def test_alike_ends_say_that_what_came_and_went_cannot_be_seen() -> None:
    planted = Planted({"6.17.8": GOOD, "6.18.5": BAD, "7.2.6": GOOD})
    found = planted.search()
    assert found.ending is Ending.ALIKE
    assert "--scan" in found.summary
    assert planted.tried == ["6.17.8", "7.2.6"]


def test_a_scan_reports_introduction_and_fix() -> None:
    planted = Planted(
        {"6.16.3": GOOD, "6.17.8": GOOD, "6.17.13": GOOD, "6.18.5": BAD, "6.18.15": BAD, "7.2.6": GOOD, "7.2.9": GOOD}
    )
    found = scan(planted.releases, planted.judge)
    assert found.summary == (
        "good 6.16 to 6.17, bad 6.18, good 7.2; introduced between 6.17.13 and 6.18.5; fixed between 6.18.15 and 7.2.6"
    )
    assert [change.direction for change in found.changes] == [BUG, FIX]


def test_a_scan_sees_a_fix_by_backport_as_one() -> None:
    planted = Planted({"6.17.8": GOOD, "6.18.5": BAD, "6.18.40": GOOD, "7.2.6": GOOD})
    found = scan(planted.releases, planted.judge)
    assert "fixed with a stable backport between 6.18.5 and 6.18.40" in found.summary


def test_find_fix_looks_the_other_way() -> None:
    planted = Planted({"6.18.5": BAD, "6.18.15": BAD, "6.19.2": BAD, "7.0.4": GOOD, "7.2.6": GOOD})
    found = planted.search(FIX)
    assert found.summary == "6.19 bad, 7.0 good: look between v6.19 and v7.0"
    assert found.change is not None
    assert found.change.direction is FIX


def test_swapped_ends_are_said() -> None:
    found = Planted({"6.17.8": BAD, "6.18.5": GOOD}).search()
    assert found.ending is Ending.REVERSED


def test_an_end_that_does_not_boot_gives_way_to_its_neighbour() -> None:
    planted = Planted({"6.16.3": GOOD, "6.17.8": GOOD, "6.18.5": SKIP, "6.18.9": BAD})
    found = planted.search()
    assert found.change is not None
    assert str(found.change.after) == "6.18.9"
    assert found.notes == ("the patch levels of 6.18 before 6.18.9: not tested, or cannot be judged",)


def test_a_series_that_cannot_be_judged_stays_in_the_range_and_is_named() -> None:
    planted = Planted({"6.15.1": GOOD, "6.16.3": GOOD, "6.17.8": SKIP, "6.18.5": BAD})
    found = planted.search()
    assert found.summary == "6.16 good, 6.18 bad: look between v6.16 and v6.18"
    assert found.notes == ("6.17.8, between the two: not tested, or cannot be judged",)


def test_bounds_take_series_or_patch_levels() -> None:
    releases = [release(v) for v in ("6.12.43", "6.12.95", "6.16.3", "6.18.5", "6.18.9", "7.2.6")]
    names = lambda old, new: [str(one) for one in between(releases, old, new)]  # noqa: E731
    assert names("v6.12", "v6.18") == ["6.12.43", "6.12.95", "6.16.3", "6.18.5", "6.18.9"]
    assert names("6.12.90", "6.18.5") == ["6.12.95", "6.16.3", "6.18.5"]
    assert names("v6.17", "v6.19") == ["6.16.3", "6.18.5", "6.18.9", "7.2.6"]  # the next outside of each
    assert names("", "") == [str(one) for one in releases]


def test_a_commit_is_no_version() -> None:
    assert numbers("5ff3f74e145a") == ()
    assert numbers("v6.18-rc1") == (6, 18)
    assert numbers("6.18.9") == (6, 18, 9)


# ---- properties ----------------------------------------------------------------------------------------------------


@st.composite
def lines(draw: st.DrawFn) -> tuple[dict[str, Verdict], bool]:
    """Series with patch levels whose verdict changes once, at a series or inside one; some cannot be judged."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=14))
    names = [f"6.{series}.{level}" for series, levels in enumerate(shape) for level in range(levels)]
    turn = draw(st.integers(1, len(names)))
    verdicts = {name: GOOD if index < turn else BAD for index, name in enumerate(names)}
    skips = draw(st.sets(st.sampled_from(names), max_size=draw(st.sampled_from([0, 0, 3, len(names)]))))
    return verdicts | dict.fromkeys(skips, SKIP), bool(skips)


@given(lines())
def test_never_more_candidates_than_the_limit_and_none_twice(line: tuple[dict[str, Verdict], bool]) -> None:
    planted = Planted(line[0])
    planted.search()
    series = len({name.rsplit(".", 1)[0] for name in line[0]})
    assert len(planted.tried) <= math.ceil(math.log2(series)) + 4 == limit(series)
    assert len(set(planted.tried)) == len(planted.tried)


@given(lines())
def test_what_is_found_was_seen_and_brackets_the_change(line: tuple[dict[str, Verdict], bool]) -> None:
    verdicts, _ = line
    found = Planted(verdicts).search()
    if found.change:
        before, after = str(found.change.before), str(found.change.after)
        assert (verdicts[before], verdicts[after]) == (GOOD, BAD)
        assert found.change.before.version < found.change.after.version


@given(lines())
def test_without_skips_the_pair_of_series_is_exact(line: tuple[dict[str, Verdict], bool]) -> None:
    verdicts, skips = line
    names = list(verdicts)
    if skips or BAD not in verdicts.values():
        return
    first_bad = list(verdicts.values()).index(BAD)
    found = Planted(verdicts).search()
    assert found.change is not None
    before, after = _series(names[first_bad - 1]), _series(names[first_bad])
    assert (_series(str(found.change.before)), _series(str(found.change.after))) == (before, after)
    if before != after:
        assert (str(found.change.before), str(found.change.after)) == (names[first_bad - 1], names[first_bad])
    assert all(str(one) not in found.summary for one in found.change.untested)


@given(lines())
def test_a_fix_is_searched_like_a_bug(line: tuple[dict[str, Verdict], bool]) -> None:
    verdicts, _ = line
    mirror = {GOOD: BAD, BAD: GOOD, SKIP: SKIP}
    bug, fix = Planted(verdicts), Planted({name: mirror[verdict] for name, verdict in verdicts.items()})
    bug.search()
    fix.search(FIX)
    assert bug.tried == fix.tried


def _series(version: str) -> Sequence[str]:
    return version.split(".")[:2]
