# SPDX-License-Identifier: GPL-2.0-only
"""From released kernels into the source: packages are booted first, then commits built between the tags they stand for.

    python -m tests.e2e.slide

A bare clone of the planted history gets the tags v6.17 and v6.18 at its ends, so that the range that real packages
give leads to them. Downloads about 620 MB of packages. Ends with ``N passed, N failed``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import BisectorError
from tests.e2e import fastimport, prepare
from tests.e2e.run import CAMPAIGN_LIMIT, ROOT, Checks, EndToEnd, fingerprint

RECIPE = ROOT / "recipes/virtio-dio-lvm-raid1-releases.yaml"


@dataclass(frozen=True)
class Slide(EndToEnd):
    """The test; ``repo`` is the tagged clone."""

    def whole(self, only_campaign: bool = True) -> None:
        """``bisector run --releases auto --repo`` on the recipe that a newcomer runs first."""
        before = fingerprint(self.repo)
        with prepare.phase("releases, then commits", self.seconds):
            said = self.bisector(
                "slide", CAMPAIGN_LIMIT, "run", str(RECIPE), "--releases", "auto", "--repo", str(self.repo), "--json"
            )
        outcome = said.document.get("outcome") or {}
        named = (outcome.get("culprit") or {}).get("oid")
        ends = [judgement["candidate"].get("label") for judgement in said.document.get("judgements") or []]
        assumed = " ".join(outcome.get("assumptions") or [])
        self.checks.that("exit code 0", said.code == 0, f"it was {said.code}")
        self.checks.that("outcome is culprit", outcome.get("kind") == "culprit", str(outcome.get("summary")))
        self.checks.that("names the planted commit", named == self.manifest.culprit, f"it named {named}")
        self.checks.that("the search went from v6.17 to v6.18", {"v6.17", "v6.18"} <= set(ends), str(ends))
        self.checks.that("says what the releases gave", "releases first: 6.17 good, 6.18 bad" in assumed, assumed)
        self.checks.that("the user's repository is untouched", fingerprint(self.repo) == before)
        self.no_orphans()


def tagged(place: prepare.Place, planted: Path) -> Path:
    """A bare clone of the planted history whose ends are v6.17 and v6.18."""
    repo = place.root / "slide.git"
    if not repo.exists():
        fastimport.git(place.root, "clone", "--quiet", "--bare", str(planted), str(repo))
    for tag, end in (("v6.17", "good"), ("v6.18", "bad")):
        fastimport.git(repo, "tag", "--force", tag, end)
    return repo


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    given = prepare.parser("tests.e2e.slide", (__doc__ or "").split("\n")[0]).parse_args(argv)
    place, checks = prepare.place(), Checks()
    seconds: dict[str, float] = {}
    logs = place.root / "logs" / time.strftime("%Y%m%d-%H%M%S-slide")
    try:
        logs.mkdir(parents=True)
        repo, manifest = prepare.planted(place, given)
        Slide(place, tagged(place, repo), manifest, logs, checks, seconds).whole()
    except BisectorError as error:
        prepare.stderr(f"{error.what}\n{error.hint}")
        return 3
    print("\n".join(f"{taken:7.1f} s  {name}" for name, taken in seconds.items()))
    print(f"slide: {checks.summary}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
