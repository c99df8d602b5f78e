# SPDX-License-Identifier: GPL-2.0-only
"""What each trial of a recipe uses beside the software under test: kernels, or programs of QEMU, of its ends."""

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


def words_of(recipe: Recipe, whose: str) -> str:
    """What of whose it is, for people: "good end's kernel"."""
    return f"{whose.replace('-', ' ')}'s {'QEMU' if recipe.programs else 'kernel'}"


def verb_of(recipe: Recipe) -> str:
    """What each trial does with it, for people."""
    return "uses" if recipe.programs else "boots"


def other_kernels(judge: Judge, recipe: Recipe, good: Candidate | None, bad: Candidate | None) -> dict[str, str]:
    """Whose → the identity of its image, for the kernels that a trial of ``recipe`` boots beside the candidate, or the
    programs of QEMU that it uses beside it.

    They are the same in all trials of a campaign, its proof's among them, so they are built whole (law 8).
    Raises InfraError when one is not to be had.
    """
    ends = {"good-end": good, "bad-end": bad}
    return {whose: _first(judge, filter(None, [ends[whose]]), recipe, whose) for whose in recipe.kernels_beside}


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
        whose: _first(judge, [one.candidate for one in dict.fromkeys(ends[whose])], recipe, whose)
        for whose in recipe.kernels_beside
    }


def _first(judge: Judge, candidates: Iterable[Candidate], recipe: Recipe, whose: str) -> str:
    failed: BuildFailure | None = None
    named: Candidate | None = None
    for named in candidates:
        made = judge.image(judge.with_fixups(named), Stage.PROOF)
        if isinstance(made, Image):
            judge.report(Phase.STAGE, f"Each trial {verb_of(recipe)} {named} too, as the {words_of(recipe, whose)}")
            return made.identity
        failed = failed or made
    raise _missing(named, failed, recipe, whose)


def usable(made: Image | BuildFailure, candidate: Candidate, recipe: Recipe, whose: str) -> Image:
    """The image. Raises InfraError for one that is not to be had."""
    if isinstance(made, BuildFailure):
        raise _missing(candidate, made, recipe, whose)
    return made


def _missing(candidate: Candidate | None, failure: BuildFailure | None, recipe: Recipe, whose: str) -> InfraError:
    why = f": {'; '.join(failure.errors)}" if failure and failure.errors else ""
    verb, one = verb_of(recipe), "QEMU" if recipe.programs else "kernel"
    what = f"the {words_of(recipe, whose)} ({candidate}), which each trial {verb} too, is not to be had{why}"
    return InfraError(what, hint=f"take another end, or a recipe whose trials {verb.removesuffix('s')} one {one}")


def said(recipe: Recipe, good: Candidate, bad: Candidate) -> Iterator[str]:
    """What a search takes for granted by it, for the outcome."""
    for whose in recipe.kernels_beside:
        end = good if whose == "good-end" else bad
        which = f"{end} too (the {words_of(recipe, whose)})"
        yield f"each trial {verb_of(recipe)} {which}: what differs between trials is the candidate"
