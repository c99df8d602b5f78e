# SPDX-License-Identifier: GPL-2.0-only
"""What ``bisector test`` answers: the verdicts of one candidate in the cells of a recipe. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bisector.exitcodes import ExitCode
from bisector.model import Candidate, Cell, Judgement, Verdict


@dataclass(frozen=True)
class CellAnswer:
    """One row of the table. ``judgement`` is None for a cell that the software refuses."""

    cell: Cell
    judgement: Judgement | None

    @property
    def as_expected(self) -> bool:
        """A control answers what its recipe says it must; a cell without expectation always does."""
        return self.cell.expect is None or (self.judgement is not None and self.judgement.verdict is self.cell.expect)


@dataclass(frozen=True)
class Answer:
    """The whole table, and where its logs lie. ``compares``: the recipe compares a number with the good end's."""

    recipe: str
    candidate: Candidate
    rows: tuple[CellAnswer, ...]
    campaign: str
    folder: str
    compares: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """0 good, 1 bad, 4 skip or weak, or a control that did not answer as it must."""
        verdicts = {row.judgement.verdict for row in self.rows if row.judgement and not row.cell.expect}
        if not all(row.as_expected for row in self.rows):
            return ExitCode.UNDECIDED
        if Verdict.BAD in verdicts:
            return ExitCode.BAD
        return ExitCode.OK if verdicts == {Verdict.GOOD} else ExitCode.UNDECIDED
