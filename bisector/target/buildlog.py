# SPDX-License-Identifier: GPL-2.0-only
"""Reads a build's output as it comes: how far it is, what the candidate got wrong, what only this host got wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bisector.seams import Listener, Progress

MOST_ERRORS = 20
_STEP = re.compile(r"  [A-Z][A-Z0-9_]+ +\S.*")  # kbuild's short form: "  CC      block/fops.o"
_NINJA_STEP = re.compile(r"\[(\d+)/(\d+)\] (.+)")  # "[12/526] Compiling C object libblock.fa.p/block_io.c.o"
_ERROR = re.compile(
    r"\berror:|: ERROR: |undefined reference|multiple definition of|No rule to make target|^ERROR: |: syntax error|"
    r"recursive dependency detected"
)
_MAKE_ERROR = re.compile(r"\*\*\* ")


@dataclass(frozen=True)
class HostFault:
    """A failure that says nothing about the candidate. ``line`` is what make printed."""

    line: str
    hint: str


_HOST_FAULTS = (
    (r"No space left on device|Disk quota exceeded", "make room on that disk: bisector cache shows what can go"),
    (
        r"Read-only file system|Input/output error|Structure needs cleaning|Stale file handle",
        "the disk fails: look at dmesg",
    ),
    (r"Too many open files", "raise the limit of open files: ulimit -n"),
    (
        r"Killed signal terminated program|[\]:] Killed$|\bError 137\b|Cannot allocate memory|virtual memory exhausted"
        r"|out of memory allocating|Resource temporarily unavailable",
        "the host ran out of memory: fewer jobs, or end other programs",
    ),
    (
        r"\bError 127\b|(?:C compiler|linker|assembler) '[^']*' not found",
        "a program the kernel's build needs is missing: bisector doctor names it",
    ),
    (
        r"fatal error: (?:openssl/\S+|gelf\.h|libelf\.h|elf\.h|gmp\.h|mpc\.h): No such file",
        "a library the kernel's build needs is missing: libelf-dev and libssl-dev on Debian",
    ),
    (
        r'Dependency "(?:glib-2\.0|zlib|pixman-1|libfdt|fdt)" not found',
        "a library that QEMU's build needs is missing: bisector doctor names its package",
    ),
)
_COMPILED_FAULTS = tuple((re.compile(pattern), hint) for pattern, hint in _HOST_FAULTS)
_NOT_FOUND = re.compile(r"(?:^|\s)([^\s:]+): (?:command )?(?:not found|No such file or directory)$")


class BuildLog:
    """Sees each line of a build's output once; holds little of it.

    Args:
        expected: lines that the build is expected to print, for the fraction done.
        listener: told of each line that names a step.
        also: sees every line too.
    """

    def __init__(self, expected: int, listener: Listener, also: Callable[[str], None] | None = None) -> None:
        self.lines = 0  # that named a step
        self.fault: HostFault | None = None
        self._expected = max(expected, 1)
        self._listener = listener
        self._also = also
        self._errors: list[str] = []
        self._make_errors: list[str] = []
        self._last: list[str] = []

    def __call__(self, line: str) -> None:
        """Take one line."""
        line = line.rstrip()
        if _STEP.fullmatch(line):
            self.lines += 1
            self._listener(Progress("build", " ".join(line.split()), self.fraction))
        elif step := _NINJA_STEP.fullmatch(line):  # ninja knows how many there are
            self.lines, self._expected = int(step[1]), int(step[2])
            self._listener(Progress("build", step[3], self.fraction))
        elif line:
            self._look_for_errors(line)
        if self._also is not None:
            self._also(line)

    @property
    def fraction(self) -> float:
        """Estimated part that is done, below 1 to the end."""
        return min(0.99, self.lines / max(self._expected, self.lines * 1.05))

    def errors(self) -> tuple[str, ...]:
        """The first error lines: the tools' own, else make's, else the last lines that were printed."""
        return tuple((self._errors or self._make_errors or self._last)[:MOST_ERRORS])

    def _look_for_errors(self, line: str) -> None:
        if _ERROR.search(line):
            self._add(self._errors, line)
        elif _MAKE_ERROR.search(line):
            self._add(self._make_errors, line)
        self._last = [*self._last[-MOST_ERRORS + 1 :], line[:1000]]
        for pattern, hint in _COMPILED_FAULTS:
            if self.fault is None and pattern.search(line):
                self.fault = self._fault(line, hint)

    def _fault(self, line: str, hint: str) -> HostFault | None:
        if "Error 127" not in line:
            return HostFault(line, hint)
        named = [(text, found[1]) for text in self._last if (found := _NOT_FOUND.search(text))]
        said, program = named[-1] if named else (line, "")
        return None if "/" in program else HostFault(said, hint)  # a path is a script of the tree's: its own fault

    @staticmethod
    def _add(lines: list[str], line: str) -> None:
        if len(lines) < MOST_ERRORS and line not in lines:
            lines.append(line[:1000])
