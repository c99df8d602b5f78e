# SPDX-License-Identifier: GPL-2.0-only
"""What would split a set of commits that a search could not distinguish. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bisector.model import Commit, Judgement, Signal, Verdict
from bisector.search.knowledge import NOT_TRIED

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


def _remedy(judgement: Judgement) -> str:
    if judgement.reason == NOT_TRIED:
        return "they become worth trying when their neighbours can be judged"
    if judgement.failure:
        return "name what fixes it in search.fixups, or a config with which it builds"
    if judgement.verdict is Verdict.WEAK:
        return "more trials, or a workload that reproduces more often"
    if judgement.reason.startswith("does not boot"):
        return "name what fixes it in search.fixups, or a config with which it boots"
    if judgement.harness_failures > sum(trial.reading.signal is Signal.OTHER_FAILURE for trial in judgement.trials):
        return "see the logs of their trials: what fails there may be the bug itself"
    return "name what fixes the other failure in search.fixups"
