# SPDX-License-Identifier: GPL-2.0-only
"""Reads a build's output as it comes: how far it is, what the candidate got wrong, what only this host got wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from bisector.causes import FailureCause
from bisector.interfaces import Listener, Phase, Progress

MOST_ERRORS = 20
_STEP = re.compile(r"  [A-Z][A-Z0-9_]+ +\S.*")  # kbuild's short form: "  CC      block/fops.o"
_NINJA_STEP = re.compile(r"\[(\d+)/(\d+)\] (.+)")  # "[12/526] Compiling C object libblock.fa.p/block_io.c.o"
_ERROR = re.compile(
    r"\berror:|: ERROR: |undefined reference|multiple definition of|No rule to make target|^ERROR: |: syntax error|"
    r"recursive dependency detected"
)
_MAKE_ERROR = re.compile(r"\*\*\* ")


class Certainty(Enum):
    """How sure a line is that the host failed, and not the candidate."""

    CERTAIN = "certain"  # whatever else was printed
    UNLESS_NAMED = "unless named"  # unless a tool named an error in the source
    AGAIN = "again"  # only when a second run ends in another way: a compiler that crashes


@dataclass(frozen=True)
class HostFault:
    """A failure that says nothing about the candidate. ``line`` is what the build printed."""

    line: str
    hint: str
    certainty: Certainty = Certainty.CERTAIN


_MEMORY = "the host ran out of memory: fewer jobs, or end other programs"
_DISK = "the disk fails: look at dmesg"
_ENDED = "somebody ended the build (a logout, a limit of its control group): run the command again"
_PROGRAM = "a program that the build needs is missing: bisector doctor names it"
_LIBRARY = "a library that the build needs is missing: bisector doctor names its package"
_CRASHED = "a compiler that crashes is a sign of bad memory, or a bug of its own: look at dmesg, or try another one"

_HOST_FAULTS = (
    (
        r"No space left on device|Disk quota exceeded|File too large",
        "free space on that disk: bisector cache shows what can go",
    ),
    (r"Read-only file system|Input/output error|Structure needs cleaning|Stale file handle", _DISK),
    # of a process; ld gets it when it cannot write behind the end of a full tmpfs, too
    (
        r"(?:^|[:\]] )Bus error\b|\bterminated (?:program|with signal).*\bBus error",
        "free space in /tmp, or the disk fails: look at dmesg",
    ),
    (r"Too many open files", "raise the limit of open files: ulimit -n"),
    # the OOM killer: as gcc's and clang's driver, make, a shell and ninja print it
    (
        r"Killed signal terminated program|terminated with signal 9\b|internal compiler error: Killed\b"
        r"|unable to execute command: Killed|[\]:] Killed$|\bError 137\b|\bcode=137\b",
        _MEMORY,
    ),
    (
        r"Cannot allocate memory|memory exhausted|out of memory allocating|LLVM ERROR: out of memory|std::bad_alloc"
        r"|^MemoryError\b|memory allocation of \d+ bytes failed|Resource temporarily unavailable",
        _MEMORY,
    ),
    (r"\*\*\* .*\] (?:Terminated|Interrupt|Hangup|Quit)$|\bError (?:129|130|143)\b|\bcode=(?:129|130|143)\b", _ENDED),
    (r"terminated with signal 15\b|(?:Terminated|Hangup) signal terminated program", _ENDED),
    (
        r"^ccache: error: ",
        "the compiler cache cannot be used: whose are the files below it? bisector cache names its folder",
    ),
    (
        r"ERROR: (?:Compiler .* can ?not compile programs|\"?[^\"]*\"? (?:either does not exist or does not work"
        r"|cannot build an executable))",
        "the compiler does not work on this host: try it on a small program",
    ),
    (r"\bError 127\b|(?:C compiler|linker|assembler) '[^']*' not found", _PROGRAM),
    (
        r"cannot execute ['\u2018](?:cc1|cc1plus|as|ld|collect2)['\u2019]: ",
        "the compiler is not installed whole: install gcc and g++ anew",
    ),
    (
        r"fatal error: (?:openssl/\S+|gelf\.h|libelf\.h|elf\.h|gmp\.h|mpc\.h|dwarf\.h|elfutils/\S+): No such file",
        "a library the kernel's build needs is missing: libelf-dev and libssl-dev on Debian",
    ),
    (
        r"fatal error: (?:stdio|stdlib|stdint|string|unistd|errno|sys/types)\.h: No such file",
        "the C library's headers are missing: libc6-dev on Debian",
    ),
    (r"fatal error: '?(?:glib|pixman|libfdt|zlib)\.h'?(?:: No such file| file not found)", _LIBRARY),
    (r'Dependency "(?:glib-2\.0|zlib|pixman-1|libfdt|fdt)" not found', _LIBRARY),
    (r"cannot find -l(?:elf|crypto|ssl|z|glib-2\.0)\b", _LIBRARY),
)
_UNLESS_NAMED = (
    (r"(?:^|: )(?:line )?(?:\d+: )?[\w.+-]+: (?:command )?not found$", _PROGRAM),
    (
        r"(?:cannot execute: required file not found|bad interpreter: No such file or directory)$",
        "what runs that script is missing: install it",
    ),
    (
        r"Clock skew detected|modification time .* in the future",
        "the host's clock stepped back: set it, then run the command again",
    ),
)
_AGAIN = (
    (
        r"internal compiler error: (?:Segmentation fault|Aborted|Illegal instruction)"
        r"|(?:ld|cc1|cc1plus|as) terminated with signal (?:4|6|11)\b"
        r"|(?:Segmentation fault|Aborted|Illegal instruction) signal terminated program"
        r"|clang: error: (?:clang frontend|linker) command failed due to signal",
        _CRASHED,
    ),
)
_SIGNS = tuple(
    (re.compile(pattern), hint, certainty)
    for table, certainty in (
        (_HOST_FAULTS, Certainty.CERTAIN),
        (_AGAIN, Certainty.AGAIN),
        (_UNLESS_NAMED, Certainty.UNLESS_NAMED),
    )
    for pattern, hint in table
)
_EXCERPT = re.compile(r"\s*\d*\s*\|")  # of the source, below a compiler's message: it may say anything
_NOT_FOUND = re.compile(r"(?:^|\s)([^\s:]+): (?:command )?(?:not found|No such file or directory)$")

_LACKS = re.compile(
    r"ERROR: (?:.*(?:not found|not usable|is required|are required|requires? )|Cannot find|Dependency lookup|missing )"
    r"|ERROR: (?:Meson version is |Invalid version of |Unknown options?|unknown option)"
)
"""What configure and meson say of something that a revision asks for and that is not here."""


class BuildLog:
    """Sees each line of a build's output once; holds little of it.

    Args:
        expected: lines that the build may print, for the fraction done: the next number counts when the one before
            is exceeded (a change of one file, or of a header that all read).
        listener: gets each line that names a step.
        also: sees every line too.
    """

    def __init__(self, expected: Sequence[int], listener: Listener, also: Callable[[str], None] | None = None) -> None:
        self.lines = 0  # that named a step
        self._faults: dict[Certainty, HostFault] = {}  # the first of each
        self._expected = tuple(expected)
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
            self._listener(Progress(Phase.BUILD, " ".join(line.split()), self.fraction))
        elif step := _NINJA_STEP.fullmatch(line):  # ninja knows how many there are
            self.lines, self._expected = int(step[1]), (int(step[2]),)
            self._listener(Progress(Phase.BUILD, step[3], self.fraction))
        elif line:
            self._look_for_errors(line)
        if self._also is not None:
            self._also(line)

    @property
    def fraction(self) -> float:
        """Estimated part that is done, below 1 to the end."""
        expected = next((number for number in self._expected if number > self.lines), self.lines * 1.05)
        return min(0.99, self.lines / expected)

    def errors(self) -> tuple[str, ...]:
        """The first error lines: the tools' own, else make's, else the last lines that were printed."""
        return tuple((self._errors or self._make_errors or self._last)[:MOST_ERRORS])

    @property
    def fault(self) -> HostFault | None:
        """Why a failure of this build would be the host's; None when it would be the candidate's."""
        unless_named = None if self._errors else self._faults.get(Certainty.UNLESS_NAMED)
        return self._faults.get(Certainty.CERTAIN) or self._faults.get(Certainty.AGAIN) or unless_named

    @property
    def cause(self) -> FailureCause:
        """Why the candidate failed, where the host did not."""
        if not self._errors:
            return FailureCause.UNKNOWN
        return FailureCause.LACKING if any(map(_LACKS.search, self._errors)) else FailureCause.SOURCE

    def _look_for_errors(self, line: str) -> None:
        if _ERROR.search(line):
            self._add(self._errors, line)
        elif _MAKE_ERROR.search(line):
            self._add(self._make_errors, line)
        self._last = [*self._last[-MOST_ERRORS + 1 :], line[:1000]]
        if _EXCERPT.match(line):
            return
        for pattern, hint, certainty in _SIGNS:
            if certainty not in self._faults and pattern.search(line):
                if fault := self._fault(line, hint, certainty):
                    self._faults[certainty] = fault

    def _fault(self, line: str, hint: str, certainty: Certainty) -> HostFault | None:
        if "Error 127" not in line:
            return HostFault(line, hint, certainty)
        named = [(text, found[1]) for text in self._last if (found := _NOT_FOUND.search(text))]
        said, program = named[-1] if named else (line, "")
        return None if "/" in program else HostFault(said, hint)  # a path is a script of the tree's: its own fault

    @staticmethod
    def _add(lines: list[str], line: str) -> None:
        if len(lines) < MOST_ERRORS and line not in lines:
            lines.append(line[:1000])
