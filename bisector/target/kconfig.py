# SPDX-License-Identifier: GPL-2.0-only
"""Config fragments: found by name, merged in order, and held line by line against what Kconfig made of them.

Kconfig drops a symbol whose dependencies do not hold, or that a kernel does not have, without a word; a kernel
without its storage driver would then be tried as if it had one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bisector.codec import digest
from bisector.errors import Diagnostic, RecipeError, UsageError
from bisector.interfaces import Change
from bisector.model import BuildConfig
from bisector.recipe.words import unsafe

_SET = re.compile(r'CONFIG_(\w+)=("(?:[^"\\]|\\.)*"|[^\s#"]+)')
_VALUE = re.compile(r'[ymn]|-?[0-9]+|0[xX][0-9A-Fa-f]+|"[^"]*"')
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_OPTIONAL = re.compile(r"#\s*optional\b.*")

# What a config from elsewhere (a distribution's) must not bring along: a release that names the checkout, a signing
# key made anew by each build, and certificates that lie in the distribution's source package alone.
_NOT_REPEATABLE = """\
CONFIG_LOCALVERSION_AUTO=n # optional
CONFIG_MODULE_SIG=n # optional
CONFIG_SYSTEM_TRUSTED_KEYS="" # optional
CONFIG_SYSTEM_REVOCATION_KEYS="" # optional
"""


_SOURCES = (".c", ".h", ".S")
_PROGRAMS = frozenset(("scripts", "tools"))
"""Folders, of the tree or of an architecture, of what Kconfig runs and of Kconfig itself."""


def may_configure(changes: Iterable[Change]) -> bool:
    """Whether the config may become another one by these changes of a tree.

    Kconfig reads its own files, runs scripts and the compiler (Documentation/kbuild/kconfig-macro-language.rst), and
    may look whether a file is there. What the kernel is compiled of it does not read, nor the documentation.
    """
    return any(
        change.added_or_gone
        or not _PROGRAMS.isdisjoint(PurePosixPath(change.path).parts)
        or PurePosixPath(change.path).name.startswith("Kconfig")  # Documentation has one, too
        or not (change.path.endswith(_SOURCES) or change.path.startswith("Documentation/"))
        for change in changes
    )


@dataclass(frozen=True)
class Line:
    """One wish: ``symbol`` without CONFIG_, ``value`` as written in a .config (n for "is not set")."""

    symbol: str
    value: str
    origin: str  # file:line
    optional: bool = False

    def __str__(self) -> str:
        return f"# CONFIG_{self.symbol} is not set" if self.value == "n" else f"CONFIG_{self.symbol}={self.value}"


@dataclass(frozen=True)
class DroppedLine:
    """A wish that the final .config does not fulfil. ``final``: what stands there, n when nothing does."""

    line: Line
    final: str

    def __str__(self) -> str:
        return f"{self.line.origin}: CONFIG_{self.line.symbol}={self.line.value} became {self.final}"


@dataclass(frozen=True)
class Fragments:
    """Everything that the config has to hold: ``base`` is the text to start from ("": all symbols off)."""

    lines: tuple[Line, ...]
    base: str = ""

    def over(self, lines: Iterable[str]) -> Fragments:
        """With further lines laid over these. Raises RecipeError for one that is no line of a config."""
        further = read("\n".join(lines), "the candidate's config")
        symbols = {line.symbol for line in further}
        return Fragments((*(line for line in self.lines if line.symbol not in symbols), *further), self.base)

    def text(self) -> str:
        """The file that Kconfig reads; a later line wins there as it does here, and each symbol stands once."""
        wished = {line.symbol for line in self.lines}
        kept = [text for text in self.base.splitlines() if _symbol(text) not in wished]
        return "\n".join([*kept, *map(str, self.lines)]) + "\n"

    def digest(self) -> str:
        """Names this config before Kconfig has seen it. Order of files and comments do not count."""
        lines = sorted((line.symbol, line.value, line.optional) for line in self.lines)
        return digest("kconfig", self.base, lines)

    def dropped(self, final: str) -> tuple[DroppedLine, ...]:
        """The lines that the .config ``final`` (its text) does not hold."""
        values = final_values(final)
        gone = [DroppedLine(line, values.get(line.symbol, "n")) for line in self.lines]
        return tuple(entry for entry in gone if not _holds(entry.line.value, entry.final))


def resolve(names: Iterable[str], *, shipped: Path, folder: Path) -> tuple[Path, ...]:
    """Files of the fragments ``names``: a shipped name, or a path (it holds a "/" or ends in ".config").

    Args:
        shipped: folder of the shipped fragments (``NAME.config``).
        folder: what a relative path starts from, the recipe's own.

    Raises UsageError for a fragment that is not there.
    """
    found = []
    for name in names:
        is_path = "/" in name or name.endswith(".config")
        path = folder / Path(name).expanduser() if is_path else shipped / f"{name}.config"
        if not path.is_file():
            known = ", ".join(sorted(entry.stem for entry in shipped.glob("*.config")))
            hint = f"give the file's path from {folder}" if is_path else f"shipped: {known}; a file of yours: ./{name}"
            raise UsageError(f"config fragment {name!r} is not there", hint=hint)
        found.append(path)
    return tuple(found)


def read(text: str, name: str) -> tuple[Line, ...]:
    """The lines of one fragment, ``name`` in errors and origins. Raises RecipeError with every malformed line."""
    lines: list[Line] = []
    faults: list[Diagnostic] = []
    for number, raw in enumerate(text.splitlines(), 1):
        wish = raw.strip()
        unset, match = _UNSET.match(wish), _SET.match(wish)
        rest = wish[match.end() :].strip() if match else ""
        if match and (fault := _unfit(match[2])):
            column = len(raw) - len(raw.lstrip()) + match.start(2) + 1 + fault[0]
            faults.append(Diagnostic(name, number, column, f"CONFIG_{match[1]}", fault[1]))
        elif match and (not rest or rest.startswith("#")):
            optional = bool(_OPTIONAL.fullmatch(rest))
            lines.append(Line(match[1], match[2], f"{name}:{number}", optional))
        elif unset:
            lines.append(Line(unset[1], "n", f"{name}:{number}", bool(_OPTIONAL.search(wish[unset.end() :]))))
        elif wish and not wish.startswith("#"):
            message = f"{wish[:60]!r} is no config line; allowed: CONFIG_NAME=VALUE, # CONFIG_NAME is not set, comments"
            faults.append(Diagnostic(name, number, len(raw) - len(raw.lstrip()) + 1, "", message))
    if faults:
        raise RecipeError(tuple(faults))
    return tuple(lines)


def load(config: BuildConfig, *, shipped: Path, folder: Path) -> Fragments:
    """Read and merge what ``config`` names; a later line for the same symbol wins.

    Raises UsageError for a file that is not there, RecipeError for one that is no config.
    """
    merged: dict[str, Line] = {}
    base = ""
    if config.base_config:
        path = folder / Path(config.base_config).expanduser()
        if not path.is_file():
            raise UsageError(f"base_config {path} is not there", hint="give a .config's path, such as /boot/config-...")
        given = read(path.read_text(errors="replace", encoding="utf-8"), path.name)
        base = "".join(f"{line}\n" for line in given)
        merged = {line.symbol: line for line in read(_NOT_REPEATABLE, "bisector")}
    for path in resolve(config.fragments, shipped=shipped, folder=folder):
        for line in read(path.read_text(errors="replace", encoding="utf-8"), path.name):
            merged.pop(line.symbol, None)  # the place of the last line, as in a plain concatenation
            merged[line.symbol] = line
    return Fragments(tuple(merged.values()), base)


def final_values(final: str) -> dict[str, str]:
    """Symbol → value of a .config's text; symbols that are not set are absent."""
    return {match[1]: match[2] for line in final.splitlines() if (match := _SET.match(line))}


def _unfit(value: str) -> tuple[int, str] | None:
    """Where in a value (from 0) stands what it may not hold, and the message; None for a value that is fit.

    Kconfig writes it into auto.conf, which make reads as a Makefile, and into commands of a shell.
    """
    place, found = unsafe(value.strip('"'))
    if value.startswith('"') and found:
        return place + 1, f"{found!r} in a value could become a command on this host"
    if not _VALUE.fullmatch(value):
        return 0, f"{value[:40]!r} is no value: y, m, n, a number or a text in double quotes"
    return None


def _symbol(text: str) -> str:
    match = _SET.match(text) or _UNSET.match(text)
    return match[1] if match else ""


def _holds(wished: str, final: str) -> bool:
    # Without CONFIG_MODULES Kconfig builds in what was wanted as a module: the driver is there.
    return wished == final or (wished == "m" and final == "y")
