# SPDX-License-Identifier: GPL-2.0-only
"""Holes in history: a known repair is laid over every candidate that has the breakage and not yet its repair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bisector.model import Candidate, Commit, Edit, EditKind, TargetKind
from bisector.search.frontier import IsAncestor


@dataclass(frozen=True)
class Fixup:
    """``fixed`` is cherry-picked wherever ``broken`` is in and ``fixed`` is not."""

    broken: Commit
    fixed: Commit


@dataclass(frozen=True)
class Fixups:
    """All fixups of a recipe, in its order."""

    fixups: tuple[Fixup, ...]
    is_ancestor: IsAncestor

    def __call__(self, candidate: Candidate) -> Candidate:
        """The candidate with the fixups it needs, before its own edits."""
        if candidate.target not in (TargetKind.KERNEL_SOURCE, TargetKind.QEMU_SOURCE):
            return candidate
        needed = tuple(self._needed(candidate))
        return replace(candidate, edits=needed + candidate.edits) if needed else candidate

    def _needed(self, candidate: Candidate) -> Iterable[Edit]:
        for fixup in self.fixups:
            broken = self.is_ancestor(fixup.broken.oid, candidate.revision)
            edit = Edit(EditKind.FIXUP, fixup.fixed.oid)
            if broken and edit not in candidate.edits and not self.is_ancestor(fixup.fixed.oid, candidate.revision):
                yield edit
