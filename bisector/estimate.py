# SPDX-License-Identifier: GPL-2.0-only
"""What a search will take: steps, builds and trials by the rules that it decides by, time by what this host measured.

The counts are of a bug that reproduces in each trial, of a linear history, and of commits that all can be judged; a
rarer bug takes more trials (docs/trust.md), and a commit that does not build takes a step more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bisector.errors import RecipeError
from bisector.model import Signal, Verdict
from bisector.recipe.load import loads
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe, Target
from bisector.recipe.plan import added_fragments
from bisector.report.timeline import duration
from bisector.stage import Stage
from bisector.store import CampaignRow, Store
from bisector.verdict.confirm import Draw
from bisector.verdict.ends import Difference, MoreEndTrials
from bisector.verdict.numbers import SAMPLE
from bisector.verdict.rule import Rule
from bisector.verdict.sequential import Decision, Evidence

NEWEST = 20  # campaigns of a recipe that are looked at: older ones ran on another host, or under other versions
EDITS = 2  # builds of the proof that the search has not made: the culprit's edit reverted, and applied
LABEL = 12

BuildKey = tuple[Target, tuple[str, ...]]
"""What decides how long a build takes: the recipe's target, and the fragments that its storage adds."""


@dataclass(frozen=True)
class Measurements:
    """Seconds of builds of one config, and of trials of one recipe, on this host."""

    builds: tuple[float, ...] = ()
    trials: tuple[float, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What a search will take.

    Args:
        commits: between the ends.
        steps: of the search.
        builds: by stage.
        trials: by stage.
        cells: in which the ends are tried.
        build_seconds: of all builds, one after the other; None where none was measured.
        trial_seconds: of all trials, likewise.
        seconds: of both, with nothing beside anything else.
        measured: what the seconds stand on.
    """

    commits: int
    steps: int
    builds: dict[str, int]
    trials: dict[str, int]
    cells: int
    build_seconds: float | None
    trial_seconds: float | None
    seconds: float | None
    measured: Measurements = field(default=Measurements(), repr=False)


@dataclass(frozen=True)
class Releases:
    """What a search over releases will take: ``trials`` at most, of ``candidates`` at most; ``supply``: in words."""

    supply: str
    candidates: int
    trials: int
    seconds: float | None
    measured: Measurements = field(default=Measurements(), repr=False)


def of_releases(supply: str, candidates: int, of_each: int, measured: Measurements) -> Releases:
    """What a search over releases will take at most, without what it downloads; ``of_each``: trials of a clean one."""
    trials = candidates * of_each
    seconds = trials * statistics.median(measured.trials) if measured.trials else None
    return Releases(supply, candidates, trials, seconds, measured)


def of_commits(commits: int, rule: Rule, of_cells: int, measured: Measurements, *, numbers: bool = False) -> Estimate:
    """What a search between two ends will take.

    Args:
        commits: reachable from one end and not from the other; 1 where the newer end is the only one.
        rule: of the campaign.
        of_cells: cells in which the ends are tried.
        numbers: whether the ends are measured first, because the recipe compares with the good end's numbers.
    """
    steps = math.ceil(math.log2(max(1, commits)))
    builds = {Stage.ENDS: 2, Stage.SEARCH: steps, Stage.PROOF: EDITS}
    trials = _trials(rule, steps, of_cells)
    trials[str(Stage.ENDS)] += 2 * SAMPLE * of_cells * numbers
    build_seconds = _of_builds(measured.builds, sum(builds.values()))
    trial_seconds = sum(trials.values()) * statistics.median(measured.trials) if measured.trials else None
    return Estimate(
        commits,
        steps,
        {str(stage): count for stage, count in builds.items()},
        trials,
        of_cells,
        build_seconds,
        trial_seconds,
        None if build_seconds is None or trial_seconds is None else build_seconds + trial_seconds,
        measured,
    )


def _of_builds(seconds: Sequence[float], count: int) -> float | None:
    """The first build is as long as the longest that was seen; the others reuse its objects."""
    return max(seconds) + (count - 1) * statistics.median(seconds) if seconds else None


# ---- trials, by the decisions that the campaign itself would take


def _trials(rule: Rule, steps: int, of_cells: int) -> dict[str, int]:
    good, bad, rule = _ends(rule)
    drawings = of_cells + (of_cells > 1 and rule.learns)  # the cell that was chosen is tried once more
    search = 0
    for step in range(steps):
        verdict = Verdict.BAD if step % 2 else Verdict.GOOD
        judged = _judged(rule, verdict)
        search += judged.conclusive
        rule = rule.after(verdict, judged)
    return {str(Stage.ENDS): drawings * (good + bad), str(Stage.SEARCH): search, str(Stage.PROOF): _proof(rule)}


def _ends(rule: Rule) -> tuple[int, int, Rule]:
    good = bad = Evidence()
    while isinstance(step := rule.ends(good, bad, 1), MoreEndTrials):
        good, bad = good.plus(Signal.CLEAN, step.good), bad.plus(Signal.REPRODUCED, step.bad)
    if step is None:
        good, bad = _judged(rule, Verdict.GOOD), _judged(rule, Verdict.BAD)
    return good.conclusive, bad.conclusive, rule.started(step) if isinstance(step, Difference) else rule


def _judged(rule: Rule, verdict: Verdict) -> Evidence:
    """What is drawn of a candidate that is good, or bad."""
    signal, evidence = Signal.REPRODUCED if verdict is Verdict.BAD else Signal.CLEAN, Evidence()
    while not isinstance(step := rule.decide(evidence), Decision):
        evidence = evidence.plus(signal, 1 if signal is Signal.REPRODUCED else step.count)
    return evidence


def _proof(rule: Rule) -> int:
    """Of the culprit and its edit applied, of its parent and its edit reverted."""
    bad, good = [Evidence()] * 2, [Evidence()] * 2
    while isinstance(step := rule.proof(bad, good, 1, (1, 1), Verdict.BAD, lambda _, __: (0, 0)), Draw):
        bad = [one.plus(Signal.REPRODUCED, more) for one, more in zip(bad, step.bad, strict=True)]
        good = [one.plus(Signal.CLEAN, more) for one, more in zip(good, step.good, strict=True)]
    return sum(one.conclusive for one in (*bad, *good))


# ---- time, by what the store's campaigns took


def measured(store: Store, recipe: Recipe) -> Measurements:
    """What this host took for builds of the recipe's config, whichever recipe they were of, and for its trials."""
    newest = list(reversed(store.campaigns()))
    same = [row for row in newest if row.recipe == recipe.recipe][:NEWEST]
    return Measurements(tuple(_of_config(store, newest, _built(recipe))), tuple(_of_trials(store, same)))


def _of_config(store: Store, rows: Sequence[CampaignRow], wanted: BuildKey) -> Iterator[float]:
    known: dict[str, bool] = {}
    found = 0
    for row in rows:
        if row.source not in known:
            known[row.source] = _is_of(row, wanted)
        work = store.work(row.id) if known[row.source] else ()
        yield from (one.ended - one.began for one in work if (one.kind, one.result, one.worker) == ("build", "", ""))
        found += bool(work)
        if found == NEWEST:
            return


def _is_of(row: CampaignRow, wanted: BuildKey) -> bool:
    try:
        return _built(loads(row.source, Path(row.recipe))) == wanted
    except RecipeError:  # of another version, or with a file that is gone
        return False


def _built(recipe: Recipe) -> BuildKey:
    return recipe.target, added_fragments(recipe, cells(recipe))


def _of_trials(store: Store, rows: Sequence[CampaignRow]) -> Iterator[float]:
    for row in rows:
        for trial in store.trials(row.id):
            if not trial.taken_from and not trial.observation.worker and trial.reading.signal is not Signal.INFRA:
                yield trial.observation.timing.total


# ---- words


def as_text(found: Estimate | Releases) -> str:
    """The estimate for people."""
    if isinstance(found, Releases):
        time = "unknown" if found.seconds is None else f"at most {_of_trials_said(found.seconds, found.measured)}"
        return (
            f"{found.supply}\n{'trials':<{LABEL}}at most {found.trials}\n{'time':<{LABEL}}{time}, without downloads\n"
        )
    trials = found.trials
    some_cells = f", in {found.cells} cells" if found.cells > 1 else ""
    parts = (
        ("commits", f"{found.commits}: about {found.steps} steps"),
        ("builds", _by_stage(found.builds)),
        ("trials", f"{_by_stage(trials)}{some_cells}; more for a bug that does not reproduce each time"),
        ("time", _time(found)),
    )
    return "".join(f"{name:<{LABEL}}{said}\n" for name, said in parts)


def _by_stage(counts: dict[str, int]) -> str:
    return f"{sum(counts.values())}: " + ", ".join(f"{stage} {count}" for stage, count in counts.items())


def _time(found: Estimate) -> str:
    seen = found.measured
    said: list[str] = []
    if found.build_seconds is None:
        said.append("builds unknown, for this host has built nothing with this config")
    else:
        first = f"the first {duration(max(seen.builds))}, then {duration(statistics.median(seen.builds))} each"
        said.append(f"builds {duration(found.build_seconds)} ({first}; {len(seen.builds)} measured)")
    if found.trial_seconds is None:
        said.append("trials unknown, for this host has run none of this recipe")
    else:
        said.append(f"trials {_of_trials_said(found.trial_seconds, seen)}")
    return f"{_whole(found)}{', '.join(said)}"


def _of_trials_said(seconds: float, seen: Measurements) -> str:
    return f"{duration(seconds)} ({duration(statistics.median(seen.trials))} each; {len(seen.trials)} measured)"


def _whole(found: Estimate) -> str:
    return f"about {duration(found.seconds)}, one after the other: " if found.seconds is not None else ""
