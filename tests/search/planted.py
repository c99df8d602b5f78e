# SPDX-License-Identifier: GPL-2.0-only
"""Small git histories with a planted culprit, a judge that knows it, and a fingerprint of a folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector.model import Candidate, Judgement, TargetKind, Verdict

WHO = {
    f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "A"), ("EMAIL", "a@b"))
}


def git(folder: Path, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """git as its user runs it."""
    environment = {**os.environ, **WHO, "GIT_CONFIG_GLOBAL": os.devnull, **(env or {})}
    argv = ["git", "-C", os.fspath(folder), *arguments]
    return subprocess.run(argv, input=stdin, env=environment, text=True, check=True, capture_output=True).stdout.strip()


@dataclass(frozen=True)
class Planned:
    """One commit to make. Its tree is the union of its parents' trees, then ``files`` (None deletes)."""

    name: str
    parents: tuple[str, ...] = ()
    files: tuple[tuple[str, str | None], ...] = ()


class Planted:
    """A repository made of planned commits; each also adds a file of its own name. ``end`` is the last one, on main."""

    def __init__(self, folder: Path, plan: Sequence[Planned], *, bare: bool = False) -> None:
        self.folder = folder
        self.plan = plan
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main", *(["--bare"] if bare else []))
        git(folder, "fast-import", "--quiet", "--export-marks=marks", stdin=_stream(plan))
        marks = folder / "marks"
        ids = dict(line.split() for line in marks.read_text().splitlines())
        marks.unlink()
        self.oid = {commit.name: ids[f":{number}"] for number, commit in enumerate(plan, start=1)}
        self.name = {oid: name for name, oid in self.oid.items()}
        self.parents = {commit.name: commit.parents for commit in plan}
        git(folder, "update-ref", "refs/heads/main", self.oid[plan[-1].name])
        if not bare:
            git(folder, "reset", "-q", "--hard", "main")

    def ancestors(self, name: str) -> set[str]:
        """The commit and all that it holds."""
        found, todo = set(), [name]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo.extend(self.parents[one])
        return found

    def names(self, oids: Collection[str]) -> set[str]:
        """Planned names of commits."""
        return {self.name[oid] for oid in oids}


def chain(*names: str, start: str | None = None) -> list[Planned]:
    """Commits in a row, the first on top of ``start``."""
    below = [start, *names[:-1]]
    return [Planned(name, (parent,) if parent else ()) for name, parent in zip(names, below, strict=True)]


def candidate(repository: Planted, name: str) -> Candidate:
    """A planned commit as a candidate."""
    return Candidate(TargetKind.KERNEL_SOURCE, repository.oid[name])


class PerfectJudge:
    """Bad is what holds the culprit (and not its fix). ``judged``: names of the commits, in order."""

    def __init__(
        self,
        repository: Planted,
        culprit: str,
        *,
        fix: str = "",
        skip: Collection[str] = (),
        weak: Collection[str] = (),
        before: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.repository = repository
        self.culprit = culprit
        self.fix = fix
        self.special = dict.fromkeys(skip, Verdict.SKIP) | dict.fromkeys(weak, Verdict.WEAK)
        self.before = before
        self.judged: list[str] = []

    def __call__(self, candidate: Candidate) -> Judgement:
        name = self.repository.name[candidate.revision]
        self.before(name)
        self.judged.append(name)
        return Judgement(candidate, self.special.get(name) or self.truth(name), "by plan")

    def truth(self, name: str) -> Verdict:
        """What it is, whether it can be judged or not."""
        held = self.repository.ancestors(name)
        return Verdict.BAD if self.culprit in held and self.fix not in held else Verdict.GOOD


def fingerprint(folder: Path) -> str:
    """Hash of a folder: names, kinds, modes, mtimes and contents of all that is in it."""
    whole = hashlib.sha256()
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        whole.update(repr((os.fspath(path), status.st_mode, status.st_mtime_ns, content)).encode())
    return whole.hexdigest()


def _stream(plan: Sequence[Planned]) -> str:
    trees: dict[str, dict[str, str]] = {}
    number = {commit.name: position for position, commit in enumerate(plan, start=1)}
    lines = []
    for commit in plan:
        tree: dict[str, str] = {}
        for parent in commit.parents:
            tree |= trees[parent]
        tree[f"own/{commit.name}"] = commit.name
        for path, content in commit.files:
            tree.pop(path, None)
            if content is not None:
                tree[path] = content
        trees[commit.name] = tree
        lines += [f"commit refs/planted/{commit.name}", f"mark :{number[commit.name]}"]
        lines += [f"committer A <a@b> {1_700_000_000 + number[commit.name]} +0000", _data(f"{commit.name}: a change")]
        for word, parent in zip(["from", *["merge"] * 9], commit.parents, strict=False):
            lines.append(f"{word} :{number[parent]}")
        lines.append("deleteall")
        lines += [f"M 100644 inline {path}\n{_data(content)}" for path, content in tree.items()]
    return "\n".join([*lines, "done", ""])


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}"
