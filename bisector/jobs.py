# SPDX-License-Identifier: GPL-2.0-only
"""The jobs of a campaign: functions that a slot runs, each given all that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.codec import dump
from bisector.errors import Interrupted
from bisector.execute.work import here
from bisector.interfaces import CancelToken, Listener, Phase, Progress, Runner, Target, with_context
from bisector.model import BuildFailure, Candidate, Ending, Image, Observation


@dataclass
class Job:
    """A job in its slot. ``listener``: adds to each event where it runs; ``ended``: how, "" for well."""

    listener: Listener
    ended: str = "stopped"


@contextmanager
def in_slot(listener: Listener, candidate: str = "") -> Iterator[Job]:
    """Around what a slot runs: the listener hears that the slot is taken, and at its end that it is free."""
    job = Job(with_context(listener, work=here(), candidate=candidate))
    job.listener(Progress(Phase.TAKEN))
    try:
        yield job
    finally:
        job.listener(Progress(Phase.FREE, job.ended))


def make_image(target: Target, candidate: Candidate, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
    """The job that makes one image."""
    with in_slot(listener, str(candidate)) as job:
        made = target.image(candidate, listener=job.listener, cancel=cancel)
        job.ended = "failed" if isinstance(made, BuildFailure) else ""
    return made


def run_trial(
    runner: Runner,
    image: Image,
    plan: Plan,
    folder: Path,
    listener: Listener,
    cancel: CancelToken,
    deadline: Callable[[str], float] | None = None,
) -> Observation:
    """The job that runs one trial; leaves the plan and the observation beside the logs.

    ``deadline``: that of the machine with this name (Work.worker), instead of the plan's.
    """
    with in_slot(listener) as job:
        plan = replace(plan, deadline=deadline(here().worker)) if deadline else plan
        seen, work = runner.run(image, plan, folder, listener=job.listener, cancel=cancel), here()
        observation = replace(seen, deadline=plan.deadline, slot=work.slot, worker=work.worker)
        job.ended = "stopped" if seen.ending is Ending.CANCELLED else ""
    if observation.ending is not Ending.CANCELLED:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "observation.json").write_text(dump(observation) + "\n", encoding="utf-8")
    return observation


def finished(observation: Observation) -> Observation:
    """The observation of a trial that ran to its end. Raises Interrupted for another one."""
    if observation.ending is Ending.CANCELLED:
        raise Interrupted("stopped during a trial", hint="that trial is not stored; what is finished is kept")
    return observation
