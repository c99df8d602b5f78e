# SPDX-License-Identifier: GPL-2.0-only
"""What a report of a failure says that a recipe needs: pure parsers, each of which says where a value came from.

A parser is a row of ``PARSERS``: a pattern over one line, what the line says, and how sure that is. Where several
lines tell the same, the surer one counts, of those the one that says more (``rank``), and of those the first one.
Nothing is looked up and nothing is run.
"""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bisector.errors import UsageError
from bisector.printable import printable_line
from bisector.recipe import patterns, report_fio
from bisector.recipe.failure import BOOTED, STORAGE, TIMED, FailureDescription, kind_of, refuse_what_does_not_fit

LINES = 20_000  # of a report that are read
TEXT = 2 << 20  # characters of a report that are read: the patterns take 10 s for so many, in long lines
LONGEST = 1_000  # characters of a line that are looked at
TURN = 40  # characters at a line's end that may begin what the next line ends
QUOTE = 56  # characters of a line that a draft quotes: its comments fit 80 columns

TAG = r"v?\d{1,2}\.\d{1,3}(?:\.\d{1,4})?(?:-rc\d{1,2})?(?!\.?\d)"
LESS = r"(?:drop|regress|fell|slower|down|lower|worse|degrad|less)"
_REV = rf"(?:{TAG}|[0-9a-f]{{12,40}}|next-\d{{8}})"
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


@dataclass(frozen=True)
class Parser:
    """One kind of line. ``read`` makes (field, value) pairs of a match."""

    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], Iterator[tuple[str, str]]]
    sure: bool = True
    rank: int = 0


def _row(pattern: str, *fields: str, sure: bool = True, rank: int = 0, **fixed: str) -> Parser:
    """The groups of ``pattern`` are the values of ``fields``, in order; ``fixed`` holds what any match means."""

    def read(match: re.Match[str]) -> Iterator[tuple[str, str]]:
        yield from fixed.items()
        for field, value in zip(fields, match.groups(), strict=False):
            if value:
                yield field, _tag(value) if field in ("good", "bad") else value

    return Parser(re.compile(pattern), read, sure, rank)


def _said(pattern: str, **fixed: str) -> Parser:
    """Words of a sentence that say more than that a program is named."""
    return _row(rf"(?i){pattern}", sure=False, rank=1, **fixed)


def _tag(value: str) -> str:
    """A version as the kernel's tags have it; a commit as it is."""
    return f"v{value}" if re.fullmatch(r"\d{1,2}\.\d.*", value) else value


def _storage(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    kind, level = ("md" if "mdadm" in match[0] else "lvm"), match[1].lower()
    level = f"raid{level}" if level.isdecimal() else level
    level = {"thin-pool": "thin", "cache-pool": "cache"}.get(level, level)
    if f"{kind}-{level}" in STORAGE:
        yield "storage", f"{kind}-{level}"
    else:
        yield "unknown", f"{'md' if kind == 'md' else 'lvm'}: {level}"


def _slower(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    percent = float(match[1])
    if 1 <= percent <= 99:
        yield "slower", str(round(percent))


def _fell(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    """From so much to so much, in thousands (k) or not."""
    before, after = (float(match[at]) * (1000 if match[at + 1] else 1) for at in (1, 3))
    if 0 < after < before < math.inf:
        yield "slower", str(max(1, min(99, round(100 * (1 - after / before)))))


def _sign(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    expression = generalized(match[0])
    if expression.isprintable() and not patterns.fault(expression):
        yield "console", expression


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
    _row(rf"(?i)\b(?:since|broken in|broke in|regression in|fails? (?:in|on|with)|starting with) "
         rf"(?:linux |kernel )?({TAG})\b", "bad", sure=False, rank=1),
    _row(rf"(?i)\b({TAG}) (?:and|or) (?:later|newer|up)\b", "bad", sure=False, rank=1),
    _row(rf"(?i)\b(?:between|from) (?:\w+ )?({TAG})(?: \w+)? (?:and|to) (?:\w+ )?({TAG})\b", "good", "bad", sure=False),
    _row(rf"(?i)\b({TAG}) (?:hangs|fails|crashes|is (?:bad|broken|affected|not (?:fine|good|ok)))\b", "bad",
         sure=False, rank=1),
    _row(rf"(?i)\b(?:on|kernel(?: version)?:?|kernel release:?) (?:linux |kernel )?({TAG})\b", "bad",
         sure=False, rank=-1),
    _row(rf"(?i)^(?:subject: )?(?:\[[^]]*\] ?)*({TAG}): ", "bad", sure=False),
    # the storage
    Parser(re.compile(r"--type[ =](striped|raid\d+|mirror|linear|thin(?:-pool)?|cache(?:-pool)?|writecache)(?![\w-])"),
           _storage),
    _row(r"\blvcreate\b.* (?:-s|--snapshot)\b", storage="lvm-snapshot"),
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
    _row(r"\bmkfs[.](ext4|xfs|btrfs|f2fs|vfat)\b", "storage"),
    _row(r"\bcryptsetup (?:luksFormat|open|luksOpen|reencrypt)\b", storage="dm-crypt"),
    _row(r"\bintegritysetup (?:format|open)\b", storage="dm-integrity"),
    _row(r"\bEXT4-fs \(", storage="ext4", sure=False),
    _row(r"\bBTRFS (?:error|warning|info|critical)\b", storage="btrfs", sure=False),
    _row(r"\bF2FS-fs\b", storage="f2fs", sure=False),
    _row(r"\bdevice-mapper: crypt\b|\bdm[-_]crypt\b", storage="dm-crypt", sure=False),
    _row(r"\bdevice-mapper: integrity\b|\bdm[-_]integrity\b", storage="dm-integrity", sure=False),
    _row(r"\bdevice-mapper: thin\b|\bthin pool\b", storage="lvm-thin", sure=False),
    _row(r"\bdevice-mapper: cache\b|\bdm[-_]cache\b", storage="lvm-cache", sure=False),
    _row(r"\bdm[-_]writecache\b", storage="lvm-writecache", sure=False),
    _row(r"/dev/(?:nvme\d+n\d+|sd[a-z]+|vd[a-z]+|disk/by-\S+)\b", storage="disk", sure=False, rank=-1),
    _row(r"\bXFS \(", storage="xfs", sure=False),
    _row(r"\bqcow2\b", storage="qcow2", sure=False),
    # the workload
    _row(r"\bvirsh start\b|\bqemu-system-\w+\b", workload="guest", sure=False),
    _row(r"\bcache='none'|\bcache(?:\.direct)?=(?:none|on)\b", workload="guest", sure=False),
    _said(r"\b(?:power (?:failure|cut|loss|outage)|pulled the (?:plug|power)|unclean shutdown|lost power)\b",
          workload="power-cut"),
    _said(r"\b(?:after|upon|on|following) (?:a |an |the |each |every |next )?(?:clean |warm )?reboot(?:ing)?\b",
          workload="reboot"),
    _said(r"\b(?:hot-?(?:un)?plug(?:ged|ging)?|surprise remov\w+|hot-?remov\w+)\b|/sys/\S+/(?:delete|remove)\b",
          workload="unplug"),
    _row(r"[\"']execute[\"']: *[\"'](?:drive|blockdev|block)-(?:mirror|backup|commit|stream)[\"']"
         r"|\bvirsh (?:blockcopy|blockcommit|blockpull|backup-begin)\b", workload="job", tested="qemu"),
    _said(r"\b(?:drive|blockdev)-(?:mirror|backup)\b", workload="job"),
    _said(r"\bfio\b", workload="fio"),
    _row(r"(?i)\b(?:throughput|iops|bandwidth|performance)\b.{0,40}\b(?:drop|regress|fell|fall|down|worse|degrad|lower)",
         sure=False, workload="fio"),
    _row(r"(?i)\b(?:drop|regress|degrad)\w*\b.{0,40}\b(?:throughput|iops|bandwidth|performance)\b",
         sure=False, workload="fio"),
    _row(r"(?i)\b(?:sequential|random) (?:reads?|writes?)\b", sure=False, workload="fio"),
    Parser(re.compile(rf"(?i)\b{LESS}\w*\b.{{0,40}}?(\d+(?:\.\d+)?) ?(?:%|per ?cent)"), _slower, sure=False),
    Parser(re.compile(rf"(?i)(\d+(?:\.\d+)?) ?(?:%|per ?cent).{{0,25}}?\b{LESS}"), _slower, sure=False),
    Parser(re.compile(r"(?i)\bfrom (?:about |~ ?)?(\d+(?:\.\d+)?) ?(k?)(?: ?iops| ?[MG]i?B/s)? to (?:about |~ ?)?"
                      r"(\d+(?:\.\d+)?) ?(k?) ?(?:iops|[MG]i?B/s)"), _fell, sure=False),
    # what else the VM has to have
    _row(r"(?i)\b(?:zoned|zone append|host-managed|blkzone|zns)\b", sure=False, zoned="true"),
    _row(r"\budevadm\b|\bsystemd-udevd\b|\budev rules?\b", sure=False, udev="true"),
    _row(r"(?i)\b(?:at the same time|concurrent(?:ly)?|in parallel|simultaneous(?:ly)?)\b", sure=False,
         together="true"),
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
                    if field not in every or found.weight > every[field].weight:
                        every[field] = found
    if job := report_fio.job_in(text.splitlines()[:LINES]):
        options, number, line = job
        every["fio"] = ReportedValue("fio", options, number, _quote(line), True)
        every["workload"] = ReportedValue("workload", "fio", number, _quote(line), True)
    _make_fit(every)
    return tuple(sorted(every.values(), key=lambda found: ORDER.index(found.field)))


TYPES: dict[str, Callable[[str], object]] = {
    "slower": int,
    "zoned": bool,
    "udev": bool,
    "together": bool,
}
ORDER = (
    *("title", "tested", "good", "bad", "culprit", "storage", "unknown", "zoned", "udev", "workload", "fio"),
    *("together", "slower", "console", "crash"),
)


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
    for field in ("", "together", "zoned", "slower", "udev", "workload", "fio", "storage", "tested"):
        every.pop(field, None)
        try:
            refuse_what_does_not_fit(wishes_from(tuple(every.values()), FailureDescription("draft")))
        except UsageError:
            continue
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
        case "zoned" | "udev":
            return f"{found.field}, as the report names it"
        case "together":
            return "together: I/O goes on beside the workload"
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
    shown = {"console", "crash", "slower"} & set(fields) or fields.get("workload") in (*BOOTED, "unplug", "job")
    if not shown:
        yield "bad_when: how the failure shows"


def _quote(line: str) -> str:
    text = plain_line(line).replace('"', "'")
    return text if len(text) <= QUOTE else text[: QUOTE - 3].rstrip() + "..."
