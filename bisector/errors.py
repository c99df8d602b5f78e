# SPDX-License-Identifier: GPL-2.0-only
"""Errors that speak to the person at the keyboard: what failed, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bisector.exitcodes import ExitCode
from bisector.printable import printable_line


class BisectorError(Exception):
    """Base of every error that a user may see.

    Args:
        what: one sentence, what failed, in which recipe, trial or file.
        hint: what to do next; may hold several lines.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INFRA

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class UsageError(BisectorError):
    """The command line or the repository given does not fit."""

    exit_code = ExitCode.USAGE


class InfraError(BisectorError):
    """The harness failed; says nothing about any candidate (law 1)."""

    exit_code = ExitCode.INFRA


class ToolchainChanged(InfraError):
    """What is not built yet would be built by another toolchain than what it is compared with."""


class RecipeChanged(UsageError):
    """A broken-off campaign asked another question than its recipe does now."""

    def __init__(self, what: str, campaign: str) -> None:
        super().__init__(
            f"{what} has changed since campaign {campaign} began",
            hint="bring it back, or leave out --resume to start a new campaign (built images are kept)",
        )


class Interrupted(BisectorError):
    """Stopped by the person or a signal. State is kept."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(frozen=True)
class Diagnostic:
    """One fault of an input file; ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        """One line, whatever stands in the file's keys."""
        field = f"{self.field}: " if self.field else ""
        return printable_line(f"{self.file}:{self.line}:{self.column}: {field}{self.message}")


class RecipeError(BisectorError):
    """A recipe or config file is invalid; carries every fault found, in file order."""

    exit_code = ExitCode.INVALID

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(str(d) for d in diagnostics))
        self.diagnostics = diagnostics
