# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of a trace as lines of the source, by the ``decode_stacktrace.sh`` of the tree that the kernel came from.

The script hands names from the log to awk and to the shell's arithmetic, and a log may hold anything. So it never sees
a line of the log: it gets symbols that are nothing but a symbol, and what it answers is put back in their place.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bisector.errors import BisectorError, InfraError
from bisector.model import Candidate, TargetKind
from bisector.report.facts import Facts, Side
from bisector.search.gitrepo import History
from bisector.system.proc import Processes
from bisector.system.sandbox import Access
from bisector.target import debug_info

SCRIPT = "scripts/decode_stacktrace.sh"
TIMEOUT = 300.0  # seconds; nm and addr2line read a vmlinux of half a gigabyte for each symbol
SYMBOLS = 60  # of one excerpt

_SYMBOL = re.compile(
    r"(?<![\w.+])(?P<name>[A-Za-z_][\w.]*)\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}(?![\w+])(?: \[(?P<module>\w+)[^\]]*\])?"
)
_ANSWER = re.compile(r"(?P<name>[\w.]+) \((?P<lines>[^()\s]+:\d+(?: [^()\s]+:\d+| \(discriminator \d+\))*)\)(?: \w+)?")


def decoded(facts: Facts, history: History | None, processes: Processes) -> Facts:
    """The facts with the bad side's excerpt decoded; ``undecoded`` says why it could not be where it holds a trace."""
    side = facts.bad
    found = _symbols(side.excerpt.lines) if side else ()
    if side is None or not found:
        return facts
    try:
        answers = _answers(found, side, history, processes)
    except (BisectorError, OSError) as error:
        why = error.what if isinstance(error, BisectorError) else str(error.strerror or error)
        return replace(facts, undecoded=why)
    lines = tuple(_SYMBOL.sub(lambda match: answers.get(_asked(match), match[0]), line) for line in side.excerpt.lines)
    return replace(facts, bad=replace(side, excerpt=replace(side.excerpt, lines=lines)))


def _symbols(lines: Sequence[str]) -> tuple[str, ...]:
    """The symbols of a trace as the script takes them, each once."""
    found = (_asked(match) for line in lines for match in _SYMBOL.finditer(line))
    return tuple(dict.fromkeys(found))[:SYMBOLS]


def _asked(match: re.Match[str]) -> str:
    symbol = match[0].partition(" ")[0]
    return f"{symbol} [{match['module']}]" if match["module"] else symbol


def _answers(found: Sequence[str], side: Side, history: History | None, processes: Processes) -> dict[str, str]:
    """Symbol → what stands for it. Raises InfraError, with the reason as people read it."""
    if side.image is None:
        raise InfraError("the kernel's image is not known")
    vmlinux, why = debug_info.of_image(side.image, side.judgement.candidate)
    if vmlinux is None:
        raise InfraError(why)
    with tempfile.TemporaryDirectory(prefix="bisector-decode-") as folder:
        script = _script(side.judgement.candidate, history, Path(folder))
        argv = ["bash", str(script), str(vmlinux), "auto", *([side.image.modules] if side.image.modules else [])]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": folder, "LC_ALL": "C.UTF-8"}
        text = "".join(f"{symbol}\n" for symbol in found)
        seen = (vmlinux, script, *(Path(side.image.modules),) * bool(side.image.modules))
        access = Access((Path(folder),), seen)
        done = processes.run(argv, access=access, cwd=Path(folder), env=environment, stdin=text, timeout=TIMEOUT)
        lines = done.stdout.splitlines()
    if len(lines) != len(found):
        raise InfraError(f"{SCRIPT} gave {len(lines)} lines for {len(found)} symbols")
    answers = {symbol: _placed(symbol, line) for symbol, line in zip(found, lines, strict=True)}
    if all(symbol == answer for symbol, answer in answers.items()):
        raise InfraError(f"{SCRIPT} found none of its symbols")
    return answers


def _placed(symbol: str, line: str) -> str:
    """``func (file.c:12) [module]``; the symbol as it was where the script knows nothing better."""
    match = _ANSWER.fullmatch(line.strip())
    name, _, module = symbol.partition(" ")
    if not match or match["name"] != name.partition("+")[0]:
        return symbol
    return f"{match['name']} ({match['lines']})" + (f" {module}" if module else "")


def _script(candidate: Candidate, history: History | None, folder: Path) -> Path:
    """The script of the candidate's own tree: from the repository, else beside the build that was given."""
    if history and candidate.target is TargetKind.KERNEL_SOURCE:
        text = history.query("cat_file", "blob", f"{candidate.revision}:{SCRIPT}")
        place = folder / Path(SCRIPT).name
        place.write_text(text + "\n", errors="surrogateescape", encoding="utf-8")
        return place
    if candidate.target is TargetKind.GIVEN:
        given = Path(candidate.revision)
        for build in (given, *given.parents[:4]):
            for place in (build / "source" / SCRIPT, build / SCRIPT):
                if place.is_file():
                    return place.resolve()
    raise InfraError(f"no tree with {SCRIPT} is at hand")
