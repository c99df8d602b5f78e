# SPDX-License-Identifier: GPL-2.0-only
"""Any history, any culprit: a perfect judge leads to exactly the planted commit, an imperfect one never past it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted import PerfectJudge, Planned
from searching import SearchSetup

from bisector.search.commits import SearchEnd

SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def histories(draw: st.DrawFn) -> list[Planned]:
    """4 to 14 commits from one root to one end; each but the root has one to three parents before it."""
    count = draw(st.integers(4, 14))
    plan = [Planned("c0")]
    childless = {"c0"}
    for number in range(1, count):
        known = st.sampled_from([commit.name for commit in plan[-5:]])
        parents = tuple(draw(st.lists(known, min_size=1, max_size=3, unique=True)))
        plan.append(Planned(f"c{number}", parents))
        childless = childless - set(parents) | {f"c{number}"}
    return [*plan, Planned("end", tuple(sorted(childless)))]


@SETTINGS
@given(st.data())
def test_perfect_judge_finds_exactly_the_planted_commit(data: st.DataObject) -> None:
    plan = data.draw(histories())
    culprit = data.draw(st.sampled_from([commit.name for commit in plan[1:]]))
    with tempfile.TemporaryDirectory() as folder:
        setup = SearchSetup(Path(folder))
        judge = PerfectJudge(setup.plant(plan), culprit)
        found = setup.search(judge, "c0", "end")
        assert found.first_bad and judge.repository.name[found.first_bad.oid] == culprit
        assert len(set(judge.judged)) == len(judge.judged)


@SETTINGS
@given(st.data())
def test_with_skips_the_culprit_is_always_among_what_is_left(data: st.DataObject) -> None:
    plan = data.draw(histories())
    names = [commit.name for commit in plan[1:]]
    culprit = data.draw(st.sampled_from(names))
    skip = data.draw(st.sets(st.sampled_from(names[:-1]), max_size=6)) - {"end"}
    with tempfile.TemporaryDirectory() as folder:
        setup = SearchSetup(Path(folder))
        judge = PerfectJudge(setup.plant(plan), culprit, skip=skip)
        found = setup.search(judge, "c0", "end")
        suspects = found.suspects if found.ended is SearchEnd.NARROWED else (found.first_bad,)
        left = judge.repository.names([commit.oid for commit in suspects if commit])
        assert culprit in left
        # all but the one that is known to be bad could not be judged
        assert found.ended is not SearchEnd.NARROWED or len(left - skip) == 1
