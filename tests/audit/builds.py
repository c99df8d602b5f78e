# SPDX-License-Identifier: GPL-2.0-only
"""How many builds a search makes on histories of which few commits touch what a build reads.

    python -m tests.audit.builds [--commits 64] [--histories 20] [--read 0.076] [--folder F]

Stands on what the audit of inputs left in its folder: the repository with two releases, and the record of the older
one's build. A history is made of the paths in which the two differ, a few for each commit, of which the part ``--read``
is in the record. git, the clone, the record and the campaign are the real ones; what is built is a hash of all that the
record calls read, and one commit that matters brings the bug. Compared with the same campaigns under --build-all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from bisector.agent.plan import LayerFacts, Plan, Result, StepFacts
from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.codec import digest
from bisector.interfaces import CancelToken, Change, Listener, Runner, Target, ignore
from bisector.model import Candidate, Ending, Image, Observation, Outcome, OutcomeKind, Timing
from bisector.recipe.load import find, loads
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.search.clone import PrivateClone
from bisector.session import Session, Setting
from bisector.system.xdg import Folders
from bisector.target.inputs import Inputs
from tests.audit.inputs import Place, git_with_index
from tests.e2e.fastimport import git

SHIPPED = find("virtio-open-lvm-raid1").read_text().replace("confidence: {max_error: 0.01}\n", "trials: 2\n")
FILES = (1, 1, 1, 2, 2, 3)
"""Paths of a commit."""


@dataclass
class Hashes:
    """What stands for builds: an image is known by all that its build would read."""

    clone: PrivateClone
    folder: Path
    record: Inputs
    bug: str
    built: list[str] = field(default_factory=list)
    records: list[tuple[Inputs, Image]] = field(default_factory=list)

    def key(self, candidate: Candidate) -> str:
        """Names the build."""
        return self.clone.tree_of(candidate)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image:
        """The image, by what the tree has of the paths that are read."""
        self.built.append(str(replace(candidate, label="")))
        tree = self.clone.tree_of(candidate)
        changes = self.clone.changes(self.record.tree, tree) or ()
        read = [change for change in changes if self.record.why_read(change)]
        blobs = self.clone.history().query("ls_tree", "-r", tree, "--", *sorted(c.path for c in read)) if read else ""
        bad = bool(self.bug) and any(
            f"{self.bug}\t" in line or line.split()[2] == self.bug for line in blobs.splitlines()
        )
        kernel = self.folder / f"{digest(blobs)[:16]}.kernel"
        kernel.write_text("bad" if bad else "good")
        image = Image(identity=digest(blobs), kernel=str(kernel))
        self.records.append((replace(self.record, tree=tree, candidate=candidate.revision[:12]), image))
        return image

    def same_inputs(self, candidate: Candidate) -> Image | None:
        """As FromSource has it."""
        tree = self.clone.tree_of(candidate)
        if any(inputs.tree == tree for inputs, _ in self.records):
            return None
        for inputs, image in reversed(self.records):
            if inputs.first_read(self.clone.changes(inputs.tree, tree) or ()) is None:
                return replace(image, same_inputs=inputs.candidate)
        return None


class Boots:
    """What stands for trials."""

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        """What the image is."""
        health = "degraded" if Path(image.kernel).read_text() == "bad" else "healthy"
        layers = (LayerFacts("boot", "/dev/x", 511, 512, health),)
        result = Result(complete=True, layers=layers, steps=(StepFacts("probe", 0, 1, done=True, exit=0),))
        return Observation(Ending.FINISHED, result, timing=Timing(6, 2, 4, 12), accel="tcg")


class Simulated(Session):
    """A session with such builds and trials."""

    record: Inputs
    bug = ""

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        """What builds."""
        self.hashes = Hashes(clone, self.setting.folders.state, self.record, self.bug)
        return self.hashes

    def runner(self, recipe: Recipe) -> Runner:
        """What boots."""
        return Boots()


@dataclass(frozen=True)
class Made:
    """A history. ``matter``: numbers of the commits that touch what is read; ``culprit``: one of them."""

    oids: tuple[str, ...]
    matter: tuple[int, ...]
    culprit: int
    bug: str
    files: int
    read: int


def history(
    place: Place, record: Inputs, changes: list[Change], count: int, part: float, chance: random.Random
) -> Made:
    """Commits over the older release."""
    read = [change for change in changes if record.why_read(change) and change.new_mode != "000000"]
    unread = [change for change in changes if record.why_read(change) is None and change.new_mode != "000000"]
    sizes = [chance.choice(FILES) for _ in range(count)]
    total = sum(sizes)
    drawn = chance.sample(read, max(2, round(part * total)))
    drawn += chance.sample(unread, total - len(drawn))
    chance.shuffle(drawn)
    repo, index = place.repo, place.root / f"index-{os.getpid()}"
    git_with_index(repo, index, "read-tree", f"v{place.old}^{{tree}}")
    oid = git(repo, "rev-parse", f"v{place.old}^{{commit}}").strip()
    oids, matter, culprits = [oid], [], {}
    for number, size in enumerate(sizes, 1):
        own, drawn = drawn[:size], drawn[size:]
        blobs = [git(repo, "rev-parse", f"v{place.new}:{change.path}").strip() for change in own]
        lines = [f"{change.new_mode} {blob}\t{change.path}" for change, blob in zip(own, blobs, strict=True)]
        git_with_index(repo, index, "update-index", "--add", "--index-info", stdin="\n".join(lines).encode() + b"\n")
        tree = git_with_index(repo, index, "write-tree").strip()
        who = ("-c", "user.name=audit", "-c", "user.email=audit@localhost")
        oid = git(repo, *who, "commit-tree", "-p", oid, "-m", f"commit {number}", tree).strip()
        oids.append(oid)
        if touched := [blob for change, blob in zip(own, blobs, strict=True) if record.why_read(change)]:
            matter.append(number)
            culprits[number] = touched[0]
    index.unlink()
    culprit = chance.choice(matter)
    return Made(tuple(oids), tuple(matter), culprit, culprits[culprit], total, len(matter))


def campaign(place: Place, record: Inputs, made: Made, *, build_all: bool) -> tuple[Outcome, list[str]]:
    """One campaign in folders of its own, and what it built."""
    recipe = loads(SHIPPED, "fixed.yaml")
    request = CommitRequest(recipe, resolved_yaml(recipe), place.repo, made.oids[0], made.oids[-1], cells(recipe)[:1])
    with tempfile.TemporaryDirectory(prefix="audit-builds-") as folder:
        folders = Folders(Path(folder) / "cache", Path(folder) / "state")
        with Simulated(Setting(folders, dict(os.environ), ignore, 1, build_all=build_all)) as session:
            session.record, session.bug = record, made.bug
            _, outcome = CommitCampaign(request, session).run()
            return outcome, session.hashes.built


def main(argv: list[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit.builds")
    parser.add_argument("--old", default="6.18.5")
    parser.add_argument("--new", default="6.18.15")
    parser.add_argument("--commits", type=int, default=64)
    parser.add_argument("--histories", type=int, default=20)
    parser.add_argument("--read", type=float, default=0.076, help="part of the changed paths that is in the record")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "bisector-audit")
    given = parser.parse_args(argv)
    place = Place(given.folder, given.old, given.new, 1)
    tree = git(place.repo, "rev-parse", f"v{place.old}^{{tree}}").strip()
    paths = (given.folder / "cache/images").glob(f"*/inputs-*-{tree[:16]}.json")
    record = Inputs.from_json(next(paths).read_text())
    changes = list(place.clone.changes(tree, git(place.repo, "rev-parse", f"v{place.new}^{{tree}}").strip()) or ())
    over, sums = 0, [0, 0]
    for seed in range(given.histories):
        made = history(place, record, changes, given.commits, given.read, random.Random(seed))
        (outcome, built), (_, every) = (campaign(place, record, made, build_all=all_) for all_ in (False, True))
        assert outcome.kind is OutcomeKind.CULPRIT and outcome.culprit, outcome.summary
        assert outcome.culprit.oid == made.oids[made.culprit], outcome.summary
        proof = len({str(replace(judged.candidate, label="")) for judged in outcome.proof})
        allowed = math.ceil(math.log2(len(made.matter) + 1)) + 2 + proof  # of the search, ends, proof
        over += len(built) > allowed
        sums = [sums[0] + len(built), sums[1] + len(every)]
        row = {
            "seed": seed, "files": made.files, "matter": len(made.matter), "built": len(built), "allowed": allowed,
            "build_all": len(every), "not_made": outcome.same_inputs,
        }  # fmt: skip
        print(json.dumps(row), flush=True)
    print(f"{given.histories} histories of {given.commits} commits: {sums[0] / given.histories:.1f} builds a campaign, "
          f"{sums[1] / given.histories:.1f} with --build-all; over the bound: {over}")  # fmt: skip
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
