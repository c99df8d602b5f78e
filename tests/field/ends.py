# SPDX-License-Identifier: GPL-2.0-only
"""Both ends of a report from the field, on Linux 6.18 built here: the tree as it is, and with the report's fault.

The tree is the bad end of the planted history (tests/e2e), which every image of the tests is built from: 6.18.5 and
edits that change nothing. A fault that 6.18.5 has itself is taken out of it instead.

    python -m tests.field.ends [NAME ...] [--together] [--trials N] [--controls] [--build-only]

Without names all of tests/field/edits.py are tried; with --together all that are named are in one image. The images
have one config, the union of what these recipes need, so that an end compiles the few files that its change touches.
Prints a line per report and ends with ``field-ends: N passed, N failed``; a report passes when ``bisector test`` calls
its fault bad and the tree good.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import BisectorError
from bisector.interfaces import Phase, Progress
from bisector.model import BuildConfig, BuildFailure, Candidate, TargetKind
from bisector.recipe.load import load
from bisector.recipe.matrix import cells, controls
from bisector.recipe.plan import build_config
from bisector.search.gitrepo import UserRepository
from bisector.session import Session, Setting
from bisector.system.xdg import folders
from bisector.target.kernel_source import KernelSource
from tests.e2e import fastimport, prepare
from tests.e2e.edits import TreeUnfit
from tests.e2e.layout import Unplaceable
from tests.field.edits import FAULTS, Fault

RECIPES = Path(__file__).parents[2] / "recipes" / "field"
TREE, TOGETHER = "the-tree", "together"  # branches: without any change, and with all
APART = ("suspend-under-io", "nvme-metadata-passthrough")  # fragments that change what many files include


@dataclass(frozen=True)
class End:
    """What ``bisector test`` said about one image: its exit code (0 good, 1 bad), and what it printed."""

    code: int
    printed: str


def branch(repo: Path, base: str, name: str, faults: Collection[Fault]) -> None:
    """Make the branch ``name`` in ``repo``: ``base`` with ``faults``, one after the other. Raises TreeUnfit."""
    files: dict[str, str] = {}
    for fault in faults:
        read = {path: files.get(path) or fastimport.git(repo, "show", f"{base}:{path}") for path in fault.paths}
        files |= fault.files(read)
    about = "\n".join(f"{fault.about} ({fault.commit})" for fault in faults)
    message = f"{name}\n\n{about}\n".encode()
    stream = f"commit refs/heads/{name}\ncommitter {fastimport.IDENTITY} {fastimport.EPOCH} +0000\n".encode()
    stream += b"data %d\n%s\nfrom %s\n" % (len(message), message, base.encode())
    for path, text in sorted(files.items()):
        content = text.encode()
        stream += b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)
    fastimport.git(repo, "fast-import", "--quiet", "--force", stdin=stream)


def repository(place: prepare.Place, given: argparse.Namespace) -> Path:
    """A bare repository with the tree and a branch per fault named. Raises InfraError, TreeUnfit, Unplaceable."""
    planted, manifest = prepare.planted(place, given)
    repo = place.root / "field.git"
    if not repo.exists():
        fastimport.git(place.root, "clone", "--quiet", "--bare", "--shared", str(planted), str(repo))
    fastimport.git(repo, "update-ref", f"refs/heads/{TREE}", manifest.bad)
    for name in given.names:
        branch(repo, manifest.bad, name, [FAULTS[name]])
    if given.together:
        branch(repo, manifest.bad, TOGETHER, [FAULTS[name] for name in given.names])
    return repo


def union(names: Collection[str] = ()) -> BuildConfig:
    """One config with what the recipes in FAULTS need, whichever are tried, so that images stay the same.

    The fragments of the recipes in APART are left out unless one of ``names`` has them.
    """
    fragments: dict[str, None] = {}
    for name in FAULTS:
        recipe = load(RECIPES / f"{name}.yaml")
        if name not in APART or name in names:
            fragments.update(dict.fromkeys(build_config(recipe, [*cells(recipe), *controls(recipe)]).fragments))
    return BuildConfig(tuple(fragments))


def build(place: prepare.Place, repo: Path, names: Collection[str], config: BuildConfig) -> dict[str, Path]:
    """Branch → kernel image. Raises BisectorError, and SystemExit when a branch does not build."""
    environ = place.environment(os.environ)
    ours = folders(environ)
    phases: set[tuple[str, Phase]] = set()
    images: dict[str, Path] = {}
    with Session(Setting(ours, environ, lambda progress: None, os.cpu_count() or 1)) as session:
        user = UserRepository(repo)
        clone = session.clone(user)
        build_dirs = ours.cache / "build-dirs" / clone.folder.name
        target = KernelSource(clone, build_dirs, ours.cache, config, session.processes, jobs=os.cpu_count() or 1)
        for name in names:

            def listen(progress: Progress, name: str = name) -> None:
                if (name, progress.phase) not in phases:  # the phases, not each object file
                    phases.add((name, progress.phase))
                    prepare.stderr(f"  {name}: {progress.phase} {progress.detail}")

            candidate = Candidate(TargetKind.KERNEL_SOURCE, user.resolve(name).oid, label=name)
            image = target.image(candidate, listener=listen, cancel=session.cancel)
            if isinstance(image, BuildFailure):
                raise SystemExit("\n".join((f"{name} does not build ({image.stage})", *image.errors, image.log)))
            images[name] = Path(image.kernel)
    return images


def tried(place: prepare.Place, name: str, image: Path, options: list[str]) -> End:
    """``bisector test`` of the recipe ``name`` on ``image``."""
    argv = [sys.executable, "-m", "bisector", "test", str(RECIPES / f"{name}.yaml"), "--image", str(image), *options]
    environ = place.environment(os.environ)
    done = subprocess.run(argv, stdout=subprocess.PIPE, env=environ, check=False, text=True)
    return End(done.returncode, done.stdout.strip())


def main(argv: list[str]) -> int:
    """Command line: 0 when both ends of each report were as they must be, 1 when not, 2 and 3 as tests.e2e."""
    parser = prepare.parser("tests.field.ends", (__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes; all of tests/field/edits.py without any")
    parser.add_argument("--trials", type=int, default=2, help="clean trials that make an end good")
    parser.add_argument("--controls", action="store_true", help="run the recipes' controls on the tree too")
    parser.add_argument("--together", action="store_true", help="one image with all faults, one build for all")
    parser.add_argument("--build-only", action="store_true", help="build the images and try nothing")
    given = parser.parse_args(argv)
    if unknown := sorted(set(given.names) - set(FAULTS)):
        parser.error(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    given.names = given.names or list(FAULTS)
    place = prepare.place()
    seconds: dict[str, float] = {}
    try:
        with prepare.phase("source and faults", seconds):
            repo = repository(place, given)
        return report(place, repo, given)
    except BisectorError as error:
        prepare.stderr(f"{error.what}\n{error.hint}")
        return 3
    except (TreeUnfit, Unplaceable) as error:
        prepare.stderr(str(error))
        return 2


def report(place: prepare.Place, repo: Path, given: argparse.Namespace) -> int:
    """Build both ends of each report, try them, and print what came of that. Raises BisectorError."""
    failed = 0
    for name in given.names:
        other = TOGETHER if given.together else name
        with prepare.phase(f"images of {name}", {}):
            images = build(place, repo, [TREE, other], union(given.names if given.together else [name]))
        if given.build_only:
            continue
        faulty, sound = (TREE, other) if FAULTS[name].cured else (other, TREE)
        options = ["--trials", str(given.trials)]
        bad = tried(place, name, images[faulty], options)
        good = tried(place, name, images[sound], [*options, *(["--controls"] if given.controls else [])])
        passed = bad.code == 1 and good.code == 0
        failed += not passed
        print(f"{'ok' if passed else 'FAILED'}  {name}: {FAULTS[name].commit}")
        for end, said in (("with the fault", bad), ("without it", good)):
            print(textwrap.indent(f"{end}: exit {said.code}\n{said.printed}", "    "), flush=True)
    print(f"field-ends: {len(given.names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
