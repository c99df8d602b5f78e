# SPDX-License-Identifier: GPL-2.0-only
"""Whole campaigns over generated histories with acted kernels, each broken off at a random trial and resumed.

A history has 6 to 40 commits, merges of two to four parents, a good end that the bad one does not always hold, commits
that do not build (20 %) or boot (8 %), and a culprit anywhere. The culprit's own edits may not apply, build or boot.
What must hold: no wrong commit is named, nothing ends in an exception, a resumed campaign decides as an unbroken one,
and one with many slots, whose trials end in any order, as one that runs a trial at a time.

By hand, any number of them, in a folder that is emptied after each (a RAM disk is the fastest)::

    python -m tests.campaign.histories --count 500 --folder /dev/shm/histories
    python -m tests.campaign.histories --first 17 --count 1 --show
    python -m tests.campaign.histories --count 500 --slots 4 --slots 16
    python -m tests.campaign.histories --count 500 --slots 4 --slots 16 --rate 1 --rate 0.5 --rate 0.2 --rate 0.1
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.campaign.commits import CommitCampaign
from bisector.direction import direction
from bisector.interfaces import CancelToken, Listener, Runner, ignore
from bisector.model import Image, Observation, Outcome, OutcomeKind, Signal
from bisector.recipe.model import Recipe
from bisector.session import Setting
from bisector.store import CampaignRow
from bisector.system.xdg import Folders
from tests.campaign.acting import RECIPE, Acted, ActedRunner, ActedSession
from tests.campaign.generated import Made, made
from tests.search.planted import Planted

JITTER = 0.003
"""Seconds that a trial takes at most where several run at once."""


class Killed(BaseException):
    """What a kill is to the campaign: nothing after it runs."""


@dataclass
class MortalRunner(ActedRunner):
    """Dies in one trial, a control's boot counted."""

    left: list[int] = field(default_factory=list)
    jitter: float = 0.0  # seconds at most that a trial takes, so that trials end in any order

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        self.left[0] -= 1
        if not self.left[0]:
            raise Killed
        if self.jitter:
            time.sleep(random.uniform(0.0, self.jitter))
        return super().run(image, plan, folder, listener=listener, cancel=cancel)


class HistorySession(ActedSession):
    """A session whose campaigns have one id, so that the seeds of their trials are the same in any folder."""

    left: list[int]

    def add_campaign(self, row: CampaignRow, recipe: Recipe) -> CampaignRow:
        return super().add_campaign(replace(row, id="history"), recipe)

    def runner(self, recipe: Recipe) -> Runner:
        return MortalRunner(self.world, left=self.left, jitter=JITTER * (self.setting.trials_at_once > 1))


@dataclass(frozen=True)
class Seen:
    """What a campaign came to, and all that it stands on."""

    outcome: Outcome
    trials: tuple[tuple[str, str, int, Signal], ...]
    runs: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and self._what() == other._what()

    def __hash__(self) -> int:
        return hash(self.outcome.summary)

    def _what(self) -> tuple[object, ...]:
        end = self.outcome
        return end.kind, end.summary, end.culprit, end.suspects, end.unchecked, self.trials


@dataclass
class Lives:
    """The campaigns of one history in one folder."""

    history: Made
    folder: Path

    def __post_init__(self) -> None:
        self.planted = Planted(self.folder / "linux", self.history.plan)
        text = RECIPE
        if self.history.first_parent:
            text = text.replace("bad: b}", "bad: b, first_parent: true}")
        if self.history.fixed_trials:
            text = text.replace("confidence: {max_error: 0.01}", "trials: 2")
        ends = self.history.good, self.history.bad
        acted = Acted(self.planted, Folders(self.folder, self.folder), self.history.world)
        self.request = acted.request(*ends, direction=direction(self.history.find_fix), text=text)

    def run(self, name: str, *, dies: int = 0, resume: bool = False, slots: int = 1) -> Seen | None:
        """One campaign below ``name``; None when it was killed in trial ``dies``. ``slots``: trials at once."""
        left = [dies or -1]
        folders = Folders(self.folder / name / "cache", self.folder / name / "state")
        folders.state.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # one clone serves all campaigns
            (self.folder / "clones").mkdir(exist_ok=True)
            (folders.state / "clones").symlink_to(self.folder / "clones")
        world = replace(self.history.world, plans=[], built=[])
        with HistorySession(Setting(folders, {}, ignore, 1, trials_at_once=slots), world) as session:
            session.left = left
            try:
                row, outcome = CommitCampaign(replace(self.request, resume=resume), session).run()
            except Killed:
                return None
            trials = [trial for trial in session.store.trials(row.id) if trial.reading.signal is not Signal.INFRA]
            drawn = sorted((trial.stage, trial.image, trial.seed, trial.reading.signal) for trial in trials)
            return Seen(outcome, tuple(drawn), -1 - left[0])

    def named(self, outcome: Outcome) -> set[str]:
        """Planned names of what the outcome names."""
        commits = (outcome.culprit,) if outcome.culprit else outcome.suspects
        return {self.planted.name[commit.oid] for commit in commits}


def fault(history: Made, outcome: Outcome, named: set[str]) -> str:
    """What is wrong with an outcome, "" for nothing.

    Not promised (docs/trust.md, "Two causes"), and said by the outcome: that a newer commit vouches for a parent that
    cannot be tried, where the bug came and went in between.
    """
    right = history.answers
    if outcome.kind is OutcomeKind.CULPRIT and not named <= right:
        return f"wrong culprit {named}, not one of {right}"
    vouched = history.odd and any("unless it changed twice" in line for line in outcome.unchecked)
    if outcome.kind is OutcomeKind.NARROWED and not named & history.suspects and not vouched:
        return f"narrowed to {named}, which holds none of {history.suspects}"
    return ""


def judged(seed: int, folder: Path, slots: Sequence[int] = (), rate: float = 0.0) -> tuple[str, Seen]:
    """(what is wrong with the campaigns of that history, "" for nothing; the unbroken one). Raises what they raise.

    ``slots``: with so many trials at once the campaign is run again, unbroken and broken off, and not with one at once.
    ``rate``: at which the bug reproduces; 0: the history's own.
    """
    history = made(seed, rate)
    lives = Lives(history, folder)
    whole = lives.run("whole")
    assert whole is not None
    wrong = fault(history, whole.outcome, lives.named(whole.outcome))
    if not whole.runs:  # an end does not build
        return wrong, whole
    if slots:
        return wrong + "".join(_alike(lives, whole, count, seed) for count in slots), whole
    dies = random.Random(f"death {seed}").randint(1, max(1, whole.runs))
    if lives.run("broken", dies=dies) is not None:
        wrong += f"; never came to trial {dies} of {whole.runs}"
    if lives.run("broken", resume=True) != whole:
        wrong += f"; resumed after a death in trial {dies} of {whole.runs} it decides otherwise"
    return wrong, whole


def _alike(lives: Lives, whole: Seen, slots: int, seed: int) -> str:
    """What is wrong with the campaign with so many slots: it decides otherwise, unbroken or broken off and resumed."""
    wrong = ""
    if lives.run(f"slots-{slots}", slots=slots) != whole:
        wrong += f"; with {slots} slots it decides otherwise"
    dies = random.Random(f"death {seed} {slots}").randint(1, max(1, whole.runs))
    ended = lives.run(f"broken-{slots}", dies=dies, slots=slots)  # where nobody needs the trial that dies
    if (ended or lives.run(f"broken-{slots}", resume=True, slots=slots)) != whole:
        wrong += f"; resumed with {slots} slots after a death in trial {dies} it decides otherwise"
    return wrong


def _each(
    seeds: range, parent: Path | None, slots: Sequence[int], rates: Sequence[float]
) -> Iterator[tuple[int, float, str, Seen | None]]:
    for seed in seeds:
        folder, rate = Path(tempfile.mkdtemp(prefix=f"history-{seed}-", dir=parent)), rates[seed % len(rates)]
        try:
            wrong, whole = judged(seed, folder, slots, rate)
            yield seed, rate, wrong, whole
        except Exception:  # noqa: BLE001 - each is a finding, and the next one is still to be made
            yield seed, rate, traceback.format_exc(limit=-6), None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Exit code 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--folder", type=Path, help="where to make them (default: the temporary folder)")
    parser.add_argument("--slots", type=int, action="append", default=[], help="compare with so many trials at once")
    parser.add_argument("--rate", type=float, action="append", default=[], help="of the bug, one after the other")
    parser.add_argument("--show", action="store_true", help="what each one is and came to")
    options = parser.parse_args()
    kinds: Counter[str] = Counter()
    wrong, began = 0, time.monotonic()
    seeds = range(options.first, options.first + options.count)
    for seed, rate, fault_, whole in _each(seeds, options.folder, options.slots, options.rate or [0.0]):
        history = made(seed, rate)
        kind = str(whole.outcome.kind) if whole else "exception"
        kinds[kind + ", odd" * history.odd] += 1
        wrong += bool(fault_)
        if fault_ or options.show:
            words = ", ".join(filter(None, history.words))
            print(f"{seed}: {kind}: {words}: {whole.outcome.summary if whole else ''}\n    {fault_}", flush=True)
    seconds = time.monotonic() - began
    figures = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    print(f"{options.count} histories from seed {options.first}: {wrong} wrong; {figures}; {seconds:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
