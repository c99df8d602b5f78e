# SPDX-License-Identifier: GPL-2.0-only
"""Gathers what a finished (or unfinished) campaign's reports say; the formats beside this file are pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bisector.model import Judgement, Outcome, Signal, Trial
from bisector.store import CampaignRow, Store


@dataclass(frozen=True)
class OtherFailure:
    """A failure that is not the recipe's: kept for people, no evidence about any candidate."""

    fingerprint: str
    reason: str
    count: int
    first: str  # label of the first candidate that showed it


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

    @property
    def infra_count(self) -> int:
        """Trials in which the harness failed."""
        return sum(trial.reading.signal is Signal.INFRA for trial in self.trials)


def gather(store: Store, campaign: CampaignRow) -> Facts:
    """Read one campaign's facts from the store."""
    trials = store.trials(campaign.id)
    judgements = store.judgements(campaign.id)
    return Facts(
        campaign=campaign,
        outcome=campaign.outcome,
        judgements=judgements,
        trials=trials,
        others=_others(trials),
        tools=_tools(store, campaign, trials),
        alignment=_alignment(trials),
        folder=str(store.campaign_folder(campaign.id)),
    )


def _others(trials: tuple[Trial, ...]) -> tuple[OtherFailure, ...]:
    failed = [trial for trial in trials if trial.reading.signal is Signal.OTHER_FAILURE]
    counts = Counter(_print_of(trial) for trial in failed)
    first = {_print_of(trial): trial for trial in reversed(failed)}
    return tuple(
        OtherFailure(mark, first[mark].reading.reason, count, str(first[mark].candidate))
        for mark, count in counts.most_common()
    )


def _print_of(trial: Trial) -> str:
    return trial.reading.fingerprint or trial.reading.reason


def _tools(store: Store, campaign: CampaignRow, trials: tuple[Trial, ...]) -> tuple[tuple[str, str], ...]:
    """Tool versions, newest sight last: what built the images and what ran inside the VM."""
    seen: dict[str, str] = {}
    for image in store.images(campaign.id):
        seen.update(dict(image.tools))
    for trial in trials:
        if trial.observation.result:
            seen.update(dict(trial.observation.result.tools))
        if trial.observation.accel:
            seen["acceleration"] = trial.observation.accel
    return tuple(seen.items())


def _alignment(trials: tuple[Trial, ...]) -> tuple[str, ...]:
    layers = next((t.observation.result.layers for t in reversed(trials) if t.observation.result), ())
    return tuple(
        f"{layer.name}: dma_alignment {layer.dma_alignment}, logical block {layer.logical_block}"
        for layer in layers
        if layer.dma_alignment >= 0
    )
