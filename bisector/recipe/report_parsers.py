# SPDX-License-Identifier: GPL-2.0-only
"""What one line of a report may say: a pattern, the values of a recipe that it means, and how sure that is. Pure.

A line of a log or a command says so (``sure``); a sentence only points to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bisector.recipe import patterns
from bisector.recipe.failure import STORAGE

TAG = r"v?\d{1,2}\.\d{1,3}(?:\.\d{1,4})?(?:-rc\d{1,2})?(?!\.?\d)"
LESS = r"(?:drop|regress|fell|slower|down|lower|worse|degrad|less)"
_REV = rf"(?:{TAG}|[0-9a-f]{{12,40}}|next-\d{{8}})"


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


def _array(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    if f"md-raid{match[1]}" in STORAGE:
        yield "storage", f"md-raid{match[1]}"


def _system(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    yield "storage", match[1].lower()


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
    _row(rf"(?i)\b(?:between|from) (?:\w+ ){{0,3}}({TAG})(?: \w+)? (?:and|to) (?:\w+ ){{0,3}}({TAG})\b",
         "good", "bad", sure=False),
    _row(rf"(?i)\b({TAG}) (?:hangs|fails|crashes|is (?:bad|broken|affected|not (?:fine|good|ok)))\b", "bad",
         sure=False, rank=1),
    _row(rf"(?i)\b(?:on|kernel(?: version)?:?|kernel release:?) (?:linux |kernel )?({TAG})\b", "bad",
         sure=False, rank=-1),
    _row(rf"(?i)^(?:subject: )?(?:re: |\[[^]]*\] ?)*({TAG}): ", "bad", sure=False),
    _row(rf"(?i)\b(?:up(?:graded|dated|dating|grading)|moved|switched)\b[^.]{{0,80}}? to (?:the )?(?:linux |kernel )?"
         rf"({TAG})\b", "bad", sure=False),
    _row(rf"(?i)\b(?:down(?:graded|grading)|back|revert(?:ed|ing)) to (?:the )?(?:linux |kernel )?({TAG})\b",
         "good", sure=False, rank=1),
    _row(rf"(?i)\b(?:not|never|n't|cannot|no longer)\b[^.]{{0,25}}? (?:in|on|with|under) (?:linux |kernel )?({TAG})\b",
         "good", sure=False),
    _row(rf"(?i)\b({TAG})(?:-\S+)? kernels?\b", "bad", sure=False, rank=-2),
    # the storage
    Parser(re.compile(r"--type[ =](striped|raid\d+|mirror|linear|thin(?:-pool)?|cache(?:-pool)?|writecache)(?![\w-])"),
           _storage),
    _row(r"\blvcreate\b.* (?:-s|--snapshot)\b", storage="lvm-snapshot"),
    Parser(re.compile(r"\bmdadm\b.*?(?:--level[ =]?|-l ?)(raid\d+|\d+|linear)\b"), _storage),
    _row(r"^md\d+ : active (?:\S+ )?raid1\b", storage="md-raid1"),
    _row(r"^md\d+ : active (?:\S+ )?raid5\b", storage="md-raid5"),
    _row(r"^md\d+ : active (?:\S+ )?raid6\b", storage="md-raid6"),
    _row(r"^md\d+ : active (?:\S+ )?raid10\b", storage="md-raid10"),
    _row(r"\bblocks\b.* \[([2-8])/\d\] \[[U_]+\]", "disks"),
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
    Parser(re.compile(r"\bmd\d+_raid(1|5|6|10)\b"), _array, sure=False),  # the array's thread
    Parser(re.compile(r"(?i)\b(?:md|mdadm|software)[ -]?raid[ -]?(0|1|5|6|10)\b"), _array, sure=False),
    Parser(re.compile(r"(?i)(?<![\w/.-])raid[ -]?(0|1|5|6|10)\b"), _array, sure=False, rank=-1),
    Parser(re.compile(r"(?i)\b(ext4|xfs|btrfs|f2fs) (?:file ?system|volume|partition)s?\b"), _system, sure=False,
           rank=-2),
    _row(r"/dev/(?:nvme\d+n\d+|sd[a-z]+|vd[a-z]+|disk/by-\S+)\b", storage="disk", sure=False, rank=-3),
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
    _row(r"\bINFO: task \S+ blocked for more than \d+ seconds", hangs="true"),
    _row(r"\b(?:soft lockup - CPU|self-detected stall|rcu_\w+ detected stalls)", hangs="true"),
    _row(r"(?i)\b(?:hangs?|hung|hanging|dead-?lock(?:s|ed)?|unresponsive|uninterruptible|blocked for more than"
         r"|(?:never|(?:do|does|did)(?: not|n't)) (?:returns?|ends?|finish\w*|completes?|comes? back)"
         r"|(?:gets?|is|are|was|were|be) stuck|hard reset|reset button)\b",
         sure=False, hangs="true"),
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
