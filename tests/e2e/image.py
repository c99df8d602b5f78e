# SPDX-License-Identifier: GPL-2.0-only
"""Builds the kernel that the tests marked ``vm`` boot: the planted history's bad end. Prints the image's path.

    python -m tests.e2e.image [--recipe NAME] [--fragments loop scsi] [history's options]

It goes through our own clone, build folder and compiler cache, which the end-to-end test uses afterwards: what
was compiled here is not compiled there again.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from bisector.errors import BisectorError
from bisector.interfaces import Progress
from bisector.model import BuildFailure, Candidate, Image, TargetKind
from bisector.recipe.load import load
from bisector.recipe.matrix import cells
from bisector.recipe.plan import build_config
from bisector.search.gitrepo import UserRepository
from bisector.session import Session, Setting
from bisector.system.xdg import folders
from bisector.target.kernel_source import KernelSource
from tests.e2e import prepare
from tests.e2e.edits import TreeUnfit
from tests.e2e.layout import Unplaceable


def build(place: prepare.Place, repo: Path, recipe: str, fragments: list[str]) -> Image | BuildFailure:
    """The image of ``repo``'s bad end, with the recipe's config and ``fragments`` over it. Raises BisectorError."""
    environ = place.environment(os.environ)
    ours = folders(environ)
    phases_seen: set[str] = set()

    def listen(progress: Progress) -> None:
        if progress.phase not in phases_seen:  # the phases, not each object file
            phases_seen.add(progress.phase)
            prepare.stderr(f"  {progress.phase} {progress.detail}")

    loaded = load(recipe)
    with Session(Setting(ours, environ, listen, os.cpu_count() or 1)) as session:
        user = UserRepository(repo)
        clone = session.clone(user)
        config = build_config(loaded, cells(loaded))
        config = replace(config, fragments=(*config.fragments, *fragments))
        build_dirs = ours.cache / "build-dirs" / clone.folder.name
        target = KernelSource(clone, build_dirs, ours.cache, config, session.processes, jobs=os.cpu_count() or 1)
        candidate = Candidate(TargetKind.KERNEL_SOURCE, user.resolve("bad").oid, label="bad")
        return target.image(candidate, listener=listen, cancel=session.cancel)


def main(argv: list[str]) -> int:
    """Command line: 0 and the path on stdout, 1 when the tree does not build, 3 when the harness fails."""
    parser = prepare.parser("tests.e2e.image", (__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", default="virtio-open-lvm-raid1", help="whose config is built")
    parser.add_argument("--fragments", nargs="*", default=[], help="more fragments than the recipe's")
    given = parser.parse_args(argv)
    place = prepare.place()
    seconds: dict[str, float] = {}
    try:
        with prepare.phase("source and history", seconds):
            repo, _ = prepare.planted(place, given)
        with prepare.phase("image", seconds):
            image = build(place, repo, given.recipe, given.fragments)
    except BisectorError as error:
        prepare.stderr(f"{error.what}\n{error.hint}")
        return 3
    except (TreeUnfit, Unplaceable) as error:
        prepare.stderr(str(error))
        return 2
    if isinstance(image, BuildFailure):
        prepare.stderr("\n".join((f"the build failed ({image.stage})", *image.errors, image.log)))
        return 1
    print(image.kernel)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
