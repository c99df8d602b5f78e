# SPDX-License-Identifier: GPL-2.0-only
"""Who a report goes to: people of the culprit, maintainers by the tree's own get_maintainer.pl, the regression list."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path

from bisector.errors import BisectorError, InfraError
from bisector.mail.thread import Address, address, unique
from bisector.model import Commit
from bisector.search import refs
from bisector.search.gitrepo import History
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST, Access
from bisector.system.trees import remove_tree

REGRESSIONS = Address("", "regressions@lists.linux.dev")
STABLE = Address("", "stable@vger.kernel.org")

SCRIPT = "scripts/get_maintainer.pl"
NEEDED = (SCRIPT, "MAINTAINERS", ".get_maintainer.ignore")
"""What the script reads besides the files that it is given (6.18: with --no-tree it needs no more)."""

QEMU_SCRIPT = "sub top_of_tree"
QEMU_TOP = ("COPYING", "Makefile", "VERSION", "docs", "linux-user", "softmmu", "system")
"""QEMU's copy of the script knows neither --no-tree nor --no-fixes, and looks for these first (7.2, 10.0)."""

FILES = 50  # files of a change for which maintainers are looked up
COMMITS = 8  # suspects up to this number are looked up, more would mail half of the list
TIMEOUT = 120.0  # seconds

_TRAILER = re.compile(r"^(?:Signed-off-by|Co-developed-by):\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class People:
    """Whom to write to. ``notes``: what could not be found out, for the person who sends."""

    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    notes: tuple[str, ...] = ()

    def without(self, mails: Iterable[str]) -> People:
        """Leave some addresses away; an address stands once, in To rather than in Cc."""
        gone = {mail.lower() for mail in mails}
        to = tuple(each for each in unique(self.to) if each.key not in gone)
        taken = gone | {each.key for each in to}
        return People(to, tuple(each for each in unique(self.cc) if each.key not in taken), self.notes)


NOBODY = People()


def people(
    commits: Sequence[Commit],
    history: History | None,
    processes: Processes,
    *,
    tree: str,
    stable: bool,
    kernel: bool = True,
) -> People:
    """People for a report about ``commits`` (the culprit, or suspects).

    Args:
        tree: the commit whose MAINTAINERS and script are used; the bad end, whose names are the newest known to fit.
        stable: a stable series was hit.
        kernel: the kernel's own lists hear of it; QEMU's are named by its tree alone.
    """
    lists = ((REGRESSIONS, STABLE) if stable else (REGRESSIONS,)) if kernel else ()
    if history is None:
        return People(cc=lists, notes=("the repository is not at hand: no author, no maintainers",))
    if len(commits) > COMMITS:
        return People(cc=lists, notes=(f"{len(commits)} suspects: neither authors nor maintainers were added",))
    own = tuple(each for commit in commits for each in _people_of(commit, history)) if len(commits) == 1 else ()
    notes: tuple[str, ...] = ()
    try:
        files = sorted({file for commit in commits for file in history.changed_files(commit.oid)})[:FILES]
        maintainers, open_lists = _maintainers(history, processes, tree, files) if files else ((), ())
    except BisectorError as error:
        maintainers, open_lists, notes = (), (), (f"maintainers could not be looked up: {error.what}",)
    return People(unique((*own, *maintainers)), unique((*open_lists, *lists)), notes).without(())


def sender(processes: Processes, folder: Path) -> Address | None:
    """Who git thinks the person is (user.name and user.email, as seen from ``folder``), None when it has no idea."""
    place = folder if folder.is_dir() else Path("/")
    commands = [["git", "config", "--get", f"user.{name}"] for name in ("name", "email")]
    name, mail = (processes.run(argv, access=HOST, cwd=place, check=False).stdout.strip() for argv in commands)
    return address(name, mail)


def _people_of(commit: Commit, history: History) -> Iterator[Address | None]:
    """The author, then those who signed the change off, in order."""
    yield address(*parseaddr(commit.author))
    for line in _TRAILER.findall(refs.message(history, commit.oid)):
        yield address(*parseaddr(line))


def _maintainers(
    history: History, processes: Processes, tree: str, files: Sequence[str]
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    """People and open lists for files, by the script of the tree, run over a checkout of the files it reads."""
    folder = Path(tempfile.mkdtemp(prefix="bisector-maintainers-"))
    try:
        present = [path for path in (*NEEDED, *files) if _put(history, tree, path, folder)]
        if SCRIPT not in present or "MAINTAINERS" not in present:
            raise InfraError(f"{tree[:12]} has no {SCRIPT}")
        argv = ["perl", SCRIPT, "--no-tree", "--no-git", "--no-git-fallback", "--roles", "--no-fixes"]
        if QEMU_SCRIPT in (folder / SCRIPT).read_text(errors="replace", encoding="utf-8"):
            argv = [word for word in argv if word not in ("--no-tree", "--no-fixes")]
            for name in QEMU_TOP:
                (folder / name).mkdir(exist_ok=True) if name.islower() else (folder / name).touch()
        argv += [word for path in present if path not in NEEDED for word in ("-f", path)]
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        printed = processes.run(argv, access=Access((folder,)), cwd=folder, env=environment, timeout=TIMEOUT).stdout
    finally:
        remove_tree(folder, ignore_errors=True)
    return _sorted(printed)


def _put(history: History, tree: str, path: str, folder: Path) -> bool:
    """Write one file of the tree below ``folder``; False when the tree has none there."""
    listed = history.query("ls_tree", "-z", tree, "--", path)
    if " blob " not in listed or listed.startswith("120000 "):
        return False
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(history.query("cat_file", "blob", f"{tree}:{path}") + "\n", errors="replace", encoding="utf-8")
    return True


def _sorted(printed: str) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    """Lines ``Name <mail> (role:SECTION)`` into people and lists that take everybody's mail."""
    persons, lists = [], []
    for line in printed.splitlines():
        found = re.fullmatch(r"(.+?)\s+\((.+)\)", line.strip())
        who, role = (found[1], found[2]) if found else (line.strip(), "")
        each = address(*parseaddr(who))
        if role.startswith(("maintainer", "supporter", "reviewer", "odd fixer")):
            persons.append(each)
        elif "list" in role and "subscriber" not in role:
            lists.append(each)
    return unique(persons), unique(lists)
