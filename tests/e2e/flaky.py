# SPDX-License-Identifier: GPL-2.0-only
"""The planted history with a flaky bug: the probe is issued in three of ten trials, and the right commit is named.

    python -m tests.e2e.flaky [--rate R] [--max-error E] [--cell PATH=VALUE] [the options of tests.e2e.run]

The same history and images as tests.e2e.run. The recipe is the shipped open probe with two changes: its step is issued
with probability R, drawn from the trial's seed (of campaign, candidate and trial), and a budget of error stands in the
place of a number of trials. Ends with ``e2e-flaky: N passed, N failed``; exit codes as tests.e2e.run.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from bisector.exitcodes import ExitCode
from tests.e2e import prepare
from tests.e2e.edits import TreeUnfit
from tests.e2e.harness import CELL, OPEN_PROBE, Said, Scene, play
from tests.e2e.history import Manifest

RATE, MAX_ERROR = 0.3, 0.01
LIMIT = 4 * 3600.0  # seconds for some 250 trials, on a machine with other work too
WAIT = 60.0  # seconds after the harness failed
PROBE = "  - probe: {start: guest}"
SURE = re.compile(r"chance of error below ([\d.e-]+) % for a bug that reproduces in at least (\d+) % of trials")


def recipe(folder: Path, rate: float, max_error: float) -> Path:
    """The open probe made flaky, as a file in ``folder``. Raises TreeUnfit for a shipped recipe of another shape."""
    text = OPEN_PROBE.read_text()
    budget, found = re.subn(
        r"^(?:trials|confidence): .*$", f"confidence: {{max_error: {max_error}}}", text, flags=re.MULTILINE
    )
    if found != 1 or PROBE not in budget:
        raise TreeUnfit(f"{OPEN_PROBE} has another shape than this test knows")
    flaky = budget.replace(PROBE, f"{PROBE[:-1]}, probability: {rate}}}")
    flaky = re.sub(r"^recipe: (.*)$", r"recipe: \1-flaky", flaky, count=1, flags=re.MULTILINE)
    path = folder / "flaky.yaml"
    path.write_text(flaky)
    return path


def campaign(scene: Scene, repo: Path, path: Path, cell: str, resume: bool, patience: int) -> Said:
    """``bisector run`` on the flaky recipe, one cell; gone on with where an overloaded host could not boot its VMs."""
    words = ("run", str(path), "--repo", str(repo), "--good", "good", "--bad", "bad", "--cell", cell, "--json")
    with scene.phase("flaky campaign"):
        said = scene.bisector("flaky", LIMIT, *words, *(["--resume"] if resume else []))
        for number in range(1, patience + 1):
            if said.code != ExitCode.INFRA:
                break
            time.sleep(WAIT)
            said = scene.bisector(f"flaky-{number}", LIMIT, *words, "--resume")
    return said


def look(scene: Scene, manifest: Manifest, said: Said, rate: float, max_error: float) -> None:
    """The right culprit, inside the budget, with its figures."""
    outcome, checks = said.outcome, scene.checks
    summary = str(outcome.get("summary"))
    checks.that("exit code 0", said.code == 0, f"it was {said.code}")
    checks.that("outcome is culprit", outcome.get("kind") == "culprit", summary)
    checks.that("names the planted commit", said.culprit == manifest.culprit, f"it named {said.culprit}")
    sure = SURE.search(summary)
    checks.that("the outcome says how sure it is", sure is not None, summary)
    if sure:
        checks.that("the budget is kept", float(sure[1]) / 100 <= max_error, sure[0])
        checks.that("the guarantee covers the true rate", int(sure[2]) / 100 <= rate, sure[0])
    proof = {str(each["candidate"].get("label")): each for each in outcome.get("proof") or []}
    checks.that("culprit and parent stand in the proof", {"culprit", "culprit^1"} <= set(proof), str(set(proof)))
    for label in ("culprit", "culprit^1"):
        signals = [trial["reading"]["signal"] for trial in proof.get(label, {}).get("trials") or []]
        reproduced = signals.count("reproduced")
        right = reproduced >= 5 if label == "culprit" else signals and not reproduced
        checks.that(f"{label} is recognised by its trials", bool(right), f"{reproduced} of {len(signals)} reproduced")
    prepare.stderr(summary)


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = prepare.parser("tests.e2e.flaky", (__doc__ or "").split("\n")[0])
    parser.add_argument("--rate", type=float, default=RATE, help="chance that a trial issues the probe")
    parser.add_argument("--max-error", type=float, default=MAX_ERROR)
    parser.add_argument("--cell", default=CELL)
    parser.add_argument("--patience", type=int, default=3, help="resumes after failures of the harness (exit code 3)")
    parser.add_argument("--resume", action="store_true", help="go on with a campaign that was interrupted")
    given = parser.parse_args(argv)

    def story(scene: Scene) -> None:
        repo, manifest = prepare.planted(scene.place, given)
        path = recipe(scene.logs, given.rate, given.max_error)
        prepare.stderr(f"Linux {manifest.version}, culprit {manifest.culprit}, reproducing in {given.rate:.0%}")
        said = campaign(scene, repo, path, given.cell, given.resume, given.patience)
        look(scene, manifest, said, given.rate, given.max_error)
        scene.no_orphans()

    return play("e2e-flaky", story)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
