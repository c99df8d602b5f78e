# SPDX-License-Identifier: GPL-2.0-only
"""What a report of a failure says that a recipe needs: pure parsers, each of which says where a value came from.

A parser is a row of ``PARSERS``: a pattern over one line, what the line says, and how sure that is. Where several
lines tell the same, the surer one counts, and of those the first one. Nothing is looked up and nothing is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bisector.recipe.starter import STORAGE, FailureDescription, kind_of

LINES = 20_000  # of a report that are read
LONGEST = 1_000  # characters of a line that are looked at
QUOTE = 56  # characters of a line that a draft quotes: its comments fit 80 columns

TAG = r"v?\d{1,2}\.\d{1,3}(?:\.\d{1,4})?(?:-rc\d+)?"
_REV = rf"(?:{TAG}|[0-9a-f]{{12,40}}|next-\d{{8}})"
_STAMP = re.compile(r"^(?:\w{3} +\d+ [\d:]{8} \S+ |\d{4}-\d\d-\d\dT\S+ \S+ )?(?:kernel: ?)?(?:\[ *\d+\.\d+\] ?)*")
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
    """

    field: str
    value: str
    line: int
    quote: str
    sure: bool


@dataclass(frozen=True)
class Parser:
    """One kind of line. ``read`` makes (field, value) pairs of a match."""

    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], Iterator[tuple[str, str]]]
    sure: bool = True


def _row(pattern: str, *fields: str, sure: bool = True, **fixed: str) -> Parser:
    """The groups of ``pattern`` are the values of ``fields``, in order; ``fixed`` holds what any match means."""

    def read(match: re.Match[str]) -> Iterator[tuple[str, str]]:
        yield from fixed.items()
        for field, value in zip(fields, match.groups(), strict=False):
            if value:
                yield field, _tag(value) if field in ("good", "bad") else value

    return Parser(re.compile(pattern), read, sure)


def _tag(value: str) -> str:
    """A version as the kernel's tags have it; a commit as it is."""
    return f"v{value}" if re.fullmatch(r"\d{1,2}\.\d.*", value) else value


def _storage(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    kind, level = ("md" if "mdadm" in match[0] else "lvm"), match[1].lower()
    level = f"raid{level}" if level.isdigit() else level
    if f"{kind}-{level}" in STORAGE:
        yield "storage", f"{kind}-{level}"
    else:
        yield "unknown", f"{'md' if kind == 'md' else 'lvm'}: {level}"


def _sign(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    yield "console", generalized(match[0])


PARSERS: tuple[Parser, ...] = (
    # the ends and the culprit
    _row(rf"^git bisect good ({_REV})\b", "good"),
    _row(rf"^git bisect bad ({_REV})\b", "bad"),
    _row(rf"#regzbot \^?introduced: ({_REV})\.\.({_REV})(?=\s|$)", "good", "bad"),
    _row(r"#regzbot \^?introduced: ([0-9a-f]{12,40})(?![.0-9a-f])", "culprit"),
    _row(r"\b([0-9a-f]{12,40}) is the first bad commit", "culprit"),
    _row(r"\b[Bb]isect(?:ed|ion)?\b.{0,40}?\b(?:to|points? (?:to|at))(?: commit)? ([0-9a-f]{12,40})\b", "culprit"),
    _row(r"^Fixes: ([0-9a-f]{12,40}) \(", "culprit", sure=False),
    _row(rf"\b[Bb]isect\w*\b.{{0,30}}?\b({TAG})\.\.({TAG})", "good", "bad"),
    _row(rf"\b({TAG})\.\.({TAG})\b", "good", "bad", sure=False),
    _row(rf"(?i)\b(?:works?|worked|fine|good|ok)\b[^.]{{0,25}}? (?:in|on|with|is|at) (?:linux |kernel )?({TAG})\b",
         "good", sure=False),
    _row(rf"(?i)\b({TAG}) (?:is|was|works?|worked)(?: still)? (?:fine|good|ok|well)\b", "good", sure=False),
    _row(rf"(?i)\b(?:since|broken in|broke in|regression in|fails? (?:in|on|with)|starting with|on) "
         rf"(?:linux |kernel )?({TAG})\b", "bad", sure=False),
    _row(rf"(?i)^(?:subject: )?(?:\[[^]]*\] ?)*({TAG}): ", "bad", sure=False),
    # the storage
    Parser(re.compile(r"--type[ =](striped|raid\d+|mirror|linear|thin|cache)\b"), _storage),
    Parser(re.compile(r"\bmdadm\b.*?(?:--level[ =]?|-l ?)(raid\d+|\d+|linear)\b"), _storage),
    _row(r"^md\d+ : active (?:\S+ )?raid1\b", storage="md-raid1"),
    _row(r"^md\d+ : active (?:\S+ )?raid5\b", storage="md-raid5"),
    _row(r"^md\d+ : active (?:\S+ )?raid6\b", storage="md-raid6"),
    _row(r"^md\d+ : active (?:\S+ )?raid10\b", storage="md-raid10"),
    _row(r"\bmd/raid1:mdX\b", storage="lvm-raid1", sure=False),  # the name that dm-raid gives its array
    _row(r"\bmd/raid10:mdX\b", storage="lvm-raid10", sure=False),
    _row(r"\bmd/raid1:md\d", storage="md-raid1", sure=False),
    _row(r"\bmd/raid10:md\d", storage="md-raid10", sure=False),
    _row(r"\bdevice-mapper: raid1: ", storage="lvm-mirror", sure=False),  # what drivers/md/dm-raid1.c says of itself
    _row(r"\bqemu-img create\b.*\s-f ?(qcow2|raw)\b", "storage"),
    _row(r"\b(?:format|driver)=(qcow2)\b", "storage"),
    _row(r"\btype='(qcow2)'", "storage"),
    _row(r"\bmkfs[.](ext4|xfs)\b", "storage"),
    _row(r"\bEXT4-fs \(", storage="ext4", sure=False),
    _row(r"\bXFS \(", storage="xfs", sure=False),
    _row(r"\bqcow2\b", storage="qcow2", sure=False),
    # the workload
    _row(r"\bvirsh start\b|\bqemu-system-\w+\b", workload="guest", sure=False),
    _row(r"\bcache='none'|\bcache(?:\.direct)?=(?:none|on)\b", workload="guest", sure=False),
    _row(r"\bqemu-io\b|\bqemu-img (?:check|map|convert|measure|commit)\b", tested="qemu", sure=False),
    # what the failure looks like; a crash is a fact of its own kind, and left to the person
    Parser(re.compile(r"\bmd/raid\d+:\S+: .*(?:Failing raid device|Disk failure on).*"), _sign),
    Parser(re.compile(r"\bmd/raid\d+:\S+: .*rescheduling sector.*"), _sign, sure=False),
    Parser(re.compile(r"\bXFS \(\S+\): (?:Corruption detected|metadata I/O error|Internal error).*"), _sign),
    Parser(re.compile(r"\bEXT4-fs error \(device \S+\).*"), _sign),
    Parser(re.compile(r"\b(?:critical (?:medium|target)|I/O|operation not supported) error,? dev \S+.*"), _sign),
    Parser(re.compile(r"\bBuffer I/O error on dev \S+.*"), _sign),
    _row(r"\b((?:kernel BUG at|BUG: |Oops: |general protection fault|divide error).{0,60})", "crash"),
    _row(r"\b(INFO: task \S+ blocked for more than \d+ seconds)", "crash"),
)  # fmt: skip


def generalized(line: str) -> str:
    """A regular expression for the line whatever device, sector and count it names.

    >>> generalized("md/raid1:mdX: Disk failure on dm-58, disabling device.")
    'md/raid1:\\\\S+ Disk failure on \\\\S+ disabling device'
    """
    words = []
    for word in line.split()[:8]:
        varies = re.search(r"\d{2,}|0x|^\(|^\d+[:,.]?$|^[a-z]+\d+n?\d*[:,.]?$|mdX", word)
        stem = re.match(r"[A-Za-z/]+\d?:(?=\S)", word)
        words.append((re.escape(stem[0]) if stem else "") + r"\S+" if varies else re.escape(word).replace("\\-", "-"))
    while len(words) > 1 and words[-1] == r"\S+":
        words.pop()
    return " ".join(words).removesuffix(r"\.")


def findings(text: str) -> tuple[ReportedValue, ...]:
    """What the report says: one value a field, from the surest line or the first, in the order of the fields."""
    every: dict[str, ReportedValue] = {}
    for number, raw in enumerate(text.splitlines()[:LINES], 1):
        line = _STAMP.sub("", _MAIL_QUOTE.sub("", " ".join(raw[:LONGEST].split())), count=1)
        for parser in PARSERS:
            if match := parser.pattern.search(line):
                for field, value in parser.read(match):
                    found = ReportedValue(field, value, number, _quote(line), parser.sure)
                    if field not in every or (found.sure and not every[field].sure):
                        every[field] = found
    _make_fit(every)
    return tuple(sorted(every.values(), key=lambda found: ORDER.index(found.field)))


ORDER = ("title", "tested", "good", "bad", "culprit", "storage", "unknown", "workload", "console", "crash")


def _make_fit(every: dict[str, ReportedValue]) -> None:
    """Drop what no recipe can have together with what is surer."""
    good, bad = every.get("good"), every.get("bad")
    if good and bad and good.value == bad.value:
        del every["bad" if good.line == bad.line or (good.sure and not bad.sure) else "good"]
    kind = kind_of(every["storage"].value) if "storage" in every else None
    if "tested" in every and ({"console", "crash"} & set(every) or (kind and not kind.without_vm)):
        del every["tested"]  # there is a kernel's log: QEMU is a bystander
    if "tested" in every or kind is None or kind.mounted:
        every.pop("workload", None)


def wishes_from(found: Sequence[ReportedValue], wishes: FailureDescription) -> FailureDescription:
    """``wishes`` with what was found, where they hold their default: what a person says counts more."""
    default = FailureDescription(wishes.name)
    values = {one.field: one.value for one in found if hasattr(wishes, one.field)}
    unsaid = {field: value for field, value in values.items() if getattr(wishes, field) == getattr(default, field)}
    return replace(wishes, **unsaid)  # type: ignore[arg-type]


def notes(found: Sequence[ReportedValue], source: str) -> tuple[str, ...]:
    """Comment lines for the head of a draft: what was found or guessed and where, and what a person has to say.

    Args:
        found: of ``findings``.
        source: name of the report, as the person gave it.
    """
    lines = [f"# Drafted from {source}. Check each line that says guessed or needed."]
    for one in found:
        what = "found" if one.sure else "guessed"
        lines += [f"#   {what:7}  {_words(one)}", f'#            line {one.line}: "{one.quote}"']
    lines += [f"#   needed   {line}" for line in _needed({one.field for one in found})]
    return (*lines, "#")


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
        case _:
            return f"{found.field}: {found.value}"


def _needed(fields: set[str]) -> Iterator[str]:
    if not {"good", "culprit"} & fields:
        yield "good: a revision on which it does not happen"
    if not {"bad", "culprit"} & fields:
        yield "bad: a revision on which it happens"
    if "storage" not in fields:
        yield "storage: what the workload stands on"
    if "workload" not in fields:
        yield "steps: what is done; a script of yours stands in"
    if not {"console", "crash"} & fields:
        yield "bad_when: how the failure shows"


def _quote(line: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in line).replace('"', "'")
    return text if len(text) <= QUOTE else text[: QUOTE - 3].rstrip() + "..."
