# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that each trial of a recipe boots beside the one under test: those of the ends of its search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bisector.direction import Direction
from bisector.errors import InfraError
from bisector.interfaces import Phase
from bisector.judge import Judge
from bisector.model import BuildFailure, Candidate, Image
from bisector.recipe.model import Recipe
from bisector.search.releases import Release
from bisector.stage import Stage


def words_of(whose: str) -> str:
    """Whose kernel it is, for people: "good end's kernel"."""
    return f"{whose.replace('-', ' ')}'s kernel"


def other_kernels(judge: Judge, recipe: Recipe, good: Candidate | None, bad: Candidate | None) -> dict[str, str]:
    """Whose → the identity of its image, for the kernels that a trial of ``recipe`` boots beside the candidate.

    They are the same in all trials of a campaign, its proof's among them, so they are built whole (law 8).
    Raises InfraError when one is not to be had.
    """
    ends = {"good-end": good, "bad-end": bad}
    return {whose: _first(judge, filter(None, [ends[whose]]), whose) for whose in recipe.kernels_beside}


def kernels_of_releases(
    judge: Judge, recipe: Recipe, releases: Sequence[Release], direction: Direction
) -> dict[str, str]:
    """As ``other_kernels``, of a search over ``releases`` (oldest first).

    An end is the release that the search tries there, else the next one that is to be had.
    """
    older = [one for one in releases if one.series == releases[0].series][::-1]
    newer = [one for one in releases if one.series == releases[-1].series]
    sides = direction.good_bad([*older, *releases], [*newer, *reversed(releases)])
    ends = dict(zip(("good-end", "bad-end"), sides, strict=True))
    return {
        whose: _first(judge, [one.candidate for one in dict.fromkeys(ends[whose])], whose)
        for whose in recipe.kernels_beside
    }


def _first(judge: Judge, candidates: Iterable[Candidate], whose: str) -> str:
    failed: BuildFailure | None = None
    named: Candidate | None = None
    for named in candidates:
        made = judge.image(judge.with_fixups(named), Stage.PROOF)
        if isinstance(made, Image):
            judge.report(Phase.STAGE, f"Each trial boots {named} too, as the {words_of(whose)}")
            return made.identity
        failed = failed or made
    raise _missing(named, failed, whose)


def usable(made: Image | BuildFailure, candidate: Candidate, whose: str) -> Image:
    """The image. Raises InfraError for one that is not to be had."""
    if isinstance(made, BuildFailure):
        raise _missing(candidate, made, whose)
    return made


def _missing(candidate: Candidate | None, failure: BuildFailure | None, whose: str) -> InfraError:
    why = f": {'; '.join(failure.errors)}" if failure and failure.errors else ""
    what = f"the {words_of(whose)} ({candidate}), which each trial boots too, is not to be had{why}"
    return InfraError(what, hint="take another end, or a recipe whose trials boot one kernel")


def said(recipe: Recipe, good: Candidate, bad: Candidate) -> Iterator[str]:
    """What a search takes for granted by it, for the outcome."""
    for whose in recipe.kernels_beside:
        end = good if whose == "good-end" else bad
        yield f"each trial boots {end} too (the {words_of(whose)}): what differs between trials is the candidate"
