# SPDX-License-Identifier: GPL-2.0-only
"""A watch on a stable release under review: its states, its base, and nights on it while it is replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nextgen import SECONDS, LinuxNext
from night_session import FLAG, Nights, kinds

from bisector.errors import InfraError, UsageError
from bisector.exitcodes import ExitCode
from bisector.nightly.records import State, Where
from bisector.nightly.trees.stable_rc import StableRc
from bisector.system.proc import Processes

BRANCH = "linux-6.18.y"
LEG = "legs-leg-failed"
MORE = f"tree: stable-rc\nbranch: {BRANCH}"


@dataclass
class Review:
    """A stable branch in a local repository, replaced review by review."""

    source: LinuxNext
    released: str = ""
    number: int = 0
    queue: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.released = self.source.git("rev-parse", "v6.18^{commit}")
        self.release()

    def release(self) -> str:
        """What is under review is released."""
        self.number += 1
        tip = self._laid()
        self.released = self.source.commit(f"Linux 6.18.{self.number}", "net", (tip,), {"sublevel": f"{self.number}\n"})
        self.source.git("tag", "-a", "-m", "released", f"v6.18.{self.number}", self.released)
        self.queue = []
        return self.released

    def publish(self, day: int) -> str:
        """Put the queue up for review on the ``day``-th of the test; gives the branch's newest commit."""
        self.source.clock = SECONDS + day * 86400
        name = f"Linux 6.18.{self.number + 1}-rc1"
        tip = self.source.commit(name, "net", (self._laid(),), {"extraversion": "-rc1\n"})
        self.source.git("update-ref", f"refs/heads/{BRANCH}", tip)
        return tip

    def _laid(self) -> str:
        tip = self.released
        for subject, change in self.queue:
            tip = self.source.commit(subject, "md", (tip,), change)
        return tip


@pytest.fixture
def review(tmp_path: Path) -> Review:
    made = Review(LinuxNext.make(tmp_path / "stable-rc.git"))
    made.queue = [(f"md: work {number}", {f"md/{number}": "x\n"}) for number in range(4)]
    return made


@pytest.fixture
def nights(tmp_path: Path, review: Review) -> Nights:
    return Nights(tmp_path, review.source.folder, more=MORE)


def clone(tmp_path: Path, review: Review, branch: str = BRANCH) -> StableRc:
    return StableRc(
        tmp_path / "clone.git", str(review.source.folder), Processes(tmp_path / "records"), pause=0.01, branch=branch
    )


def test_a_state_goes_by_the_day_of_its_newest_commit_and_stands_on_the_last_release(
    tmp_path: Path, review: Review
) -> None:
    tip, tree = review.publish(1), clone(tmp_path, review)
    tag, oid = tree.newest()
    tree.fetch(tag)
    day = tree.day(tag)
    assert (oid, day.next.oid) == (tip, tip)
    assert tag == f"{BRANCH}-20260922"
    assert (day.base.oid, day.base_name) == (review.released, "v6.18.1")
    tree.pin(day)
    assert tree.last_release(day.base.oid) == "v6.18"


def test_a_branch_that_was_replaced_is_taken_as_it_is_now(tmp_path: Path, review: Review) -> None:
    review.publish(1)
    tree = clone(tmp_path, review)
    first = tree.newest()
    tree.pin(tree.day(first[0]))
    del review.queue[0]
    second_tip = review.publish(2)
    second = tree.newest()
    assert second[1] == second_tip
    assert second[0] > first[0]
    assert tree.history.commit(first[1]).oid == first[1]  # pinned


def test_what_is_no_stable_branch_is_refused(tmp_path: Path, review: Review) -> None:
    review.publish(1)
    with pytest.raises(UsageError, match=r"has no branch linux-6\.12\.y"):
        clone(tmp_path, review, "linux-6.12.y").newest()
    first = review.source.commit("a start", "net", (), {"x": "y\n"})
    alone = review.source.commit("alone", "net", (first,), {"x": "z\n"})
    review.source.git("update-ref", "refs/heads/linux-9.9.y", alone)
    tree = clone(tmp_path, review, "linux-9.9.y")
    tag, _ = tree.newest()
    with pytest.raises(InfraError, match="holds no commit that makes a release"):
        tree.day(tag)


def test_a_bug_under_review_is_found_followed_when_it_is_rebased_and_fixed_when_it_is_dropped(
    review: Review, nights: Nights
) -> None:
    review.queue.insert(2, ("md: check less", dict(FLAG)))
    review.publish(1)
    assert nights.night().exit_code is ExitCode.BAD
    (found,) = nights.regressions().values()
    assert found.culprit is not None
    assert (found.culprit.subject, found.where) == ("md: check less", Where.NEXT)
    assert nights.drafts() == [LEG]
    first = found.culprit.oid

    assert nights.night().nothing

    review.queue.insert(0, ("md: before it", {"md/before": "x\n"}))
    review.publish(2)
    report = nights.night()
    found = nights.regressions()[LEG]
    assert found.culprit is not None
    assert (found.culprit.subject, found.culprit.oid == first) == ("md: check less", False)
    assert "rebased" in kinds(report)[LEG]

    review.queue = [one for one in review.queue if one[0] != "md: check less"]
    for day in range(3, 7):
        review.publish(day)
        report = nights.night()
        if nights.regressions()[LEG].state is State.FIXED:
            break
    assert nights.regressions()[LEG].state is State.FIXED
    assert f"trials of stable-rc {BRANCH}" in report.night.news[-1].text


def test_a_review_that_is_replaced_by_an_older_one_is_looked_at(review: Review, nights: Nights) -> None:
    review.publish(3)
    first = nights.night()
    review.queue.insert(2, ("md: check less", dict(FLAG)))
    review.publish(2)
    second = nights.night()
    assert (first.exit_code, second.exit_code) == (ExitCode.OK, ExitCode.BAD)
    assert (second.night.tag, second.night.moved_from) == (first.night.tag, first.night.next)
    assert nights.night().nothing


def test_a_watch_that_is_given_another_branch_is_refused_and_looks_at_none_in_silence(
    review: Review, nights: Nights, tmp_path: Path
) -> None:
    """linux-6.12.y comes before linux-6.18.y, and linux-6.6.y after it."""
    tip = review.publish(1)
    nights.night()
    review.source.git("update-ref", "refs/heads/linux-6.12.y", tip)
    other = Nights(tmp_path, review.source.folder, more=MORE.replace(BRANCH, "linux-6.12.y"))
    with pytest.raises(UsageError, match=r"has followed linux-6\.18\.y so far, and not stable-rc linux-6\.12\.y"):
        other.night()


def test_a_bug_of_the_release_is_searched_for_among_the_releases(review: Review, nights: Nights) -> None:
    review.queue.append(("md: check less", dict(FLAG)))
    review.release()
    review.queue = [("md: later work", {"md/later": "x\n"})]
    review.publish(1)
    nights.night()
    (found,) = nights.regressions().values()
    assert found.culprit is not None
    assert (found.culprit.subject, found.where) == ("md: check less", Where.MAINLINE)
    (row,) = nights.searches()
    assert row.good == review.source.git("rev-parse", "v6.18.1^{commit}")
    assert row.bad == review.released
