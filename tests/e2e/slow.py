# SPDX-License-Identifier: GPL-2.0-only
"""The planted history of a regression of performance: a delay in md's raid1, found by what a write takes.

    python -m tests.e2e.slow [--percent 20] [--tree TARBALL]

Thirty commits on the tree of tests.e2e.run; one of them makes each write to a raid1 wait, so that it takes so many per
cent longer. The VM's clock counts instructions, and the array lies on null_blk, so that no device of this host is
waited for. Ends with ``e2e-slow: N passed, N failed``; exit codes as tests.e2e.run.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path

from tests.e2e import edits, history, prepare
from tests.e2e.edits import Edit, TreeUnfit
from tests.e2e.fastimport import Entry, git
from tests.e2e.harness import ROOT, Said, Scene, play
from tests.e2e.history import Planted
from tests.e2e.layout import Planned, Role

COMMITS, CULPRIT = 30, 17
LIMIT = 50 * 60.0  # seconds
WRITE = 32_800  # ns that a write takes without the delay, in a VM whose clock counts instructions (32.6 to 33.0 µs)
LONGER = 1.175  # times what it is asked for that ndelay() takes there: 7.7 µs for 6,560 ns, 1.8 µs for 1,504 ns
RAID1 = "drivers/md/raid1.c"
_WRITE = "\tr1_bio = alloc_r1bio(mddev, bio);\n\tr1_bio->sectors = max_write_sectors;\n"
RECIPE = ROOT / "recipes/raid1-writes-slower.yaml"
FACTOR = "> 1.1 × good"


def delay(nanoseconds: int) -> Edit:
    """Each write to a raid1 waits for so long before it is cloned for the disks."""

    def change(text: str) -> str:
        if text.count(_WRITE) != 1:
            raise TreeUnfit(f"{RAID1}: raid1_write_request does not look as in 6.18")
        return text.replace(_WRITE, f"\tndelay({nanoseconds});\n{_WRITE}")

    return Edit(RAID1, change)


def plan(percent: int) -> tuple[Planned, ...]:
    """The commits: notes, unused functions and lines at boot, and the delay. None touches what many files include."""
    kinds = (
        (Role.DOCUMENTATION, edits.DOCUMENTS, edits.documentation),
        (Role.COMMENT, edits.COMMENTED, edits.comment),
        (Role.QUIET, edits.QUIET, edits.quiet_function),
        (Role.SPOKEN, edits.SPOKEN, edits.spoken_initcall),
    )
    pool = [(role, path, text) for role, paths, text in kinds for path in paths]
    random.Random(percent).shuffle(pool)
    planned = [Planned(0, Role.ROOT, "Import the tree", ())]
    for number in range(1, COMMITS):
        role, path, text = pool[number % len(pool)]
        change, subject = Edit(path, edits.append(text(number))), f"{path}: change {number}"
        if number == CULPRIT:
            role, subject = Role.CULPRIT, "md/raid1: let a write wait for its like"
            change = delay(round(WRITE * percent / 100 / LONGER))
        planned.append(Planned(number, role, subject, (number - 1,), (change,)))
    return tuple(planned)


def planted(base: Path, root: str, percent: int) -> tuple[Path, tuple[Planted, ...]]:
    """A repository beside ``base`` whose history begins at the commit ``root`` of it; it borrows its objects."""
    repo = base.with_name(f"linux-slow-{percent}")
    shutil.rmtree(repo, ignore_errors=True)
    repo.mkdir()
    git(repo, "init", "--quiet", "--initial-branch=main")
    (repo / ".git/objects/info/alternates").write_text(f"{base / '.git/objects'}\n")
    commits = plan(percent)
    paths = {edit.path for commit in commits for edit in commit.edits}
    kept = {path: Entry(path, "100644", git(repo, "show", f"{root}:{path}").encode()) for path in paths}
    history.import_commits(repo, root, commits, kept)
    return repo, history.planted(repo, commits)


def recipe(folder: Path, percent: int) -> Path:
    """The shipped recipe that asks for so much, in ``folder`` with its script. Raises TreeUnfit for another shape."""
    text = RECIPE.read_text()
    if text.count(FACTOR) != 1:
        raise TreeUnfit(f"{RECIPE} has another shape than this test knows")
    shutil.copy(RECIPE.with_name("raid1-writes.py"), folder)
    path = folder / "slow.yaml"
    path.write_text(text.replace(FACTOR, f"> {1 + percent / 100} × good"))
    return path


def look(scene: Scene, commits: tuple[Planted, ...], said: Said, percent: int) -> None:
    """The right commit, and what the numbers were."""
    outcome, checks = said.outcome, scene.checks
    summary = str(outcome.get("summary"))
    culprit = next(commit.oid for commit in commits if commit.role == Role.CULPRIT)
    checks.that("exit code 0", said.code == 0, f"it was {said.code}")
    checks.that("outcome is culprit", outcome.get("kind") == "culprit", summary)
    checks.that("names the planted commit", said.culprit == culprit, f"it named {said.culprit}")
    numbers = next(iter(outcome.get("numbers") or []), {})
    ratio = numbers.get("ratio") or 0.0
    checks.that("the ends' ratio is what was planted", abs(ratio - 1.0 - percent / 100) < 0.02, f"it is {ratio}")
    prepare.stderr(f"{summary}; {numbers}")


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = prepare.parser("tests.e2e.slow", (__doc__ or "").split("\n")[0])
    parser.add_argument("--percent", type=int, default=20, help="how much longer a write takes")
    parser.add_argument("--resume", action="store_true", help="go on with a campaign that was interrupted")
    given = parser.parse_args(argv)

    def story(scene: Scene) -> None:
        base, manifest = prepare.planted(scene.place, given)
        repo, commits = planted(base, manifest.good, given.percent)
        path = recipe(scene.logs, given.percent)
        words = ("run", os.fspath(path), "--repo", os.fspath(repo), "--good", "good", "--bad", "bad", "--json")
        with scene.phase(f"campaign, {given.percent} %"):
            said = scene.bisector("slow", LIMIT, *words, *(["--resume"] if given.resume else []))
        look(scene, commits, said, given.percent)
        scene.no_orphans()

    return play("e2e-slow", story)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
