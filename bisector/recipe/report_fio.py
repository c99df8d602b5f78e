# SPDX-License-Identifier: GPL-2.0-only
"""A job of fio's in the text of a report: a command line, or a job file. Pure."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence

COMMAND = re.compile(r"(?:^|[\s$#;|])fio\s+-")
SECTION = re.compile(r"^\s*\[[^\]]{1,60}\]\s*$")
NAME = re.compile(r"[a-z][a-z0-9_]*")
OPTION = re.compile(rf"({NAME.pattern})\s*(?:=\s*(.+))?")
VALUE = re.compile(r"[!-&(-\[\]-~]+")  # what a shell and YAML take for itself: no blank, no "'", no backslash
KINDS = ("rw", "readwrite")
"""The option that each job has which does I/O."""

OF_THE_HOST = (
    *("name", "filename", "directory", "size", "runtime", "time_based", "ramp_time", "output", "output_format", "eta"),
    *("status_interval", "minimal", "section", "filename_format", "exec_prerun", "exec_postrun", "write_bw_log"),
    *("write_lat_log", "write_iops_log", "log_avg_msec", "cpus_allowed", "cpus_allowed_policy", "numa_cpu_nodes"),
    *("filesize", "nrfiles", "opendir", "hipri", "stonewall", "wait_for", "description", "thread"),
)
"""Options that say where and how long on the reporter's machine, or how it is shown; the recipe has its own."""

LONGEST = 1_000  # characters of a line that are looked at
TRIED = 200  # lines that may begin a job: taking each one's words costs its length, and that of those after it
MOST_JOBS = 4
"""Processes of one job, on the few processors of a VM."""


def job_in(lines: Sequence[str]) -> tuple[str, int, str] | None:
    """Options of the first job of a report, as NAME=VALUE with blanks between; its line's number, and the line."""
    lines = [line[:LONGEST] for line in lines]
    begin = (index for index, line in enumerate(lines) if COMMAND.search(line) or SECTION.match(line))
    for index in itertools.islice(begin, TRIED):
        line = lines[index]
        found = dict(_command(lines, index) if COMMAND.search(line) else _section(lines, index))
        if any(kind in found for kind in KINDS):
            return _usable(found), index + 1, " ".join(line.split())
    return None


def _command(lines: Sequence[str], index: int) -> Iterator[tuple[str, str]]:
    """Options of a command line, which a backslash continues on the next line."""
    text = ""
    for line in lines[index : index + 20]:
        text += re.sub(r"^(?:> ?)+", "", line)
        if not text.rstrip().endswith("\\"):
            break
        text = text.rstrip()[:-1] + " "
    try:
        words = shlex.split(text[COMMAND.search(text).start() :])  # type: ignore[union-attr]
    except (ValueError, AttributeError):  # an open quote
        return
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals:  # --bs 4k is as good
                value = following if following and not following.startswith("-") else "1"
            yield name.replace("-", "_"), value


def _section(lines: Sequence[str], index: int) -> Iterator[tuple[str, str]]:
    """Options of a job file from its first section on, [global] and the job behind it taken together."""
    sections = 1
    for line in lines[index + 1 : index + 60]:
        if SECTION.match(line):
            sections += 1
            if sections > 2 or "global" not in lines[index]:
                return
        elif found := OPTION.fullmatch(line.strip()):
            yield found[1], found[2] or "1"
        elif line.strip() and not line.lstrip().startswith(("#", ";")):
            return


def _usable(found: dict[str, str]) -> str:
    """What of a job can be taken over."""
    kept = {name: value for name, value in found.items() if name not in OF_THE_HOST and NAME.fullmatch(name)}
    kept = {name: value for name, value in kept.items() if VALUE.fullmatch(value)}
    if kept.get("numjobs", "1").isdecimal() and int(kept.get("numjobs", "1")) > 1:
        kept["numjobs"] = str(min(MOST_JOBS, int(kept["numjobs"])))
        kept["group_reporting"] = "1"  # so that there is one number
    return " ".join(f"{name}={value}" for name, value in kept.items())
