# SPDX-License-Identifier: GPL-2.0-only
"""Long runs of commits that cannot be judged, left by trying their edges first.

git steps aside from a commit that is skipped, and aside again; in a run of hundreds that do not build it pays for each
with a build. Here the first commits beyond the run that can be judged are looked for by bisection, above and below: an
old one above or a new one below leaves the whole run at once, and the other way round it is the run that holds the
first new commit.
"""

from __future__ import annotations

from bisector.model import Candidate, Verdict
from bisector.search.gitrepo import History
from bisector.search.knowledge import Knowledge


def try_edges(known: Knowledge, history: History, inside: Candidate) -> None:
    """Judge the edges of the run of skips that ``inside`` lies in; what they are stands in ``known`` then."""
    if _upper_edge_is_old(known, history, inside):
        known.edges_tried()
        return
    _lower_edge(known, history, inside)
    known.edges_tried()


def _upper_edge_is_old(known: Knowledge, history: History, inside: Candidate) -> bool:
    """Find the first commit above the run that can be judged; whether it is of the old side, as all below it then."""
    skipped = inside.revision
    while above := _between(history, skipped, known.frontier.first_new):
        middle = above[len(above) // 2]
        verdict = known.ask_at_edge(_at(inside, middle))
        if verdict is Verdict.SKIP:
            skipped = middle
        elif middle in known.frontier.old:
            return True
    return False


def _lower_edge(known: Knowledge, history: History, inside: Candidate) -> None:
    """Find the first commit below the run that can be judged; one of the new side leaves the run above it."""
    skipped = inside.revision
    while below := [commit.oid for commit in history.left(skipped, known.frontier.old) if commit.oid != skipped]:
        middle = below[len(below) // 2]
        verdict = known.ask_at_edge(_at(inside, middle))
        if verdict is Verdict.SKIP:
            skipped = middle
        elif middle == known.frontier.first_new:
            return


def _between(history: History, old: str, new: str) -> list[str]:
    """Commits that contain ``old`` and that ``new`` contains, neither of the two, newest first."""
    path = history.query("rev_list", "--topo-order", "--ancestry-path", f"{old}..{new}", "--").split()
    return [oid for oid in path if oid != new]


def _at(like: Candidate, revision: str) -> Candidate:
    return Candidate(like.target, revision, like.edits)
