# SPDX-License-Identifier: GPL-2.0-only
"""Builds a git history with a known culprit over a real kernel tree.

    python -m tests.e2e.history --tree TARBALL_OR_FOLDER --out REPO [--culprit N] [--seed S] [--merge] [--commits N]

The tree goes straight from the tarball into ``git fast-import`` (no file of it is written but git's pack and the
checkout at the end), and every date and name is fixed: equal arguments give equal commit ids on each machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import edits, layout
from tests.e2e.edits import TreeUnfit
from tests.e2e.fastimport import EPOCH, GIT_ENVIRONMENT, Entry, Importer, entries, git
from tests.e2e.layout import UNTESTABLE, Planned, Role, Unplaceable

VARIANTS = 100  # arrangements tried until a bisection meets each untestable commit


@dataclass(frozen=True)
class Planted:
    """One commit as made."""

    oid: str
    number: int
    role: str
    subject: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What was planted. ``tested``: the untestable roles that a bisection with a perfect judge meets."""

    version: str
    culprit: str
    culprit_parents: tuple[str, ...]
    good: str
    bad: str
    commits: tuple[Planted, ...]
    tested: tuple[str, ...]
    steps: int
    arguments: dict[str, object]


# ---- from tree to commits --------------------------------------------------------------------------------------------


def import_root(repo: Path, tree: Path, root: Planned) -> dict[str, Entry]:
    """Commit the whole tree with the root's edits as refs/heads/main.

    Returns:
        The files that later commits may edit, as they are in the root.

    Raises:
        TreeUnfit: the version is not one of 6.18.0-6.18.32, or a file is missing or does not look as expected.
    """
    wanted = _editable() | {edits.MAKEFILE}
    changes = {edit.path: edit.change for edit in root.edits}
    kept: dict[str, Entry] = {}
    importer = Importer(repo)
    try:
        importer.commit("refs/heads/main", root.number, root.subject, ())
        for entry in entries(tree):
            if entry.path in changes:
                changed = changes[entry.path](entry.content.decode())
                entry = dataclasses.replace(entry, content=changed.encode())
            if entry.path in wanted:
                kept[entry.path] = entry
            if entry.path == edits.MAKEFILE:
                edits.refuse_unfit_version(edits.tree_version(entry.content.decode()))
            importer.file(entry)
        missing = sorted(wanted - set(kept))
        if missing:
            raise TreeUnfit(f"the tree lacks {', '.join(missing)}")
        importer.finish()
    except BaseException:
        importer.abandon()
        raise
    return kept


def _editable() -> set[str]:
    paths = {edits.FOPS, edits.HEADER, edits.PANIC_FILE, edits.UNBUILDABLE_FILE}
    for group in (edits.DOCUMENTS, edits.UNBUILT, edits.COMMENTED, edits.QUIET, edits.SPOKEN):
        paths |= set(group)
    return paths


def import_commits(repo: Path, root: str, planned: tuple[Planned, ...], kept: dict[str, Entry]) -> None:
    """Commit all but the root over ``root`` (a commit id); moves main and the tags good and bad.

    A merge takes its first parent's content and lays the side branch's edits over it, in their order.
    """
    states: list[dict[str, Entry]] = [kept]
    importer = Importer(repo)
    try:
        for commit in planned[1:]:
            state = dict(states[commit.parents[0]])
            changes = commit.edits
            if commit.role is Role.MERGE:
                changes = tuple(edit for other in planned if other.side for edit in other.edits)
            for edit in changes:
                entry = state[edit.path]
                state[edit.path] = dataclasses.replace(entry, content=edit.change(entry.content.decode()).encode())
            states.append(state)
            parents = tuple(root if parent == 0 else f":{parent + 1}" for parent in commit.parents)
            importer.commit("refs/heads/planted", commit.number, commit.subject, parents)
            for path in {edit.path: None for edit in changes}:
                importer.file(state[path])
        importer.reset("refs/heads/main", f":{planned[-1].number + 1}")
        importer.reset("refs/tags/good", root)
        importer.reset("refs/tags/bad", f":{planned[-1].number + 1}")
        importer.finish()
    except BaseException:
        importer.abandon()
        raise
    git(repo, "update-ref", "-d", "refs/heads/planted")


def planted(repo: Path, planned: tuple[Planned, ...]) -> tuple[Planted, ...]:
    """The commits of ``repo`` matched to the plan by their dates."""
    made: dict[int, tuple[str, tuple[str, ...]]] = {}
    for line in git(repo, "log", "--format=%ct %H %P", "bad").splitlines():
        date, oid, *parents = line.split()
        made[(int(date) - EPOCH) // 3600] = oid, tuple(parents)
    return tuple(Planted(made[p.number][0], p.number, p.role.value, p.subject, made[p.number][1]) for p in planned)


# ---- what a bisection would test -------------------------------------------------------------------------------------


def simulate(repo: Path, commits: tuple[Planted, ...]) -> tuple[tuple[str, ...], str]:
    """Bisect ``repo`` (bare) with a judge that knows the answers.

    Returns:
        The roles of the commits tested, in order, and the commit that git names ("" when it cannot).
    """
    culprit = next(commit.oid for commit in commits if commit.role == Role.CULPRIT)
    bad = set(git(repo, "rev-list", "--ancestry-path", f"{culprit}..bad").split()) | {culprit}
    untestable = {commit.oid for commit in commits if commit.role in set(UNTESTABLE)}
    answers = {c.oid: 125 if c.oid in untestable else int(c.oid in bad) for c in commits}
    script = repo / "answers"
    script.write_text("\n".join(f"{oid} {code}" for oid, code in answers.items()) + "\n")
    git(repo, "bisect", "start", "--no-checkout", "bad", "good")
    answer = 'exit "$(sed -n "s/^$(git rev-parse BISECT_HEAD) //p" answers)"'
    done = subprocess.run(
        ["git", "-C", os.fspath(repo), "bisect", "run", "sh", "-c", answer],
        capture_output=True,
        text=True,
        env=GIT_ENVIRONMENT,
        check=False,
    )
    log = git(repo, "bisect", "log")
    git(repo, "bisect", "reset", "bad")
    tested = [line.split()[-1] for line in log.splitlines() if line.startswith("git bisect ") and "start" not in line]
    roles = {commit.oid: commit.role for commit in commits}
    named = [line.split()[0] for line in done.stdout.splitlines() if line.endswith("is the first bad commit")]
    return tuple(roles[oid] for oid in tested), named[0] if named else ""


def arrange(
    objects: Path,
    root: str,
    kept: dict[str, Entry],
    *,
    commits: int,
    culprit: int,
    seed: int,
    merge: bool,
    variants: int = VARIANTS,
) -> tuple[tuple[Planned, ...], tuple[str, ...]]:
    """The first arrangement in which a bisection meets each untestable commit, else the one that meets the most.

    Tried in scratch repositories that borrow ``objects`` (an object folder), so that nothing of the others is kept.
    Raises Unplaceable.
    """
    best: tuple[tuple[Planned, ...], tuple[str, ...]] | None = None
    for variant in range(variants):
        planned = layout.plan(commits, culprit, seed, merge, variant)
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            scratch = Path(folder)
            git(scratch, "init", "--quiet", "--bare", "--initial-branch=main")
            (scratch / "objects/info/alternates").write_text(f"{objects}\n")
            import_commits(scratch, root, planned, kept)
            tested, named = simulate(scratch, planted(scratch, planned))
            exact = named == git(scratch, "rev-list", "--grep", planned[culprit].subject, "-F", "bad").strip()
        met = set(tested) & set(UNTESTABLE)
        if exact and (best is None or len(met) > len(set(best[1]) & set(UNTESTABLE))):
            best = planned, tested
            if len(met) == len(UNTESTABLE):
                break
    if best is None:
        raise Unplaceable(f"no arrangement around commit {culprit} lets git name it: give another --seed or --culprit")
    return best


# ---- the whole -------------------------------------------------------------------------------------------------------


def build(
    tree: Path,
    out: Path,
    *,
    culprit: int,
    seed: int,
    merge: bool,
    commits: int,
    checkout: bool = True,
    variants: int = VARIANTS,
) -> Manifest:
    """Build the repository ``out`` (must not exist) and return what was planted; see the module's first lines.

    Args:
        variants: arrangements tried at most; the first is taken when a bisection meets every untestable commit in it.

    Raises:
        TreeUnfit, Unplaceable: the arguments do not fit; nothing is left behind.
        FileExistsError: ``out`` exists.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; give a new path or remove it")
    layout.plan(commits, culprit, seed, merge)  # refuse before the tree is read
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        git(partial, "init", "--quiet", "--initial-branch=main")
        kept = import_root(partial, tree, layout.plan(commits, culprit, seed, merge)[0])
        root = git(partial, "rev-parse", "main").strip()
        objects = partial.resolve() / ".git/objects"
        planned, tested = arrange(
            objects, root, kept, commits=commits, culprit=culprit, seed=seed, merge=merge, variants=variants
        )
        import_commits(partial, root, planned, kept)
        if checkout:
            git(partial, "-c", "checkout.workers=2", "checkout", "--quiet", "--force", "main")
        made = planted(partial, planned)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Manifest(
        version=".".join(map(str, edits.tree_version(kept[edits.MAKEFILE].content.decode()))),
        culprit=made[culprit].oid,
        culprit_parents=made[culprit].parents,
        good=made[0].oid,
        bad=made[-1].oid,
        commits=made,
        tested=tested,
        steps=len(tested),
        arguments={"culprit": culprit, "seed": seed, "merge": merge, "commits": commits},
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that shape a history."""
    parser.add_argument("--culprit", type=int, default=20, help="number of the culprit, counted from the root (0)")
    parser.add_argument("--seed", type=int, default=1, help="draws the places and kinds of the other commits")
    parser.add_argument("--merge", action="store_true", help="put the culprit inside the merged side branch")
    parser.add_argument("--commits", type=int, default=34, help="commits in all, root and merge included")


def main(argv: list[str]) -> int:
    """Command line; prints the manifest as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.history", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tree", type=Path, required=True, help="tarball or folder of Linux 6.18.0 to 6.18.32")
    parser.add_argument("--out", type=Path, required=True, help="the repository to make")
    parser.add_argument("--no-checkout", action="store_true", help="leave the work tree empty")
    arguments(parser)
    given = parser.parse_args(argv)
    started = time.monotonic()
    try:
        manifest = build(
            given.tree,
            given.out,
            culprit=given.culprit,
            seed=given.seed,
            merge=given.merge,
            commits=given.commits,
            checkout=not given.no_checkout,
        )
    except (TreeUnfit, Unplaceable, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(dataclasses.asdict(manifest), indent=2))
    print(f"history of {len(manifest.commits)} commits in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
