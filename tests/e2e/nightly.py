# SPDX-License-Identifier: GPL-2.0-only
"""One night on a real kernel: a linux-next over the planted history, its culprit found, and nothing found twice.

    python -m tests.e2e.nightly [--culprit N] [--seed S] [--commits N] [--tree TARBALL]

The day is one commit on top of the planted bad end that adds ``Next/SHA1s`` alone, and it stands on the planted good
end. Everything it makes lies in ``nightly`` below the folder of the end-to-end tests, whose compiler cache is used.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.e2e import fastimport, prepare
from tests.e2e.harness import CELL, OPEN_PROBE, Said, Scene, fingerprint, play
from tests.e2e.history import Manifest

TAG = "next-20261101"
LIMIT = 100 * 60.0  # seconds for the night
NOTHING_LIMIT = 5 * 60.0  # for one without a new day
WATCH = """\
nightly: e2e
repo: ../linux-next.git
recipes:
  - recipe: RECIPE
    cell: CELL
budget: 90m
out: nights
"""


def linux_next(planted: Path, folder: Path, manifest: Manifest) -> None:
    """A repository with one day of linux-next: the planted history, and what makes it a day."""
    if folder.exists():
        shutil.rmtree(folder)
    fastimport.git(planted, "clone", "--quiet", "--bare", "--shared", ".", str(folder))
    sha1s = f"Name\t\tSHA1\n----\t\t----\norigin\t\t{manifest.good}\nplanted\t\t{manifest.bad}\n"
    index = {"GIT_INDEX_FILE": str(folder / "day.index")}
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in IDENTITY}
    made = _Plumbing(folder, index | who)
    made("read-tree", manifest.bad)
    blob = made("hash-object", "-w", "--stdin", stdin=sha1s)
    made("update-index", "--add", "--cacheinfo", f"100644,{blob},Next/SHA1s")
    day = made("commit-tree", made("write-tree"), "-p", manifest.bad, "-m", f"Add linux-next specific files for {TAG}")
    made("tag", "-a", "-m", TAG, TAG, day)


IDENTITY = (("NAME", "Planted History"), ("EMAIL", "planted@localhost"), ("DATE", f"{fastimport.EPOCH + 10**6} +0000"))


class _Plumbing:
    """git with an index and a name of its own."""

    def __init__(self, folder: Path, extra: dict[str, str]) -> None:
        self.folder, self.extra = folder, extra

    def __call__(self, *words: str, stdin: str = "") -> str:
        argv = ["git", "-C", os.fspath(self.folder), *words]
        environ = fastimport.GIT_ENVIRONMENT | self.extra
        done = subprocess.run(argv, input=stdin, env=environ, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()


def workplace(place: prepare.Place) -> prepare.Place:
    """Its own folder: the cache stays for the next time, the memory begins anew."""
    root = place.root / "nightly"
    for name in ("state", "watch"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "watch").mkdir(parents=True)
    cache, shared = root / "cache/bisector", place.root / "cache/bisector/ccache"
    cache.mkdir(parents=True, exist_ok=True)
    if shared.is_dir() and not (cache / "ccache").exists():
        (cache / "ccache").symlink_to(shared)
    return prepare.Place(root)


def watch(folder: Path, trials: int) -> Path:
    """The file of the watch. ``trials``: of each candidate; 0 for what the shipped recipe says."""
    recipe = str(OPEN_PROBE)
    if trials:
        text = re.sub(r"^(trials|confidence):.*$", f"trials: {trials}", OPEN_PROBE.read_text(), flags=re.MULTILINE)
        (folder / OPEN_PROBE.name).write_text(text)
        recipe = f"./{OPEN_PROBE.name}"
    file = folder / "nightly.yaml"
    file.write_text(WATCH.replace("RECIPE", recipe).replace("CELL", CELL))
    return file


def night(scene: Scene, manifest: Manifest, trials: int) -> None:
    """The night that finds it, and one without a new day."""
    file, checks = watch(scene.place.root / "watch", trials), scene.checks
    out = file.parent / "nights"
    with scene.phase("night"):
        said = scene.bisector("night", LIMIT, "nightly", str(file), "--json")
    found = (said.document.get("nightly") or {}).get("regressions") or [{}]
    named = (found[0].get("culprit") or {}).get("oid")
    summary = out / TAG / "summary.txt"
    draft = next(iter(out.glob("drafts/*/0-report.eml")), None)
    checks.that("night: exit code 1", said.code == 1, f"it was {said.code}")
    checks.that("night: one regression", len(found) == 1, f"there are {len(found)}")
    checks.that("night: names the planted commit", named == manifest.culprit, f"it named {named}")
    checks.that("night: its summary names it", summary.exists() and manifest.culprit[:12] in summary.read_text())
    checks.that("night: one draft, which names it", draft is not None and manifest.culprit[:12] in draft.read_text())
    checks.that("night: the page of all nights is there", (out / "index.html").exists())
    if summary.exists():
        prepare.stderr("\n" + summary.read_text())
    before = _trials(scene.place)
    with scene.phase("night without a new day"):
        again: Said = scene.bisector("nothing", NOTHING_LIMIT, "nightly", str(file), "--json")
    checks.that("no new day: exit code 0", again.code == 0, f"it was {again.code}")
    ran = (again.document.get("nightly") or {}).get("ran")
    checks.that("no new day: nothing was run", ran is False and _trials(scene.place) == before > 0)


def _trials(place: prepare.Place) -> int:
    with sqlite3.connect(place.root / "state/bisector/bisector.db") as store:
        return int(store.execute("select count(*) from trials").fetchone()[0])


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = prepare.parser("tests.e2e.nightly", (__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=0, help="trials of each candidate; default: the recipe's own")
    given = parser.parse_args(argv)

    def story(scene: Scene) -> None:
        with scene.phase("source and history"):
            planted, manifest = prepare.planted(scene.place, given)
            own = workplace(scene.place)
            linux_next(planted, own.root / "linux-next.git", manifest)
            before = fingerprint(planted / ".git")
        there = replace(scene, place=own)
        night(there, manifest, given.trials)
        there.untouched("the planted repository", planted / ".git", before)
        there.no_orphans()

    return play("e2e-nightly", story)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
