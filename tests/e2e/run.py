# SPDX-License-Identifier: GPL-2.0-only
"""The end-to-end test: a real campaign on a planted history must name exactly the planted commit.

    python -m tests.e2e.run [--merge] [--culprit N] [--seed S] [--commits N] [--tree TARBALL] [--only-campaign]

Runs the command line as a person would, then looks at everything from outside: exit code, JSON, the user's repository,
processes. Ends with ``e2e: N passed, N failed``; exit code 1 when any failed, 3 when the test could not be run.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e import fastimport, prepare
from tests.e2e.harness import CELL, OPEN_PROBE, ROOT, Scene, fingerprint, play
from tests.e2e.history import Manifest
from tests.e2e.layout import UNTESTABLE

INNER_GUEST = ROOT / "recipes/virtio-dio-lvm-raid1.yaml"
CAMPAIGN_LIMIT = 50 * 60.0  # seconds
TEST_LIMIT = 15 * 60.0


@dataclass(frozen=True)
class EndToEnd:
    """One whole test."""

    scene: Scene
    repo: Path
    manifest: Manifest

    def campaign(self) -> None:
        """``bisector run`` on the open probe, one cell."""
        ends = ("--repo", str(self.repo), "--good", "good", "--bad", "bad")
        with self.scene.phase("campaign"):
            said = self.scene.bisector(
                "campaign", CAMPAIGN_LIMIT, "run", str(OPEN_PROBE), *ends, "--cell", CELL, "--json"
            )
        checks, outcome = self.scene.checks, said.outcome
        checks.that("campaign: exit code 0", said.code == 0, f"it was {said.code}")
        checks.that("campaign: outcome is culprit", outcome.get("kind") == "culprit", str(outcome.get("summary")))
        named = said.culprit
        checks.that("campaign: names the planted commit", named == self.manifest.culprit, f"it named {named}")
        self._verdicts(said.judgements)

    def _verdicts(self, judgements: list[dict[str, Any]]) -> None:
        """Each verdict against what was planted; and that the search met what was planted for it."""
        roles = {commit.oid: commit.role for commit in self.manifest.commits}
        bad = set(fastimport.git(self.repo, "rev-list", "--ancestry-path", f"{self.manifest.culprit}..bad").split())
        bad.add(self.manifest.culprit)
        wrong, met = [], set()
        for judgement in judgements:
            candidate = judgement["candidate"]
            oid = candidate["revision"]
            if oid not in roles or candidate.get("edits"):  # a revert on top of an end is judged by the proof
                continue
            met.add(roles[oid])
            expected = "skip" if roles[oid] in set(UNTESTABLE) else "bad" if oid in bad else "good"
            if judgement["verdict"] != expected:
                wrong.append(f"{oid[:12]} ({roles[oid]}) is {expected}, was judged {judgement['verdict']}")
        checks = self.scene.checks
        checks.that("campaign: each verdict is right", bool(judgements) and not wrong, "; ".join(wrong))
        for role in (role for role in UNTESTABLE if role in self.manifest.tested):
            checks.that(f"campaign: met the commit that {role}", role in met)

    def inner_guest(self, end: str, expected: int) -> None:
        """``bisector test`` with an inner Linux guest on one end."""
        with self.scene.phase(f"inner guest, {end} end"):
            candidate = ("--repo", str(self.repo), "--rev", end)
            said = self.scene.bisector(
                f"guest-{end}", TEST_LIMIT, "test", str(INNER_GUEST), *candidate, "--cell", CELL, "--json"
            )
        self.scene.checks.that(f"inner guest: the {end} end is {end}", said.code == expected, f"exit code {said.code}")

    def whole(self, only_campaign: bool) -> None:
        """All of it; the user's repository is compared over everything that ran."""
        with self.scene.phase("hash of the repository before"):
            before = fingerprint(self.repo)
        self.campaign()
        if not only_campaign:
            self.inner_guest("good", 0)
            self.inner_guest("bad", 1)
        with self.scene.phase("hash of the repository after"):
            self.scene.untouched("the user's repository", self.repo, before)
        self.scene.no_orphans()


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = prepare.parser("tests.e2e.run", (__doc__ or "").split("\n")[0])
    parser.add_argument("--only-campaign", action="store_true", help="leave out the inner guest on both ends")
    given = parser.parse_args(argv)

    def story(scene: Scene) -> None:
        with scene.phase("source and history"):
            repo, manifest = prepare.planted(scene.place, given)
        prepare.stderr(f"Linux {manifest.version}, culprit {manifest.culprit}, expected to meet: {manifest.tested}")
        EndToEnd(scene, repo, manifest).whole(given.only_campaign)

    return play("e2e", story)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
