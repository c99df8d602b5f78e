# SPDX-License-Identifier: GPL-2.0-only
"""How far a campaign is, and its parts, by which trials are stored: one of one part is no evidence in another."""

from __future__ import annotations

from enum import StrEnum


class CampaignState(StrEnum):
    """How far a campaign is."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"
    TEST = "test"  # trials of single candidates; it has no outcome and never ends


class Stage(StrEnum):
    """A part of a campaign. Where it happens more than once a stored name has more: proof-2, ends-again."""

    ENDS = "ends"
    SEARCH = "search"
    PROOF = "proof"
    RELEASE = "release"  # of a search over releases: its ends and all between them
    TEST = "test"  # one candidate alone
    FIXED = "fixed"  # after the outcome: is it fixed already?
    CHECK = "harness-check"  # to see whether the harness works at all; evidence of no candidate
    CONTROL = "control"  # a boot beside a kernel that did not boot; not stored

    @classmethod
    def of(cls, name: str) -> Stage | None:
        """The part that a stored name belongs to; None for names of other layers, such as a watch's questions."""
        return next((stage for stage in cls if name == stage or name.startswith(f"{stage}-")), None)

    def again(self, what: str | int) -> str:
        """The name of this part when it happens again: ``what`` says how, or for which time."""
        return f"{self}-{what}"
