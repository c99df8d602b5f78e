# SPDX-License-Identifier: GPL-2.0-only
"""What the end-to-end test stands on: a folder of its own, the source, and the planted history, each made once."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import InfraError
from bisector.system.apt import Archive, host_mirror
from bisector.system.proc import Processes
from tests.e2e import edits, fastimport, history
from tests.e2e.history import Manifest, Planted

# Where kernels of 6.18 were seen. The lists of the second group are larger, so they are fetched only when needed.
SUITES = (("trixie-backports",), ("trixie", "bookworm-backports", "sid"))

Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """The folder of the end-to-end test. It may be removed at any time; all of it can be made again."""

    root: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Place:
        """BISECTOR_E2E, else bisector-e2e in the user's cache."""
        cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/root")) / ".cache")
        return cls(Path(environ.get("BISECTOR_E2E") or cache / "bisector-e2e"))

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment for bisector: its cache and state lie here, away from the user's own campaigns."""
        return {**environ, "XDG_CACHE_HOME": str(self.root / "cache"), "XDG_STATE_HOME": str(self.root / "state")}

    @property
    def processes(self) -> Processes:
        return Processes(self.root / "processes")


def stderr(line: str) -> None:
    """Say one line, with the time of day: the log of a machine has no other clock."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


@contextmanager
def phase(name: str, seconds: dict[str, float], say: Say = stderr) -> Iterator[None]:
    """Tell when a phase begins and how long it took; ``seconds`` keeps it."""
    say(f"{name} ...")
    started = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = time.monotonic() - started
        say(f"{name}: {seconds[name]:.0f} s")


def source(place: Place, say: Say = stderr) -> Path:
    """An upstream tarball that the history can stand on, from the distribution's archive.

    Raises InfraError naming the range when the archive has none.
    """
    mirror = host_mirror(place.processes)
    failures = []
    for suites in SUITES:
        archive = Archive(place.processes, place.root / "apt" / suites[0], suites, mirror)
        try:
            archive.update()
            version, tarball = archive.download_source_between("linux", edits.FIRST, edits.LAST, place.root / "sources")
        except InfraError as error:
            failures.append(error)
            continue
        say(f"took the tarball of linux {version.version}")
        return tarball
    raise InfraError(failures[0].what, hint="\n".join(f"{error.what}\n{error.hint}" for error in failures[1:]))


def planted(place: Place, given: argparse.Namespace, say: Say = stderr) -> tuple[Path, Manifest]:
    """The repository with the history of ``given``, built unless it is there.

    Raises InfraError, TreeUnfit, Unplaceable.
    """
    name = f"linux-{given.commits}-{given.culprit}-{given.seed}{'-merge' if given.merge else ''}"
    repo, notes = place.root / name, place.root / f"{name}.json"
    if notes.exists() and repo.exists() and given.tree is None:
        manifest = read_manifest(notes)
        if fastimport.git(repo, "rev-parse", "good", "bad").split() == [manifest.good, manifest.bad]:
            say(f"{repo} is there: Linux {manifest.version}")
            return repo, manifest
    if repo.exists():
        raise InfraError(f"{repo} holds another history", hint=f"remove it: rm -r {repo}")
    manifest = history.build(
        given.tree or source(place, say),
        repo,
        culprit=given.culprit,
        seed=given.seed,
        merge=given.merge,
        commits=given.commits,
    )
    notes.write_text(json.dumps(dataclasses.asdict(manifest), indent=2) + "\n")
    return repo, manifest


def read_manifest(path: Path) -> Manifest:
    """What ``planted`` wrote."""
    data = json.loads(path.read_text())
    commits = tuple(Planted(**{**commit, "parents": tuple(commit["parents"])}) for commit in data.pop("commits"))
    parents = tuple(data.pop("culprit_parents"))
    tested = tuple(data.pop("tested" if "tested" in data else "asked"))  # "asked" in what earlier versions wrote
    return Manifest(**data, commits=commits, culprit_parents=parents, tested=tested)


def parser(prog: str, about: str) -> argparse.ArgumentParser:
    """A command line with the options of a history."""
    made = argparse.ArgumentParser(prog=f"python -m {prog}", description=about)
    made.add_argument("--tree", type=Path, help="tarball or folder of Linux 6.18.0 to 6.18.32; default: the archive's")
    history.arguments(made)
    return made


def place() -> Place:
    """The place that this process's environment asks for."""
    return Place.of(os.environ)
