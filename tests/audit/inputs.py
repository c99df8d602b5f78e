# SPDX-License-Identifier: GPL-2.0-only
"""Whether builds that need not be made need not be made: each is made all the same, and the images are compared.

    python -m tests.audit.inputs [--old 6.18.5] [--new 6.18.15] [--count 300] [--seed S] [--clean-every N] [--lock FILE]

Two releases of the distribution's archive are cut into pieces, by files and by hunks. A candidate is the older one with
some of the pieces that the record of its build calls unread. Each is built whole; every N-th from an empty folder and
without ccache's direct mode, so that nothing but its own tree decides. Ends with a line of figures; exit code 1 where
an image differs. What is done already is read from the log, so that the rest can be done later.
"""

from __future__ import annotations

import argparse
import difflib
import fcntl
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from bisector.interfaces import CancelToken, Change, ignore
from bisector.model import BuildConfig, BuildFailure, Candidate, Image, TargetKind
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import UserRepository
from bisector.system.apt import Archive, host_mirror
from bisector.system.proc import Processes
from bisector.target.inputs import Inputs
from bisector.target.kernel_source import KernelSource
from tests.e2e.fastimport import Importer, entries, git

SUITES = ("trixie-backports", "trixie", "bookworm-backports")
FRAGMENTS = ("base", "lvm-raid")
SIZES = (1, 1, 2, 2, 4, 8, 32, 128)
"""Pieces of a candidate: those of one commit, or of what lies between two steps of a search."""

LONGEST = 4000  # lines of a file that is cut into hunks


@dataclass(frozen=True)
class Place:
    """The folder of the audit: sources, repository, builds, log. It may be removed at any time."""

    root: Path
    old: str
    new: str
    jobs: int

    @property
    def processes(self) -> Processes:
        return Processes(self.root / "processes")

    @property
    def log(self) -> Path:
        return self.root / f"audit-{self.old}-{self.new}.jsonl"

    @cached_property
    def repo(self) -> Path:
        """A repository with both trees, tagged by their versions; made when it is first needed."""
        repo = self.root / f"linux-{self.old}-{self.new}"
        if not repo.exists():
            draft = repo.with_suffix(".new")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            git(draft, "init", "--quiet", "--initial-branch=main")
            for number, version in enumerate((self.old, self.new)):
                importer = Importer(draft)
                importer.commit(f"refs/tags/v{version}", number, f"Linux {version}", ())
                for entry in entries(self._tarball(version)):
                    importer.file(entry)
                importer.finish()
            draft.rename(repo)
        return repo

    def _tarball(self, version: str) -> Path:
        mirror = host_mirror(self.processes)
        for suite in SUITES:
            archive = Archive(self.processes, self.root / "apt" / suite, (suite,), mirror)
            archive.update()
            for each in archive.source_versions("linux"):
                if each.version.startswith(f"{version}-"):
                    return archive.download_source_tarball(each, self.root / "sources")
        raise SystemExit(f"the archive has no linux {version}")

    @cached_property
    def clone(self) -> PrivateClone:
        return PrivateClone.of(UserRepository(self.repo), self.root / "state", self.processes)

    def target(self, name: str, **environ: str) -> KernelSource:
        """What builds, in folders of its own; all share the images and ccache."""
        config = BuildConfig(FRAGMENTS, "", ())
        found = KernelSource(
            self.clone, self.root / "build-dirs" / name, self.root / "cache", config, self.processes, jobs=self.jobs
        )
        found._environment.update(environ)
        return found


@dataclass(frozen=True)
class Audit:
    """Candidates over one base."""

    place: Place
    base: Candidate
    image: Image
    inputs: Inputs
    pieces: tuple[Change, ...]
    seed: str

    @classmethod
    def of(cls, place: Place, seed: str, turn: Turn) -> Audit:
        """Builds the base where it is not built yet."""
        base = Candidate(TargetKind.KERNEL_SOURCE, git(place.repo, "rev-parse", f"v{place.old}^{{commit}}").strip())
        target = place.target("warm")
        image = target.images.find(target.key(base))
        if image is None:
            with turn.held():
                image = made(target, base)
            turn.give_back()
        assert isinstance(image, Image), image
        tree = place.clone.tree_of(base)
        records = (Inputs.from_json(path.read_text()) for path in Path(image.kernel).parent.glob("inputs-*.json"))
        inputs = next(record for record in records if record.tree == tree)
        new = git(place.repo, "rev-parse", f"v{place.new}^{{tree}}").strip()
        changes = place.clone.changes(tree, new)
        assert changes and inputs.tree == tree
        unread = tuple(change for change in changes if inputs.why_read(change) is None)
        say(f"{len(changes)} paths differ, {len(changes) - len(unread)} of them may be read; {len(inputs.read)} read")
        return cls(place, base, image, inputs, unread, seed)

    def candidate(self, number: int) -> tuple[Candidate, list[str]]:
        """The candidate of that number, and its pieces in words."""
        chance = random.Random(f"{self.seed}-{number}")
        chosen = chance.sample(self.pieces, min(chance.choice(SIZES), len(self.pieces)))
        lines, words = [], []
        for change in chosen:
            blob, how = self._piece(change, chance)
            lines.append(f"{change.new_mode if blob else '0'} {blob or '0' * 40}\t{change.path}")
            words.append(f"{change.path} ({how})")
        return Candidate(TargetKind.KERNEL_SOURCE, self._commit(lines)), words

    def _piece(self, change: Change, chance: random.Random) -> tuple[str, str]:
        """The blob of a path (none where it goes), and what it is: the newer file, or some of its hunks."""
        old, new = (f"v{version}:{change.path}" for version in (self.place.old, self.place.new))
        if change.new_mode == "000000":
            return "", "gone"
        blob = git(self.place.repo, "rev-parse", new).strip()
        if change.added_or_gone:
            return blob, "added"
        before, after = (self._lines(each) for each in (old, new))
        if max(len(before), len(after)) > LONGEST or chance.random() < 0.5:
            return blob, "whole"
        hunks = [
            code for code in difflib.SequenceMatcher(None, before, after, False).get_opcodes() if code[0] != "equal"
        ]
        kept = chance.sample(hunks, max(1, len(hunks) // 2)) if hunks else []
        for _, low, high, first, last in sorted(kept, key=lambda code: code[1], reverse=True):
            before[low:high] = after[first:last]
        mixed = git(self.place.repo, "hash-object", "-w", "--stdin", stdin=b"".join(before)).strip()
        return mixed, f"{len(kept)} of {len(hunks)} hunks"

    def _lines(self, name: str) -> list[bytes]:
        return git_bytes(self.place.repo, "cat-file", "blob", name).splitlines(keepends=True)

    def _commit(self, lines: list[str]) -> str:
        repo, index = self.place.repo, self.place.root / f"index-{os.getpid()}"
        git_with_index(repo, index, "read-tree", f"v{self.place.old}^{{tree}}")
        git_with_index(repo, index, "update-index", "--index-info", stdin="\n".join(lines).encode() + b"\n")
        tree = git_with_index(repo, index, "write-tree").strip()
        index.unlink()
        return git(repo, *WHO, "commit-tree", "-p", f"v{self.place.old}^{{commit}}", "-m", "a candidate", tree).strip()

    def is_built(self, candidate: Candidate) -> bool:
        """Whether its tree was built before: one piece is drawn twice now and then."""
        target = self.place.target("warm")
        return target.images.find(target.key(candidate)) is not None

    def check(
        self, number: int, candidate: Candidate, words: list[str], *, clean: bool, turn: Turn
    ) -> dict[str, object]:
        """Build one candidate whole, and compare."""
        tree = self.place.clone.tree_of(candidate)
        changes = self.place.clone.changes(self.inputs.tree, tree)
        assert changes and self.inputs.first_read(changes) is None
        assert self.place.target("warm").same_inputs(candidate) is not None
        with turn.held():
            began = time.monotonic()
            target = self.place.target("clean", CCACHE_NODIRECT="1") if clean else self.place.target("warm")
            built = made(target, candidate)
            seconds = round(time.monotonic() - began, 1)
        if clean:
            shutil.rmtree(self.place.root / "build-dirs" / "clean")
        same = isinstance(built, Image) and built.identity == self.image.identity
        return {"number": number, "same": same, "clean": clean, "seconds": seconds, "pieces": words,
                "image": built.identity if isinstance(built, Image) else list(built.errors)}  # fmt: skip


PLAIN, NONE = "100644", "000000"
PLANTED = {
    "a new header shadows an old one": (Change("arch/x86/include/linux/kernel.h", NONE, PLAIN),),
    "a new header shadows a generated one": (Change("include/generated/asm/rwonce.h", NONE, PLAIN),),
    "a wildcard picks up a new file": (Change("net/wireless/certs/new.hex", NONE, PLAIN),),
    "a wildcard picks up a new C file": (Change("lib/test_fortify/write_overflow-new.c", NONE, PLAIN),),
    "a Kconfig default changes": (Change("lib/Kconfig.debug", PLAIN, PLAIN),),
    "a generated header changes": (Change("arch/x86/entry/syscalls/syscall_64.tbl", PLAIN, PLAIN),),
    "a generated header changes by its C file": (Change("kernel/bounds.c", PLAIN, PLAIN),),
    "a generated header changes by its bc file": (Change("kernel/time/timeconst.bc", PLAIN, PLAIN),),
    "a script changes": (Change("scripts/mksysmap", PLAIN, PLAIN),),
    "a tool of the build changes": (Change("tools/objtool/check.c", PLAIN, PLAIN),),
    "a file is renamed with its include": (
        Change("block/blk.h", PLAIN, NONE), Change("block/blk-inside.h", NONE, PLAIN),
        Change("samples/a.c", PLAIN, PLAIN),
    ),
    "a linker script changes": (Change("arch/x86/kernel/vmlinux.lds.S", PLAIN, PLAIN),),
    "a header becomes a link": (Change("include/linux/phy.h", PLAIN, "120000"),),
}  # fmt: skip
"""Changes that are built, whatever the record: each has misled a list of what was read in some way."""

WHO = ("-c", "user.name=audit", "-c", "user.email=audit@localhost")


def git_bytes(repo: Path, *arguments: str) -> bytes:
    """What git prints, as it is."""
    return subprocess.run(["git", "-C", os.fspath(repo), *arguments], stdout=subprocess.PIPE, check=True).stdout


def git_with_index(repo: Path, index: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """git with an index of ours."""
    env = {**os.environ, "GIT_INDEX_FILE": os.fspath(index)}
    argv = ["git", "-C", os.fspath(repo), *arguments]
    return subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, check=True, env=env).stdout.decode()


def made(target: KernelSource, candidate: Candidate) -> Image | BuildFailure:
    """A whole build."""
    return target.image(candidate, listener=ignore, cancel=CancelToken())


@dataclass
class Turn:
    """While a build runs, nobody else who takes the lock runs one. It is kept for ``seconds`` and the build at hand."""

    lock: Path | None
    seconds: float
    _file: IO[str] | None = None
    _since: float = 0.0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Around a build."""
        if self.lock and self._file is None:
            self._file = self.lock.open("a")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._since = time.monotonic()
        try:
            yield
        finally:
            if time.monotonic() - self._since >= self.seconds:
                self.give_back()

    def give_back(self) -> None:
        """Let others go on."""
        if self._file:
            self._file.close()
        self._file = None


def say(line: str) -> None:
    """A line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main(argv: list[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit.inputs")
    parser.add_argument("--old", default="6.18.5")
    parser.add_argument("--new", default="6.18.15")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--clean-every", type=int, default=10, metavar="N")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "bisector-audit")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="held while a build runs")
    parser.add_argument("--hold", type=float, default=0.0, metavar="SECONDS", help="keep it so long, for more builds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(argv)
    place = Place(given.folder, given.old, given.new, given.jobs)
    turn = Turn(given.lock, given.hold)
    audit = Audit.of(place, given.seed, turn)
    missed = [what for what, changes in PLANTED.items() if audit.inputs.first_read(changes) is None]
    say(f"{len(PLANTED)} planted changes, {len(missed)} of them taken for unread: {missed}")
    done = [json.loads(line) for line in place.log.read_text().splitlines()] if place.log.exists() else []
    known = {row["number"] for row in done}
    for number in (number for number in itertools.count() if number not in known):
        if len(done) >= given.count:
            break
        candidate, words = audit.candidate(number)
        if audit.is_built(candidate):
            say(f"{number}: as an earlier one, {', '.join(words)}")
            continue
        clean = number % given.clean_every == given.clean_every - 1
        row = audit.check(number, candidate, words, clean=clean, turn=turn)
        done.append(row)
        with place.log.open("a") as log:
            log.write(json.dumps(row) + "\n")
        say(f"{number}: {'same' if row['same'] else 'DIFFERS'}{', clean' * bool(row['clean'])}, {row['seconds']} s, "
            f"{len(row['pieces'])} pieces")  # type: ignore[arg-type]  # fmt: skip
    differ = [row for row in done if not row["same"]]
    whole = sum(bool(row["clean"]) for row in done)
    say(f"{len(done)} pruned candidates built whole, {whole} of them from nothing: {len(differ)} images differ")
    return 1 if differ or missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
