# SPDX-License-Identifier: GPL-2.0-only
"""The jobs of a campaign: functions that a slot runs, each given all that it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.codec import dump
from bisector.errors import Interrupted
from bisector.interfaces import CancelToken, Listener, Runner, Target
from bisector.model import BuildFailure, Candidate, Ending, Image, Observation


def make_image(target: Target, candidate: Candidate, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
    """The job that makes one image."""
    return target.image(candidate, listener=listener, cancel=cancel)


def run_trial(
    runner: Runner, image: Image, plan: Plan, folder: Path, listener: Listener, cancel: CancelToken
) -> Observation:
    """The job that runs one trial; leaves the plan and the observation beside the logs."""
    observation = runner.run(image, plan, folder, listener=listener, cancel=cancel)
    observation = replace(observation, deadline=plan.deadline)
    if observation.ending is not Ending.CANCELLED:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "observation.json").write_text(dump(observation) + "\n", encoding="utf-8")
    return observation


def finished(observation: Observation) -> Observation:
    """The observation of a trial that ran to its end. Raises Interrupted for another one."""
    if observation.ending is Ending.CANCELLED:
        raise Interrupted("stopped during a trial", hint="that trial is not stored; what is finished is kept")
    return observation
