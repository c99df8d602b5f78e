# SPDX-License-Identifier: GPL-2.0-only
"""Several targets as one: each candidate goes to the one that its kind names."""

from __future__ import annotations

from collections.abc import Mapping

from bisector.interfaces import CancelToken, Listener, Target
from bisector.model import BuildFailure, Candidate, Image, TargetKind


class Choice(Target):
    """Asks the target of the candidate's kind. A KeyError here is a fault of the caller."""

    def __init__(self, targets: Mapping[TargetKind, Target]) -> None:
        self._targets = dict(targets)

    def key(self, candidate: Candidate) -> str:
        """As the target in charge names it."""
        return self._targets[candidate.target].key(candidate)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        """As the target in charge makes it."""
        return self._targets[candidate.target].image(candidate, listener=listener, cancel=cancel)
