# SPDX-License-Identifier: GPL-2.0-only
"""Trials of earlier campaigns that a search over releases takes over: a package is the same binary for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bisector import harness
from bisector.agent.plan import Plan
from bisector.model import BuildFailure, Image, Question, Reading, Trial
from bisector.stage import Stage
from bisector.store import CampaignRow, Store
from bisector.verdict.signature import read

STAGE = Stage.RELEASE


@dataclass
class EarlierTrials:
    """Trials of earlier campaigns: the same kernel is not tried twice for the same question.

    A trial is known by the campaign that ran it and by its folder there, and is taken over once.
    """

    store: Store
    row: CampaignRow
    earlier: Sequence[CampaignRow]

    def take_over(self, image: Image | BuildFailure, plan: Plan, question: Question | None = None) -> str | None:
        """Copy the trials of the newest campaign that has any into ours, unless ours has trials of its own.

        A campaign that was killed in between finds the rest, and none twice. What a trial saw is read again:
        ``question`` may have other conditions than the earlier campaign did.

        Returns: the id of that campaign, None when nothing was copied.
        """
        if isinstance(image, BuildFailure):
            return None
        if self._own(self.row, image, plan):
            return None
        have = [trial for trial in self._stored(self.row, image, plan) if trial.taken_from]
        taken, begun = {trial.folder for trial in have}, {trial.taken_from for trial in have}
        for row in reversed(self.earlier):
            if row.id == self.row.id or (begun and row.id not in begun):
                continue
            found = self._own(row, image, plan)
            copies = [replace(trial, folder=f"../{row.id}/{trial.folder}") for trial in found]
            new = [copy for copy in copies if copy.folder not in taken]
            for copy in new:
                self.store.add_trial(self.row.id, replace(copy, reading=_read_again(copy, question)))
            if new:
                return row.id
        return None

    def said(self) -> tuple[str, ...]:
        """What was taken over by this campaign, before an interruption too, in words."""
        used = Counter(trial.taken_from for trial in self.store.trials(self.row.id) if trial.taken_from)
        return tuple(
            f"{count} {'trial was' if count == 1 else 'trials were'} taken over from campaign {name}, of the same "
            "kernels and the same question (--fresh tries them again)"
            for name, count in used.items()
        )

    def _stored(self, row: CampaignRow, image: Image, plan: Plan) -> tuple[Trial, ...]:
        return self.store.trials(row.id, image=image.identity, plan=plan.identity(), stage=STAGE)

    def _own(self, row: CampaignRow, image: Image, plan: Plan) -> list[Trial]:
        """Trials that a campaign ran itself; [] where none of them could be taken over."""
        own = [trial for trial in self._stored(row, image, plan) if not trial.taken_from]
        counted = harness.counted(own, harness.breakdowns(self.store.trials(row.id)))
        # those that the harness failed go along (law 7), but alone they are nothing to take over
        return [] if all(map(harness.failed, counted)) else counted


def _read_again(trial: Trial, question: Question | None) -> Reading:
    """What a trial shows by other conditions. One that the harness failed stays so: a busy host, and a control that did
    not boot either, are not in what it saw."""
    return trial.reading if question is None or harness.failed(trial) else read(trial.observation, question)
