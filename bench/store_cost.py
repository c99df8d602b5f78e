# SPDX-License-Identifier: GPL-2.0-only
"""CPU time of the store: a campaign of 2,000 trials is listed, looked up and drawn on."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bisector.agent.plan import LayerFacts, Plan, Result, Step, StepFacts
from bisector.case import Case
from bisector.execute.local import LocalExecutor
from bisector.interfaces import CancelToken, Listener, ignore
from bisector.judge import Judge
from bisector.model import (
    Candidate,
    Cell,
    Condition,
    ConsoleEvent,
    Ending,
    Fact,
    FactKind,
    Image,
    Judgement,
    Observation,
    Outcome,
    OutcomeKind,
    Question,
    Reading,
    Signal,
    TargetKind,
    Timing,
    Trial,
    Verdict,
)
from bisector.store import CampaignRow, Store
from bisector.tools import JudgeTools
from bisector.verdict.fixed import FixedTrials

TRIALS = 2000
OTHERS = 100  # campaigns beside it, of a twentieth of its trials each
PLAN = Plan(steps=(Step("load", "io", objects=("boot",)),))
CANDIDATE = Candidate(TargetKind.KERNEL_SOURCE, "a" * 40)
QUESTION = Question((Condition("failed", (Fact(FactKind.HEALTH, "boot", ("degraded",)),)),),
                    (Condition("healthy", (Fact(FactKind.HEALTH, "boot", ("healthy",)),)),))  # fmt: skip
CASE = Case(Cell(""), PLAN, QUESTION, FixedTrials(TRIALS, 3))
SEEN = Observation(
    Ending.FINISHED,
    Result(
        complete=True,
        layers=tuple(LayerFacts(name, f"/dev/{name}", 511, 512, "healthy", "0 65536 raid1") for name in "abc"),
        steps=(StepFacts("load", 2.0, 3.0, done=True, exit=0, detail="64 reads of 4096 bytes"),),
        tools=(("qemu", "7.2.22"), ("lvm", "2.03.16"), ("python", "3.11.2")),
    ),
    (ConsoleEvent(7.0, "vm", "watch", "healthy/0", "md/raid1:mdX: active with 2 out of 2 mirrors"),),
    timing=Timing(6.0, 2.0, 1.0, 9.0),
    accel="tcg",
)  # fmt: skip


@dataclass
class _Instant:
    """A target and a runner that take no time."""

    def key(self, candidate: Candidate) -> str:
        return candidate.revision

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image:
        return Image("i" * 64, "/dev/null")

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        return SEEN


def row(name: str) -> CampaignRow:
    return CampaignRow(name, "r", "t", "recipe: r\n" * 100, "/linux", "g", "b", False, "", time.time(), "running")


def filled(store: Store, name: str, trials: int) -> None:
    """A finished campaign whose outcome stands on so many trials, and their rows."""
    store.add_campaign(row(name))
    reading = Reading(Signal.CLEAN, "healthy", "healthy")
    trial = Trial(0, CANDIDATE, "i" * 64, "p" * 64, "ends", "", 1, reading, SEEN, "trials/ends-0")
    stored = tuple(store.add_trial(name, trial) for _ in range(trials))
    judged = Judgement(CANDIDATE, Verdict.GOOD, "clean", trials=stored)
    store.finish(name, Outcome(OutcomeKind.UNRESOLVED, "nothing was found", good=judged))


def cpu(call: Callable[[], object], runs: int = 20) -> float:
    """Median CPU milliseconds of a call."""
    call()
    found = []
    for _ in range(runs):
        began = time.process_time()
        call()
        found.append((time.process_time() - began) * 1000)
    return statistics.median(found)


def draws(store: Store) -> list[float]:
    """CPU milliseconds of each trial that is drawn and decided on, by its number."""
    store.add_campaign(row("drawn"))
    with LocalExecutor(builds=1, trials=1) as pool:
        target = _Instant()
        series = Judge(JudgeTools(target, target, store, "drawn", pool, ignore, CancelToken())).series(
            CANDIDATE, CASE, "search"
        )
        found = []
        for _ in range(TRIALS):
            began = time.process_time()
            assert not series.untestable
            assert series.evidence is not None
            series.draw()
            found.append((time.process_time() - began) * 1000)
    return found


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-store-") as folder:
        store = Store(Path(folder))
        filled(store, "big", TRIALS)
        for number in range(OTHERS):
            filled(store, f"other-{number}", TRIALS // 20)
        print(
            f"{1 + OTHERS} campaigns, one of {TRIALS} trials and the rest of {TRIALS // 20}; CPU milliseconds, median"
        )
        for name, call in {
            "list of campaigns": store.listed,
            "their rows": store.campaigns,
            "look-up by id": lambda: store.campaign("big"),
            "look-up by the start of it": lambda: store.campaign("bi"),
            "open, list, close": lambda: (opened := Store(Path(folder))).listed() and opened.close(),
            "its outcome, when it is looked at": lambda: store.campaign("big").outcome,
        }.items():
            print(f"{name:<34} {cpu(call):8.1f} ms")
        print("goal: at most 50 ms to list and to look up")
        each = draws(store)
        for at in (100, 1000, TRIALS):
            print(f"{f'drawing trial {at - 99} to {at}':<34} {statistics.median(each[at - 100 : at]):8.2f} ms each")
        store.close()


if __name__ == "__main__":
    main()
