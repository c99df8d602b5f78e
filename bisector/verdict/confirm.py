# SPDX-License-Identifier: GPL-2.0-only
"""The proof's arithmetic: fresh trials of the culprit and its like against its parents and their like. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from bisector.verdict.needs import HIDDEN, NOTHING, REPRODUCTIONS, GoodArm, Needs
from bisector.verdict.sequential import Belief, Evidence, first

__all__ = ["HIDDEN", "REPRODUCTIONS"]

BATCH, GROWTH = 8, 8
"""Trials at most before a doubt is looked at again, and the part of an arm's trials that is drawn at once where that is
more: what is drawn of the culprit and of the edits beside it may resolve the doubt sooner."""


@dataclass(frozen=True)
class Draw:
    """Trials more by arm, to be drawn in turns: ``bad`` as the bad arms were given, ``good`` as the good ones.

    ``expected``: what will be wanted of either side if everything comes out as it must, where that is more.
    """

    bad: tuple[int, ...]
    good: tuple[int, ...]
    expected: tuple[tuple[int, ...], tuple[int, ...]] | None = field(default=None, compare=False)  # a hint


@dataclass(frozen=True)
class Confirmation:
    """Every arm that could be judged came out as wanted.

    Args:
        p_min: the guarantee holds for rates of reproduction at or above it.
        confidence: chance that the true rate is not below p_min.
        error: chance at most that the whole campaign prints a wrong commit, at rates at or above p_min or not.
        unjudged: places among the good arms that could not be judged (law 3: then it is ``narrowed``).
        unchecked: edited arms that could not be judged: (whether it is a bad arm, place). They block nothing.
    """

    p_min: float
    confidence: float
    error: float
    unjudged: tuple[int, ...] = ()
    unchecked: tuple[tuple[bool, int], ...] = ()


@dataclass(frozen=True)
class Contradiction:
    """A good arm is bad after all: the search erred. ``place``: which one.

    ``bad``: it is a bad arm that is good; only a rule that learns nothing says so.
    """

    place: int
    reason: str
    bad: bool = False


@dataclass(frozen=True)
class NewBackground:
    """An arm reproduced now or in the search, but far less often than a bad candidate does: good, with a background.

    ``bad``: it is among the bad arms (the culprit, then). Verdicts that stand on single reproductions are in doubt.
    """

    bad: bool
    place: int
    reason: str


@dataclass(frozen=True)
class NoVerdict:
    """A bad arm could not be judged: other failures, or too many trials. ``bad``: False where it is the fix itself."""

    place: int
    reason: str
    bad: bool = True


@dataclass(frozen=True)
class UnjudgedArms:
    """Of a rule that learns nothing: these arms could not be judged (whether it is a bad one, place), and the others
    came out as wanted. The culprit's edits are not tried then."""

    places: tuple[tuple[bool, int], ...]


@dataclass(frozen=True)
class EditContradiction:
    """The culprit stands against its parents, but an edited arm is not as it has to be: without it the bug is there
    still, or with it not yet. ``bad``: it is among the bad arms."""

    bad: bool
    place: int
    reason: str


Step = Draw | Confirmation | Contradiction | NewBackground | NoVerdict | UnjudgedArms | EditContradiction


def confirm(
    bad: Sequence[Evidence],
    good: Sequence[Evidence],
    belief: Belief,
    number: int,
    edited: tuple[int, int] = (0, 0),
    searched: Sequence[Evidence | None] = (),
) -> Step:
    """Whether the fresh trials of a proof are enough.

    Args:
        bad: fresh trials of the culprit, then of others that must be bad (the culprit applied on the good end).
        good: fresh trials of each parent (for a narrowed set: of each commit that bounds it), then of others that must
            be good (the culprit reverted on the bad end).
        belief: as the search left it.
        number: of this proof in the campaign, from 1.
        edited: how many of the last bad and of the last good arms are the culprit's own edits laid over an end. They
            are drawn last, and count when culprit and parents are decided: what contradicts the search sends it on,
            whatever the edits say.
        searched: for each of ``good``, the trials by which the search called it good, no trials where it never did;
            None where the fresh trials are those of an arm before it as well.

    The culprit must reproduce REPRODUCTIONS times, others that must be bad once. Every good arm must stay clean so
    often, the search's trials of it counted in, that one which is bad would do so with its share as chance; and the
    fresh trials alone must set it apart from the culprit (Fisher's exact test). A parent's other failures must
    speak against hidden reproductions at odds of NOT_HIDDEN; while they do not, it is drawn on, with the end without
    the culprit, and the culprit, which shows how common they are where nothing is hidden. With a background rate each
    arm is a sequential probability ratio test between the bounds of both rates (Wald, 1945).
    """
    main_bad, main_good = len(bad) - edited[0], len(good) - edited[1]
    before = zip_longest(good, searched[: len(good)], fillvalue=NOTHING)
    arms = [
        GoodArm(fresh, tried or NOTHING, at >= main_good, tried is None) for at, (fresh, tried) in enumerate(before)
    ]
    needs = _needs(Needs(belief, bad[0], number), arms)
    if against := _against(bad[:main_bad], arms, needs):
        return against
    doubtful = [needs.in_doubt(evidence) for evidence in good]
    if any(doubtful):  # a good arm reproduced: whether it is bad or a background shows comes first
        return Draw((0,) * len(bad), tuple(doubtful))
    if draw := _more(bad, arms, main_bad, needs):
        return draw
    return _decided(bad, arms, main_bad, needs)


def _decided(bad: Sequence[Evidence], arms: Sequence[GoodArm], main_bad: int, needs: Needs) -> Step:
    """What the arms come to where none needs more trials."""
    unjudged = [place for place, arm in enumerate(arms) if needs.unjudged(arm)]
    missing = tuple(place for place in unjudged if not arms[place].edited)
    contrary = [(False, place, arm.fresh) for place, arm in enumerate(arms) if arm.edited and needs.refuted(arm.fresh)]
    contrary += [(True, place, one) for place, one in enumerate(bad) if place >= main_bad and needs.is_good(one)]
    if contrary and not missing:
        is_bad, place, evidence = contrary[0]
        return EditContradiction(is_bad, place, f"reproduced in {evidence.figures} fresh trials")
    judged = [arm for place, arm in enumerate(arms) if place not in unjudged]
    lost = [(True, place) for place, evidence in enumerate(bad) if not needs.enough_bad(place, evidence)]
    lost += [(False, place) for place in unjudged if place not in missing]
    return Confirmation(needs.p_min, 1.0 - needs.rate_error, needs.error(judged), missing, tuple(lost))


def _needs(needs: Needs, arms: Sequence[GoodArm]) -> Needs:
    """With the trials of the edited arms that stand as clean so far and can be judged."""
    edits = [arm for arm in arms if arm.edited and not arm.shared]
    beside = [arm.fresh for arm in edits if not arm.fresh.reproduced and not needs.unjudged(arm)]
    return replace(needs, beside=sum(beside, NOTHING))


def proof_trials(belief: Belief, number: int = 1) -> tuple[int, int]:
    """(reproductions of the culprit, clean trials of each parent) that a proof is going to need, as far as is known.

    The second figure assumes that the culprit reproduces as often as is expected, and that nothing fails otherwise.
    """
    needs = Needs(belief, NOTHING, number).expected()
    return REPRODUCTIONS, needs.until(GoodArm(NOTHING), needs.enough_good)


def _more(bad: Sequence[Evidence], arms: Sequence[GoodArm], main_bad: int, needs: Needs) -> Draw | None:
    """What is drawn next; None where every arm is decided, either way.

    What may contradict the search comes first: the parents, unless good candidates reproduce, too, and the bounds of
    both rates are still too close to judge one. Then the culprit, which says how many more a parent needs;
    then the edits, which count only where these stand; at last what failures have left in doubt.
    """
    soon = needs.expected()
    soon_good = [soon.until(arm, soon.enough_clean) if needs.open(arm) else 0 for arm in arms]
    soon_bad = [
        0 if _settled(needs, place, main_bad, one) else needs.more_bad(place, one) for place, one in enumerate(bad)
    ]
    expected = tuple(soon_bad), tuple(soon_good)
    now_good = [needs.until(arm, needs.enough_clean) if needs.open(arm) else 0 for arm in arms]
    no_bad, no_good = [0] * len(bad), [0] * len(arms)

    def only(counts: list[int], edited: bool) -> list[int]:
        return [count if arm.edited is edited else 0 for count, arm in zip(counts, arms, strict=True)]

    main = [count if place < main_bad else 0 for place, count in enumerate(soon_bad)]
    draws = (
        (no_bad, no_good if needs.has_background else only(soon_good, False)),
        (main, no_good),
        (no_bad, only(now_good, False)),
        (soon_bad, only(now_good, True)),
    )
    draw = next((both for both in draws if any(both[0]) or any(both[1])), None) or _against_hiding(bad, arms, needs)
    return Draw(tuple(draw[0]), tuple(draw[1]), expected) if any(draw[0]) or any(draw[1]) else None


def _settled(needs: Needs, place: int, main_bad: int, evidence: Evidence) -> bool:
    """Whether an edited arm that must be bad needs no more: it is good after all, or cannot be judged."""
    return place >= main_bad and (needs.is_good(evidence) or needs.failing(evidence))


def _against_hiding(bad: Sequence[Evidence], arms: Sequence[GoodArm], needs: Needs) -> tuple[list[int], list[int]]:
    """Trials more where all arms are clean often enough and failures of a parent may hide the bug."""
    draw_bad, draw_good = [0] * len(bad), [0] * len(arms)
    beside = [arm.edited and not arm.shared and needs.enough_good(arm) and not needs.at_most(arm.fresh) for arm in arms]
    for place, arm in enumerate(arms):
        if not needs.open(arm):
            continue

        def clear(more: int, arm: GoodArm = arm) -> bool:
            along = replace(needs, beside=needs.beside + Evidence(clean=more * sum(beside)))
            return along.enough_good(arm.plus(more))

        most = min(2 * needs.belief.trial_cap - arm.fresh.conclusive, max(BATCH, arm.fresh.conclusive // GROWTH))
        more = max(1, first(clear, max(1, most)))
        draw_good[place] = more
        draw_good = [max(count, more) if with_it else count for count, with_it in zip(draw_good, beside, strict=True)]
        behind = needs.pooled(arm).conclusive + more - needs.known_others[1]
        draw_bad[0] = max(draw_bad[0], min(more, behind))
    return draw_bad, draw_good


def _against(bad: Sequence[Evidence], arms: Sequence[GoodArm], needs: Needs) -> Step | None:
    """What ends the proof against the search, None when nothing does."""
    for place, arm in enumerate(arms):
        if not arm.edited and needs.refuted(arm.fresh):
            return Contradiction(place, f"reproduced in {arm.fresh.figures} fresh trials")
        if needs.unlike_bad_end(arm.fresh):
            return NewBackground(False, place, f"reproduced in {arm.fresh.figures} fresh trials")
    for place, evidence in enumerate(bad):
        if needs.is_good(evidence) or needs.far_too_few(evidence):
            return NewBackground(True, place, f"reproduced in {evidence.figures} fresh trials only")
        if needs.failing(evidence) and not needs.enough_bad(place, evidence):
            return NoVerdict(place, f"{needs.belief.unjudged(evidence)}: {evidence.figures}")
    return None
