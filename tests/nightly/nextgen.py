# SPDX-License-Identifier: GPL-2.0-only
"""A linux-next in a local repository, rebuilt night by night over a moving mainline and subsystem branches.

Each commit changes files of its own, so that branches merge without conflicts. A kernel's behaviour is which files
stand below ``flags/``. Commits that are not rebased keep their ids; the day's own merges and its last commit are
always new.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

BRANCHES = ("block", "fs", "md", "mm", "net")
SECONDS = 1_790_000_000
PEOPLE = {name: f"{name.capitalize()} Maintainer <{name}@example.org>" for name in (*BRANCHES, "mainline", "next")}
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_COMMITTER_NAME": "Next Maintainer",
    "GIT_COMMITTER_EMAIL": "next@example.org",
}


@dataclass(frozen=True)
class Node:
    """One commit. ``change``: path → content, None where it removes the file; ``tree``: all files."""

    oid: str
    subject: str
    author: str
    parents: tuple[str, ...]
    change: tuple[tuple[str, str | None], ...]
    tree: tuple[tuple[str, str], ...]


@dataclass
class LinuxNext:
    """The repository. Branches are lists of commit ids from their fork on; ``mainline`` is its newest commit."""

    folder: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    mainline: str = ""
    branches: dict[str, list[str]] = field(default_factory=dict)
    clock: int = SECONDS

    @classmethod
    def make(cls, folder: Path) -> LinuxNext:
        """A mainline with one release and five empty branches on it."""
        folder.mkdir(parents=True)
        made = cls(folder)
        made.git("init", "-q", "--bare", "-b", "master", ".")
        made.mainline = made.commit("Linux 6.18", "mainline", (), {"Makefile": "6.18\n"})
        made.git("tag", "v6.18", made.mainline)
        for _ in range(4):
            made.mainline_commit("mainline: early work")
        made.branches = {name: [] for name in BRANCHES}
        for name in BRANCHES:
            made.forks[name] = made.mainline
        return made

    def __post_init__(self) -> None:
        self.forks: dict[str, str] = {}
        self.count = 0

    def git(self, *words: str, stdin: str | None = None) -> str:
        argv = ["git", "-C", str(self.folder), *words]
        done = subprocess.run(argv, input=stdin, env=ENVIRONMENT, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    # ---- commits

    def commit(
        self,
        subject: str,
        who: str,
        parents: tuple[str, ...],
        change: dict[str, str | None],
        tree: dict[str, str] | None = None,
        author_date: int = 0,
    ) -> str:
        """Make a commit on its first parent's tree (or on ``tree``)."""
        self.clock += 60
        base = dict(self.nodes[parents[0]].tree) if parents and tree is None else dict(tree or {})
        for path, content in change.items():
            base.pop(path, None)
            if content is not None:
                base[path] = content
        author = PEOPLE[who]
        stream = [f"commit refs/import\nmark :1\nauthor {author} {author_date or self.clock} +0000"]
        stream += [f"committer {PEOPLE['next']} {self.clock} +0000", _data(subject + "\n")]
        stream += [f"{word} {oid}" for word, oid in zip(("from", *["merge"] * 20), parents, strict=False)]
        stream += ["deleteall", *(f"M 100644 inline {path}\n{_data(text)}" for path, text in base.items())]
        marks = self.folder / "marks"
        self.git("update-ref", "-d", "refs/import")
        self.git("fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin="\n".join(stream) + "\n")
        oid = marks.read_text().split()[1]
        self.nodes[oid] = Node(oid, subject, who, parents, tuple(change.items()), tuple(base.items()))
        return oid

    def mainline_commit(self, subject: str, change: dict[str, str | None] | None = None) -> str:
        """One commit more on mainline."""
        self.count += 1
        own: dict[str, str | None] = {f"mainline/{self.count}": f"{self.count}\n"}
        self.mainline = self.commit(f"{subject} {self.count}", "mainline", (self.mainline,), own | (change or {}))
        return self.mainline

    def branch_commit(self, name: str, subject: str, change: dict[str, str | None] | None = None) -> str:
        """One commit more on a subsystem's branch."""
        self.count += 1
        own: dict[str, str | None] = {f"{name}/{self.count}": f"{self.count}\n"}
        tip = (self.branches[name] or [self.forks[name]])[-1]
        oid = self.commit(f"{name}: {subject}", name, (tip,), own | (change or {}))
        self.branches[name].append(oid)
        return oid

    def rebase(self, name: str, changed: dict[str, str] | None = None) -> None:
        """The branch anew on today's mainline: new ids, the same subjects, authors and patches.

        ``changed``: subject → content of one file more that its commit has now, so that its patch is another.
        """
        old, self.branches[name], self.forks[name] = self.branches[name], [], self.mainline
        tip = self.mainline
        for oid in old:
            node = self.nodes[oid]
            change = dict(node.change)
            if changed and node.subject in changed:
                change[f"{name}/reworked"] = changed[node.subject]
            tip = self.commit(node.subject, node.author, (tip,), change)
            self.branches[name].append(tip)

    def pull(self, name: str) -> str:
        """Mainline merges a branch, whose commits keep their ids."""
        self.mainline = self._merge(self.mainline, self.branches[name][-1], f"Merge tag '{name}-for-linus'", "mainline")
        self.branches[name], self.forks[name] = [], self.mainline
        return self.mainline

    def _merge(self, into: str, tip: str, subject: str, who: str) -> str:
        tree = dict(self.nodes[into].tree)
        held = self.ancestors(into)
        for oid in self._in_order(tip):
            if oid not in held and len(self.nodes[oid].parents) == 1:
                for path, content in self.nodes[oid].change:
                    tree.pop(path, None)
                    if content is not None:
                        tree[path] = content
        return self.commit(subject, who, (into, tip), {}, tree)

    def ancestors(self, oid: str) -> set[str]:
        """A commit and all that it holds."""
        return set(self._in_order(oid))

    def _in_order(self, oid: str) -> list[str]:
        seen: dict[str, None] = {}

        def walk(one: str) -> None:
            if one not in seen:
                for parent in self.nodes[one].parents:
                    walk(parent)
                seen[one] = None

        walk(oid)
        return list(seen)

    # ---- one day

    def release(self, number: int, *, sha1s: bool = True) -> str:
        """Build linux-next of night ``number`` and tag it; gives the tag's name."""
        tip = self.mainline
        listed = [f"origin\t\t{self.mainline}"]
        for name in BRANCHES:
            if self.branches[name]:
                tip = self._merge(tip, self.branches[name][-1], f"Merge branch '{name}'", "next")
                listed.append(f"{name}\t\t{self.branches[name][-1]}")
        tag = f"next-202611{number:02}"
        files: dict[str, str | None] = {"localversion-next": f"-{tag}\n"}
        if sha1s:
            files["Next/SHA1s"] = "\n".join(["Name\t\tSHA1", "----\t\t----", *listed, ""])
        day = self.commit(f"Add linux-next specific files for {tag}", "next", (tip,), files)
        self.git("tag", "-f", "-a", "-m", tag, tag, day)
        self.git("update-ref", "refs/heads/master", day)
        self.git("update-ref", "refs/heads/stable", self.mainline)
        return tag

    def day(self, number: int) -> None:
        """What happens on any night: mainline moves on, and two branches do."""
        self.mainline_commit("mainline: work")
        self.mainline_commit("mainline: more work")
        for name in (BRANCHES[number % 5], BRANCHES[(number + 2) % 5]):
            self.branch_commit(name, f"work of night {number}")


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}"
