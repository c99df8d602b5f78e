# SPDX-License-Identifier: GPL-2.0-only
"""What would split a set of commits that a search could not distinguish. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bisector.causes import Cause
from bisector.model import Commit, Judgement, Verdict

NAMED = 3  # commits named for one cause


def what_splits(suspects: Sequence[Commit], judgements: Iterable[Judgement]) -> str:
    """Why the suspects could not be judged and what would change that, as the end of a sentence; "" for none.

    Args:
        judgements: of the search; the last one of a commit counts.
    """
    last = {judgement.candidate.revision: judgement for judgement in judgements}
    causes: dict[str, list[tuple[Commit, Judgement]]] = {}
    for suspect in suspects:
        judgement = last.get(suspect.oid)
        if judgement and judgement.verdict in (Verdict.SKIP, Verdict.WEAK):
            causes.setdefault(_remedy(judgement), []).append((suspect, judgement))
    lines = [f"{_names(commits)} ({commits[0][1].reason}): {remedy}" for remedy, commits in causes.items()]
    return f". To split them: {'; '.join(lines)}" if lines else ""


def _names(commits: Sequence[tuple[Commit, Judgement]]) -> str:
    names = ", ".join(commit.oid[:12] for commit, _ in commits[:NAMED])
    return f"{names} and {len(commits) - NAMED} more" if len(commits) > NAMED else names


REMEDIES = {
    Cause.NOT_TRIED: "they become worth trying when their neighbours can be judged",
    Cause.NOT_BUILT: "name what fixes it in search.fixups, or a config with which it builds",
    Cause.UNDECIDED: "more trials, or a workload that reproduces more often",
    Cause.NO_BOOT: "name what fixes it in search.fixups, or a config with which it boots",
    Cause.HARNESS: "see the logs of their trials: what fails there may be the bug itself",
}


def _remedy(judgement: Judgement) -> str:
    return REMEDIES.get(judgement.cause, "name what fixes the other failure in search.fixups")
