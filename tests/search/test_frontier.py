# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a search when a proof contradicts it."""

import random

from hypothesis import given
from hypothesis import strategies as st

from bench.calibration.history import History, graph
from bisector.search.frontier import Frontier


def line(old: str, new: str) -> bool:
    """A strand whose commits are named by their number."""
    return int(old) <= int(new)


SEARCHED = Frontier(("0",), ("90",)).with_old("45").with_old("67").with_new("78").with_old("72").with_new("74")


def test_a_parent_that_is_new_after_all_takes_the_good_commits_above_it_along() -> None:
    then = SEARCHED.is_new_after_all("60", line)
    assert (then.old, then.first_new) == (("0", "45"), "60")
    assert SEARCHED.wrongly_old("60", line) == ("67", "72")


def test_a_culprit_that_is_old_after_all_leaves_the_bad_commit_before() -> None:
    then = SEARCHED.is_old_after_all("74", line)
    assert (then.old[-1], then.first_new) == ("74", "78")


def test_the_newest_good_commit_vouches_for_one_that_cannot_be_tried() -> None:
    assert SEARCHED.covering("70", line) == "72"
    assert SEARCHED.covering("73", line) == ""


def test_a_good_commit_that_could_not_be_judged_in_the_proof_is_a_skip_and_the_others_are_judged_again() -> None:
    then = SEARCHED.only_ends("72")
    assert (then.old, then.new, then.skips) == (("0",), ("90", "78", "74"), ("72",))


def left(history: History, frontier: Frontier) -> int:
    suspects = history.ancestors[int(frontier.first_new)]
    for good in frontier.old:
        suspects &= ~history.ancestors[int(good)]
    return suspects


@given(st.integers(0, 10_000))
def test_after_a_contradiction_the_true_culprit_is_among_the_suspects_again(seed: int) -> None:
    chance = random.Random(seed)
    history = graph(chance.randrange(5, 60), chance)
    culprit, last = chance.randrange(1, len(history)), len(history) - 1

    def is_ancestor(old: str, new: str) -> bool:
        return history.is_ancestor(int(old), int(new))

    frontier = Frontier(("0",), (str(last),))
    wrong = ""
    for commit in chance.sample(range(1, last), min(8, last - 1)):
        if not left(history, frontier) >> commit & 1:
            continue
        bad = history.is_ancestor(culprit, commit)
        if bad and not wrong:
            wrong = str(commit)  # the search's one error
            frontier = frontier.with_old(wrong)
        else:
            frontier = frontier.with_new(str(commit)) if bad else frontier.with_old(str(commit))
    if wrong and is_ancestor(wrong, frontier.first_new):
        frontier = frontier.is_new_after_all(wrong, is_ancestor)
        assert left(history, frontier) >> culprit & 1
