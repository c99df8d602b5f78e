# SPDX-License-Identifier: GPL-2.0-only
"""From released kernels into the source: packages are booted first, then commits built between the tags they stand for.

    python -m tests.e2e.releases

A bare clone of the planted history gets the tags v6.17 and v6.18 at its ends, so that the range that real packages
give leads to them. Then one of those packages shows what ``needs: {modules: ...}`` of a recipe brings, and what is not
there without it. Downloads about 620 MB of packages. Ends with ``e2e-releases: N passed, N failed``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.e2e import fastimport, prepare
from tests.e2e.harness import ROOT, Scene, fingerprint, play
from tests.e2e.history import Manifest
from tests.e2e.run import CAMPAIGN_LIMIT

RECIPE = ROOT / "recipes/virtio-dio-lvm-raid1-releases.yaml"


def releases_then_commits(scene: Scene, repo: Path, manifest: Manifest) -> str:
    """``bisector run --releases auto --repo`` on the recipe that a newcomer runs first; ``repo``: the tagged clone.

    Returns the version of a package that it tried, "" for none.
    """
    before, checks = fingerprint(repo), scene.checks
    with scene.phase("releases, then commits"):
        said = scene.bisector(
            "releases", CAMPAIGN_LIMIT, "run", str(RECIPE), "--releases", "auto", "--repo", str(repo), "--json"
        )
    ends = [judgement["candidate"].get("label") for judgement in said.judgements]
    assumed = " ".join(said.outcome.get("assumptions") or [])
    checks.that("exit code 0", said.code == 0, f"it was {said.code}")
    checks.that("outcome is culprit", said.outcome.get("kind") == "culprit", str(said.outcome.get("summary")))
    checks.that("names the planted commit", said.culprit == manifest.culprit, f"it named {said.culprit}")
    checks.that("the search went from v6.17 to v6.18", {"v6.17", "v6.18"} <= set(ends), str(ends))
    checks.that("says what the releases gave", "releases first: 6.17 good, 6.18 bad" in assumed, assumed)
    scene.untouched("the user's repository", repo, before)
    scene.no_orphans()
    return next((label for label in ends if label and re.fullmatch(r"\d+\.\d+\.\d+", label)), "")


MODULES = """\
recipe: needs-modules
target: {kernel: {config: [base]}}
search: {suites: [trixie-backports, bookworm-backports]}
needs: {modules: [dm-dust]}
trials: 1
steps:
  - named: {run: [modprobe, dm-dust]}
  - loaded: {run: [grep, -w, dm_dust, /proc/modules]}
  - needed-by-it: {run: [grep, -w, dm_mod, /proc/modules]}
  - not-named: {run: [modprobe, dm-flakey]}
bad_when: {not-there: {exit: {named: 1}}}
good_when: {there: {exit: {named: 0, loaded: 0, needed-by-it: 0, not-named: 1}}}
"""


def modules_that_a_recipe_names(scene: Scene, version: str) -> None:
    """A packaged kernel with the module that a recipe's own steps load, and without one that it does not name."""
    recipe = scene.logs / "needs-modules.yaml"
    recipe.write_text(MODULES)
    bare = scene.logs / "needs-none.yaml"
    bare.write_text(MODULES.replace("needs-modules", "needs-none").replace("[dm-dust]}\n", "[dm-delay]}\n"))
    for file, code in ((recipe, 0), (bare, 1)):
        with scene.phase(file.stem):
            said = scene.bisector(file.stem, CAMPAIGN_LIMIT, "test", str(file), "--package", version, "--json")
        scene.checks.that(f"{file.stem} ends with {code}", said.code == code, f"it was {said.code}: {said.stdout}")
    scene.no_orphans()


def tagged(place: prepare.Place, planted: Path) -> Path:
    """A bare clone of the planted history whose ends are v6.17 and v6.18."""
    repo = place.root / "releases.git"
    if not repo.exists():
        fastimport.git(place.root, "clone", "--quiet", "--bare", str(planted), str(repo))
    for tag, end in (("v6.17", "good"), ("v6.18", "bad")):
        fastimport.git(repo, "tag", "--force", tag, end)
    return repo


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    given = prepare.parser("tests.e2e.releases", (__doc__ or "").split("\n")[0]).parse_args(argv)

    def story(scene: Scene) -> None:
        planted, manifest = prepare.planted(scene.place, given)
        tried = releases_then_commits(scene, tagged(scene.place, planted), manifest)
        modules_that_a_recipe_names(scene, tried)

    return play("e2e-releases", story)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
