# SPDX-License-Identifier: GPL-2.0-only
"""Gathers what a finished (or unfinished) campaign's reports say; the formats beside this file are pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.codec import DecodeError, load
from bisector.model import BuildFailure, Candidate, Image, Judgement, Outcome, Signal, Trial, Verdict
from bisector.report import environment
from bisector.report.cells import options, trials_of
from bisector.report.excerpt import NOTHING, Excerpt, excerpt, readable
from bisector.report.spans import Span, Times, spans
from bisector.report.time_spent import Run, TimeSpent, time_spent
from bisector.store import CampaignRow, Store, StoredVerdict
from bisector.system import shipped
from bisector.system.sandbox import NOTE, was_off

LOGS = ("kernel.log", "console.log", "qemu.log", "guest-console.log", "agent.log")
"""Logs of a trial, the one that says most first; the guest's own comes first where a guest's line decided."""

LOG_BYTES = 8 << 20
"""Of one log that are read; a trial keeps less."""


NOT_DECODED = "the lines of the source that the trace goes through: it is as the kernel printed it, for {}"


@dataclass(frozen=True)
class OtherFailure:
    """A failure that is not the recipe's: kept for people, no evidence about any candidate."""

    fingerprint: str
    reason: str
    count: int
    first: str  # label of the first candidate that showed it
    command: str = ""  # opens a campaign on it; "" where there is none: no crash, or the good end shows it too


@dataclass(frozen=True)
class Side:
    """One side of the evidence: a judged candidate and the trial that shows best what it does.

    ``log``: the whole console as printable lines. ``config``: the text of the .config. ``plan``: the trial's, where it
    can be read.
    """

    judgement: Judgement
    trial: Trial | None = None
    image: Image | None = None
    excerpt: Excerpt = NOTHING
    log: tuple[str, ...] = ()
    config: str = ""
    plan: Plan | None = None


@dataclass(frozen=True)
class Facts:
    """All that a report may say."""

    campaign: CampaignRow
    outcome: Outcome | None
    judgements: tuple[tuple[str, Judgement], ...]  # (stage, judgement) in order
    trials: tuple[Trial, ...]
    others: tuple[OtherFailure, ...]
    tools: tuple[tuple[str, str], ...]  # versions that mattered
    alignment: tuple[str, ...]  # "boot: dma_alignment 511, logical block 512"
    folder: str
    bad: Side | None = None
    good: Side | None = None
    builds: tuple[tuple[Candidate, Image | BuildFailure], ...] = ()
    spans: tuple[Span, ...] = ()
    note: str = ""  # said in every format, where builds or trials were not confined
    of_recipe: tuple[StoredVerdict, ...] = ()  # verdicts of all campaigns of the recipe, where they were gathered
    ahead: tuple[Trial, ...] = ()  # trials that ran before they were needed, and then were not: shown, never counted
    time: TimeSpent | None = None  # where it went; None where nothing took any
    undecoded: str = ""  # why a trace in the bad side's excerpt stands there without lines of the source

    @property
    def same_inputs(self) -> int:
        """Builds that were not made, for another one read the same."""
        return sum(isinstance(made, Image) and bool(made.same_inputs) for _, made in self.builds)

    @property
    def infra_count(self) -> int:
        """Trials in which the harness failed."""
        return sum(trial.reading.signal is Signal.INFRA for trial in self.trials)

    def trials_of(self, stage: str, judgement: Judgement) -> tuple[Trial, ...]:
        """The trials that a judgement stands on; one from the store's log carries none itself."""
        return trials_of(self.trials, stage, judgement)


def gather(store: Store, campaign: CampaignRow, *, of_recipe: bool = False) -> Facts:
    """Read one campaign's facts from the store and its folder, each once. Logs that are gone are left out.

    Args:
        of_recipe: read the verdicts of all campaigns of the recipe, too: they say what newer kernels answered.
    """
    trials, ahead = store.trials(campaign.id), store.trials_ahead(campaign.id)
    judgements = store.judgements(campaign.id)
    builds = store.builds(campaign.id)
    folder = store.campaign_folder(campaign.id)
    every = [image for _, image, _ in builds if isinstance(image, Image)]
    images = {image.identity: image for image in every}
    shown = spans(campaign.created, trials, ahead, builds, _times(store, campaign.id))
    tools = environment.tools(every, trials)
    note = NOTE if any(map(was_off, environment.sandboxes(images.values(), trials))) else ""
    judged = tuple(_judged(campaign.outcome, judgements, trials))
    return Facts(
        campaign=campaign,
        outcome=_with_note(campaign.outcome, note),
        judgements=judgements,
        trials=trials,
        others=_others(campaign, trials),
        tools=tools,
        alignment=environment.alignment(trials),
        folder=str(folder),
        bad=_side(Verdict.BAD, judged, images, folder),
        good=_side(Verdict.GOOD, judged, images, folder),
        builds=tuple((candidate, made) for candidate, made, _ in builds),
        spans=shown,
        time=time_spent(shown, _runs(store, campaign), saved=sum(bool(image.same_inputs) for image in every)),
        note=note,
        of_recipe=store.verdicts(campaign.recipe) if of_recipe else (),
        ahead=ahead,
    )


def _times(store: Store, campaign: str) -> Times:
    return Times(store.trial_ends(campaign), store.ends_ahead(campaign), store.work(campaign))


def _runs(store: Store, campaign: CampaignRow) -> tuple[Run, ...]:
    """Runs of commands in seconds since the campaign began; the first one began with it."""
    runs = [(began - campaign.created, ended and ended - campaign.created) for began, ended in store.runs(campaign.id)]
    return ((0.0, runs[0][1]), *runs[1:]) if runs else ()


def _with_note(outcome: Outcome | None, note: str) -> Outcome | None:
    if outcome is None or not note:
        return outcome
    return replace(outcome, assumptions=(*outcome.assumptions, note))


# ---- the evidence of both sides ------------------------------------------------------------------------------------


def _judged(
    outcome: Outcome | None, judgements: tuple[tuple[str, Judgement], ...], trials: tuple[Trial, ...]
) -> Iterator[Judgement]:
    """Judgements with their trials, those that prove most first: the proof, the ends, then the search's last ones."""
    if outcome:
        yield from (judgement for judgement in outcome.proof if not judgement.candidate.edits)
        yield from filter(None, (outcome.bad, outcome.good))
    for stage, judgement in reversed(judgements):
        yield replace(judgement, trials=trials_of(trials, stage, judgement))


def _side(verdict: Verdict, judgements: tuple[Judgement, ...], images: dict[str, Image], folder: Path) -> Side | None:
    judged = next((judgement for judgement in judgements if judgement.verdict is verdict), None)
    if judged is None:
        return None
    wanted = Signal.REPRODUCED if verdict is Verdict.BAD else Signal.CLEAN
    shown = [trial for trial in judged.trials if trial.reading.signal is wanted]
    image = images.get(judged.image)
    config = _read(Path(image.config)).decode(errors="replace") if image and image.config else ""
    if not shown:
        return Side(judged, image=image, config=config)
    trial = shown[-1]
    name, data = _log(trial, folder / trial.folder)
    whole = readable(_read(folder / trial.folder / "console.log")) or readable(data)
    return Side(judged, trial, image, excerpt(name, data, trial), whole, config, _plan(folder / trial.folder))


def _plan(folder: Path) -> Plan | None:
    try:
        return load(Plan, _read(folder / "plan.json"))
    except DecodeError:
        return None


def _log(trial: Trial, folder: Path) -> tuple[str, bytes]:
    """The log in which the trial's decisive line stands, else the first that is there."""
    prefix = f"{trial.reading.condition}/"
    own = [event for event in trial.observation.console if event.name.startswith(prefix)]
    names = ("guest-console.log", *LOGS) if own and own[0].where == "guest" else LOGS
    texts = [event.text.strip() for event in own]
    found = [(name, data) for name in names if (data := _log_named(name, folder))]
    for name, data in found:
        if texts and texts[0].encode() in data:
            return name, data
    return found[0] if found else ("", b"")


def _log_named(name: str, folder: Path) -> bytes:
    """A log of a trial: the console that this host wrote, or one that the guest left (older trials: beside it)."""
    if name == "console.log":
        return _read(folder / name)
    return _read(folder / "guest" / name) or _read(folder / name)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LOG_BYTES)
    except OSError:
        return b""


# ---- the rest ------------------------------------------------------------------------------------------------------


def _others(campaign: CampaignRow, trials: tuple[Trial, ...]) -> tuple[OtherFailure, ...]:
    failed = [trial for trial in trials if trial.reading.signal is Signal.OTHER_FAILURE]
    counts = Counter(_print_of(trial) for trial in failed)
    first = {_print_of(trial): trial for trial in reversed(failed)}
    return tuple(
        OtherFailure(
            mark,
            first[mark].reading.reason,
            count,
            str(first[mark].candidate),
            _command(campaign, mark, [trial for trial in failed if trial.reading.fingerprint == mark]),
        )
        for mark, count in counts.most_common()
    )


def _command(campaign: CampaignRow, mark: str, showing: list[Trial]) -> str:
    """What opens a campaign on another crash: from the same good end to the bad one, or to a commit that showed it."""
    shown = [trial.candidate.revision for trial in showing if not trial.candidate.edits]
    if not shown or not campaign.repo or campaign.find_fix or campaign.good in shown:
        return ""
    known = (shipped.recipes() / f"{campaign.recipe}.yaml").is_file()
    recipe = campaign.recipe if known else f"{campaign.recipe}.yaml"
    bad = campaign.bad if campaign.bad in shown else shown[0]
    cell = options(campaign.cell)
    words = ["bisector", "run", recipe, "--repo", campaign.repo, "--good", campaign.good[:12], "--bad", bad[:12]]
    return shlex.join([*words, *cell, "--on", mark])


def _print_of(trial: Trial) -> str:
    return trial.reading.fingerprint or trial.reading.reason
