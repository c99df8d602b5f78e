# SPDX-License-Identifier: GPL-2.0-only
"""A branch of linux-stable-rc: what is under review for the next stable release, on the last release of its series.

The branch is replaced with each review (a commit that was dropped is gone from it, the others are rebased), so that
its states go by the day of their newest commit. See Documentation/process/stable-kernel-rules.rst.
"""

from __future__ import annotations

from dataclasses import dataclass

from bisector.errors import InfraError, UsageError
from bisector.nightly.trees.clone import TreeClone
from bisector.nightly.trees.tree import Day

RELEASED = "^Linux [0-9]+\\.[0-9]+(\\.[0-9]+)?$"
"""Subject of the commit that makes a release; that of a candidate ends in -rcN (POSIX extended)."""


@dataclass(frozen=True)
class StableRc(TreeClone):
    """Our clone of one branch. ``branch``: linux-X.Y.y."""

    branch: str = ""
    base_tree = "the last stable release"
    replaced = True

    @property
    def name(self) -> str:
        """What people call it."""
        return f"stable-rc {self.branch}"

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def newest(self) -> tuple[str, str]:
        """The branch as it is now, under its name and the day (UTC) of its newest commit. It is fetched.

        Raises InfraError when the source cannot be reached, UsageError when it has no such branch.
        """
        found = {ref: oid for oid, ref in self.listed(self._ref)}
        if self._ref not in found:
            hint = "name a repository like linux-stable-rc, and a branch of it (linux-6.12.y)"
            raise UsageError(f"{self.source} has no branch {self.branch}", hint=hint)
        self.fetch_refs(self._ref)
        oid = self.history.resolve(self._ref).oid
        day = self.git.run("show", "-s", "--date=format-local:%Y%m%d", "--format=%cd", oid, env={"TZ": "UTC"}).stdout
        return f"{self.branch}-{day.strip()}", oid

    def fetch(self, tag: str) -> None:
        """Get the releases; the branch came with ``newest``. Raises InfraError."""
        if self.listed("refs/tags/v*"):
            self.fetch_refs("refs/tags/v*")

    def day(self, tag: str) -> Day:
        """The branch as it was fetched, on the last release. Raises InfraError when it holds none."""
        history = self.history
        tip = history.resolve(self._ref)
        below = f"{tip.oid}^"
        arguments = ("--first-parent", "--extended-regexp", f"--grep={RELEASED}", "-1", "--format=%H", below)
        oid = self.git.run("log", *arguments, codes=(0, 128)).stdout.strip()
        if not oid:
            hint = f"is {self.branch} a branch of stable kernels, and the source a whole clone?"
            raise InfraError(f"{tag} holds no commit that makes a release, so that its base is not known", hint=hint)
        base = history.commit(oid)
        return Day(tag, tip, base, base.subject.replace("Linux ", "v"))
