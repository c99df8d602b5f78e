# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the search share: a state folder, and a search over a planted history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planted import PerfectJudge, Planned, Planted

from bisector.direction import BUG, Direction
from bisector.search.clone import PrivateClone
from bisector.search.commits import SearchResult, search
from bisector.search.gitrepo import UserRepository
from bisector.system.proc import Processes


class SearchSetup:
    """One state folder; searches planted histories in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.processes = Processes(folder / "records")

    def plant(self, plan: list[Planned], name: str = "linux") -> Planted:
        """Make a repository."""
        return Planted(self.folder / name, plan)

    def clone(self, repository: Planted) -> PrivateClone:
        """Our clone of it."""
        return PrivateClone.of(UserRepository(repository.folder), self.state, self.processes)

    def search(
        self,
        judge: PerfectJudge,
        good: str,
        bad: str,
        *,
        direction: Direction = BUG,
        campaign: str = "c",
        **options: Any,
    ) -> SearchResult:
        """Search between two planned commits."""
        repository = judge.repository
        clone = self.clone(repository)
        old, new = direction.old_new(repository.oid[good], repository.oid[bad])
        ends = clone.history().commits([old, new])
        with clone.bisect_worktree(campaign) as worktree:
            return search(
                clone, *ends, judge, direction=direction, worktree=worktree, processes=self.processes, **options
            )
