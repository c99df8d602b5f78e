# SPDX-License-Identifier: GPL-2.0-only
"""What a job says of its slot."""

from pathlib import Path

import pytest

from bisector.agent.plan import Plan
from bisector.errors import Interrupted
from bisector.execute.work import Work, working
from bisector.interfaces import CancelToken, Listener, Phase, Progress
from bisector.jobs import make_image, run_trial
from bisector.model import BuildFailure, Candidate, Ending, Image, Observation, TargetKind

CANDIDATE = Candidate(TargetKind.GIVEN, "/x", label="x")


class ActedTarget:
    def __init__(self, made: Image | BuildFailure | None) -> None:
        self.made = made

    def key(self, candidate: Candidate) -> str:
        return "key"

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        listener(Progress(Phase.BUILD, "drivers/md"))
        if self.made is None:
            raise Interrupted("stopped")
        return self.made


class ActedRunner:
    def __init__(self, ending: Ending) -> None:
        self.ending = ending

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        listener(Progress(Phase.BOOT))
        return Observation(self.ending)


@pytest.mark.parametrize(
    ("made", "ended"), [(Image("id", ""), ""), (BuildFailure("compile", ()), "failed"), (None, "stopped")]
)
def test_a_build_says_where_it_runs_and_how_it_ended(made: Image | BuildFailure | None, ended: str) -> None:
    heard: list[Progress] = []
    with working(Work("build 2", "rack3")):
        try:
            assert make_image(ActedTarget(made), CANDIDATE, heard.append, CancelToken()) is made
        except Interrupted:
            assert made is None
    phases = [(Phase.TAKEN, ""), (Phase.BUILD, "drivers/md"), (Phase.FREE, ended)]
    assert [(one.phase, one.detail) for one in heard] == phases
    assert {(one.work, one.candidate) for one in heard} == {(Work("build 2", "rack3"), "x")}


@pytest.mark.parametrize(("ending", "ended"), [(Ending.FINISHED, ""), (Ending.CANCELLED, "stopped")])
def test_a_trial_says_and_keeps_where_it_ran(ending: Ending, ended: str, tmp_path: Path) -> None:
    heard: list[Progress] = []
    with working(Work("trial 7")):
        seen = run_trial(ActedRunner(ending), Image("id", ""), Plan(()), tmp_path / "t", heard.append, CancelToken())
    assert (seen.slot, seen.worker) == ("trial 7", "")
    assert [(one.phase, one.detail, one.work) for one in heard] == [
        (Phase.TAKEN, "", Work("trial 7")),
        (Phase.BOOT, "", Work("trial 7")),
        (Phase.FREE, ended, Work("trial 7")),
    ]
