# SPDX-License-Identifier: GPL-2.0-only
"""What a report of a failure says that a recipe needs, and where it says so. Pure.

Where several lines tell the same, the surer one counts, of those the one that says more (``rank``), and of those the
first one. Nothing is looked up and nothing is run.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bisector.errors import UsageError
from bisector.printable import printable_line
from bisector.recipe import report_fio, report_lsblk
from bisector.recipe.failure import BOOTED, TIMED, FailureDescription, kind_of, refuse_what_does_not_fit
from bisector.recipe.report_parsers import PARSERS

LINES = 20_000  # of a report that are read
TEXT = 2 << 20  # characters of a report that are read: the patterns take 10 s for so many, in long lines
LONGEST = 1_000  # characters of a line that are looked at
TURN = 40  # characters at a line's end that may begin what the next line ends
QUOTE = 56  # characters of a line that a draft quotes: its comments fit 80 columns

_STAMP = re.compile(r"^(?:\w{3} +\d+ [\d:]{8} \S+ |\d{4}-\d\d-\d\dT\S+ \S+ )?(?:kernel: ?)?(?:\[ *\d+\.\d+\] ?)*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # of a terminal whose output somebody copied
_MAIL_QUOTE = re.compile(r"^(?:> ?)+")


@dataclass(frozen=True)
class ReportedValue:
    """One value of a recipe as a line of the report has it.

    Args:
        field: of ``FailureDescription``, or ``culprit``: a commit that the report names.
        value: as the recipe takes it.
        line: number of the line, from 1.
        quote: the line, shortened.
        sure: the line says so; False: it only points to it.
        rank: how much it says, beside others of the same field that are as sure.
    """

    field: str
    value: str
    line: int
    quote: str
    sure: bool
    rank: int = 0

    @property
    def weight(self) -> tuple[bool, int]:
        """The larger one of two values counts."""
        return self.sure, self.rank


def _plain(line: str) -> str:
    """A line without what stands before it in a mail or a log."""
    return _STAMP.sub("", _MAIL_QUOTE.sub("", " ".join(_COLOUR.sub("", line[:LONGEST]).split())), count=1)


def _goes_on(lines: Sequence[str], number: int) -> bool:
    """Whether a sentence goes on in the next line."""
    if number == 0 or number + 1 >= len(lines) or not lines[number] or not lines[number + 1]:
        return False
    return lines[number][-1].isalnum() and lines[number + 1][0].isalnum() and len(lines[number]) > TURN


def findings(text: str, title: str = "") -> tuple[ReportedValue, ...]:
    """What the report says: one value a field, from the surest line or the first, in the order of the fields.

    ``title``: of a mail; it counts as line 0.
    """
    every: dict[str, ReportedValue] = {}
    systems: dict[str, ReportedValue] = {}
    lines = [_plain(raw) for raw in (title, *text.splitlines()[:LINES])]
    for number, line in enumerate(lines):
        whole = f"{line} {lines[number + 1]}" if _goes_on(lines, number) else line
        for parser in PARSERS:
            match = parser.pattern.search(line) or (
                parser.pattern.search(whole, len(line) - TURN) if whole != line else None
            )
            if match and match.start() < len(line):
                for field, value in parser.read(match):
                    found = ReportedValue(field, value, number, _quote(line), parser.sure, parser.rank)
                    system = field == "storage" and (kind := kind_of(value)) and kind.mounted
                    for taken in (every, systems) if system else (every,):
                        if field not in taken or found.weight > taken[field].weight:
                            taken[field] = found
    if job := report_fio.job_in(text.splitlines()[:LINES]):
        options, number, line = job
        every["fio"] = ReportedValue("fio", options, number, _quote(line), True)
        every["workload"] = ReportedValue("workload", "fio", number, _quote(line), True)
    _take_stack(every, systems, text.splitlines()[:LINES])
    _make_fit(every)
    return tuple(sorted(every.values(), key=lambda found: ORDER.index(found.field)))


TYPES: dict[str, Callable[[str], object]] = {
    "slower": int,
    "zoned": bool,
    "udev": bool,
    "together": bool,
    "hangs": bool,
    "below": lambda names: tuple(names.split(",")),
    "disks": int,
}
ORDER = (
    *("title", "tested", "good", "bad", "culprit", "storage", "below", "disks", "disk", "unknown", "zoned", "udev"),
    *("workload", "fio", "together", "slower", "hangs", "console", "crash"),
)


def _take_stack(every: dict[str, ReportedValue], systems: Mapping[str, ReportedValue], lines: Sequence[str]) -> None:
    """The layers of a listing of block devices, with the file system on them if the report names one."""
    said = every.get("storage")
    kind = kind_of(said.value) if said else None
    stack = report_lsblk.stack_in(lines, said.value if said else "")
    if stack is None or (kind and kind.holds_bytes):
        return
    if said and said.sure and said.value not in (*stack.layers, "disk") and not (kind and kind.mounted):
        return  # another stack of that machine

    def found(field: str, value: str) -> ReportedValue:
        return ReportedValue(field, value, stack.line, _quote(stack.text), True)

    layers = stack.layers
    if stack.mounted and systems:
        every["storage"] = systems["storage"]
    else:
        every["storage"], layers = found("storage", layers[0]), layers[1:]
    if layers:
        every["below"] = found("below", ",".join(layers))
    if stack.disks > 1:
        every["disks"] = found("disks", str(stack.disks))
    if stack.disk:
        every["disk"] = found("disk", stack.disk)


LEAST_NEEDED = (
    *("disks", "disk", "together", "zoned", "slower", "udev", "below", "workload", "fio", "storage", "tested"),
)
"""Fields that go where they do not fit with others, the first ones first."""


def _make_fit(every: dict[str, ReportedValue]) -> None:
    """Drop what no recipe can have together with what is surer."""
    if "tested" not in every:  # the kernel's first release of a series is v6.16, QEMU's v10.1.0
        for end in ("good", "bad"):
            if end in every and re.fullmatch(r"v\d+\.\d+\.0", every[end].value):
                every[end] = replace(every[end], value=every[end].value.removesuffix(".0"))
    good, bad = every.get("good"), every.get("bad")
    if good and bad and good.value == bad.value:
        del every["bad" if good.line == bad.line or (good.sure and not bad.sure) else "good"]
    kind, workload = (kind_of(every["storage"].value) if "storage" in every else None), every.get("workload")
    job = workload is not None and workload.value == "job"
    if "tested" in every and ({"console", "crash"} & set(every) or (kind and not kind.without_vm and not job)):
        del every["tested"]  # there is a kernel's log: QEMU is a bystander
    if workload and kind is None and workload.value not in ("open", "guest"):
        value = "raw" if job and "tested" in every else "disk"
        every["storage"] = replace(workload, field="storage", value=value, sure=False)
    fields = [field for field in LEAST_NEEDED if field in every]
    for without in ((), *((field,) for field in fields), *(fields[: end + 1] for end in range(len(fields)))):
        left = {field: value for field, value in every.items() if field not in without}
        try:
            refuse_what_does_not_fit(wishes_from(tuple(left.values()), FailureDescription("draft")))
        except UsageError:
            continue
        for field in without:
            del every[field]
        return


def wishes_from(found: Sequence[ReportedValue], wishes: FailureDescription) -> FailureDescription:
    """``wishes`` with what was found, where they hold their default: what a person says counts more."""
    default = FailureDescription(wishes.name)
    values = {one.field: TYPES.get(one.field, str)(one.value) for one in found if hasattr(wishes, one.field)}
    unsaid = {field: value for field, value in values.items() if getattr(wishes, field) == getattr(default, field)}
    made = replace(wishes, **unsaid)  # type: ignore[arg-type]
    made = made if made.workload == "fio" else replace(made, fio=wishes.fio)
    made = made if made.workload in TIMED else replace(made, slower=wishes.slower)
    try:
        refuse_what_does_not_fit(made)
    except UsageError:  # a person's workload or storage may leave no place for it
        return replace(made, together=wishes.together)
    return made


def notes(found: Sequence[ReportedValue], source: str, needed: Sequence[str] = ()) -> tuple[str, ...]:
    """Comment lines for the head of a draft: what was found or guessed and where, and what a person has to say.

    Args:
        found: of ``findings``.
        source: what was read, as the person names it.
        needed: what else the person has to do, a line each.
    """
    lines = [f"# Drafted from {printable_line(source)}.", "# Check each line that says guessed or needed."]
    for one in found:
        what = "found" if one.sure else "guessed"
        lines += [
            f"#   {what:7}  {_words(one)}",
            f'#            {f"line {one.line}" if one.line else "title"}: "{one.quote}"',
        ]
    lines += [f"#   needed   {line}" for line in (*_needed({one.field: one.value for one in found}), *needed)]
    return (*lines, "#")


def plain_line(text: str) -> str:
    """A text of the report on one line that can be printed; what nobody sees (a soft hyphen, say) is left out."""
    seen = (one if one.isprintable() else "" if unicodedata.category(one) == "Cf" else " " for one in text)
    return " ".join("".join(seen).split())


def _words(found: ReportedValue) -> str:
    match found.field:
        case "culprit":
            return f"commit {found.value[:12]}: test it and its parent first"
        case "unknown":
            return f"{found.value}: the grammar has no such layer"
        case "crash":
            return "a crash: name a function of its trace in oops: {vm: REGEX}"
        case "console":
            return "the console line of bad_when"
        case "slower":
            return f"{found.value} % slower than the good end, which a search measures"
        case "below":
            return f"on {found.value.replace(',', ' on ')}"
        case "zoned" | "udev":
            return f"{found.field}, as the report names it"
        case "together":
            return "together: I/O goes on beside the workload"
        case "hangs":
            return "hangs: a step that does not end is the failure"
        case "fio":
            short = textwrap.shorten(found.value, QUOTE, placeholder=" ...")
            return f"fio: {short}"
        case _:
            return f"{found.field}: {found.value}"


def _needed(fields: Mapping[str, str]) -> Iterator[str]:
    if not {"good", "culprit"} & set(fields):
        yield "good: a revision on which it does not happen"
    if not {"bad", "culprit"} & set(fields):
        yield "bad: a revision on which it happens"
    if "storage" not in fields:
        yield "storage: what the workload stands on"
    if "workload" not in fields:
        yield "steps: what is done; a script of yours stands in"
    shown = {"console", "crash", "slower", "hangs"} & set(fields)
    if not shown and fields.get("workload") not in (*BOOTED, "unplug", "job"):
        yield "bad_when: how the failure shows"


def _quote(line: str) -> str:
    text = plain_line(line).replace('"', "'")
    return text if len(text) <= QUOTE else text[: QUOTE - 3].rstrip() + "..."
