# SPDX-License-Identifier: GPL-2.0-only
"""What a person, or a report, says of a failure: the wishes that a first recipe is written from. Pure."""

from __future__ import annotations

import itertools
import re
import textwrap
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from bisector.errors import UsageError
from bisector.layers import table
from bisector.layers.row import Kind, Row
from bisector.recipe.values import FILE_NAME, MAX_FILE_NAME, revision, shown

Tested = Literal["kernel", "qemu"]
STORAGE: tuple[str, ...] = ("none", *table.first_names())
"""What a workload may stand on: nothing, a disk, a volume or an array by its type, a file system, a file."""
Workload = Literal["script", "read", "open", "guest", "fio", "reboot", "power-cut", "unplug", "job"]
TESTED: tuple[Tested, ...] = get_args(Tested)
WORKLOADS: tuple[Workload, ...] = get_args(Workload)
LAYER, COPY = "data", "copy"
BOOTED = ("reboot", "power-cut")
WRITING = ("fio", *BOOTED)
"""Workloads that write, on a file system too."""
TIMED = ("script", "read", "fio")
"""Workloads that give a number to compare with the good end's: seconds, and of fio its operations in a second."""
BESIDE = ("script", "fio", "unplug", "job")
"""Workloads that something else can go on beside."""
READ_ONLY = ("squashfs",)
DISKS = ("nvme", "scsi", "virtio-blk", "ahci")
"""Types of disks that a person names; others are written into the recipe by hand."""
MOST_DISKS = 8
COLUMNS = 79
OTHERS = "--workload open, guest or script"


@dataclass(frozen=True)
class FailureDescription:
    """What a person said of the failure.

    Args:
        name: of the recipe and of its file.
        tested: kernel, or QEMU's programs without a VM.
        storage: what the workload stands on; ``data`` is its name in the recipe.
        workload: an own script, direct reads, a QEMU that opens the storage, a Linux guest that reads from it, fio,
            blocks written before a reboot or a power cut and verified after it, a disk that is pulled out and put in
            again, a job of QEMU's block layer below a Linux guest.
        script: the own script, as a path beside the recipe.
        bad_exit: exit code by which the script says that it failed.
        console: regular expression of a line on the VM's console that is the failure, "" for none.
        good, bad: the ends of a search, "" when they are not known yet.
        title: one line.
        fio: options of a job of fio's, as NAME=VALUE with blanks between them.
        slower: how many per cent slower than the good end a bad one is, 0 where the failure is no number.
        zoned: whether the disks have zones.
        udev: whether a udevd lives in the VM.
        together: whether I/O goes on beside the workload.
        hangs: whether a step that does not end is the failure.
        below: what ``storage`` lies on, the uppermost first; the lowest lies on disks.
        disks: so many are members of the array; 0: as few as it needs.
        disk: their type, "" where it does not matter.
    """

    name: str
    tested: Tested = "kernel"
    storage: str = "none"
    workload: Workload = "script"
    script: str = ""
    bad_exit: int = 1
    console: str = ""
    good: str = ""
    bad: str = ""
    title: str = ""
    fio: str = ""
    slower: int = 0
    zoned: bool = False
    udev: bool = False
    together: bool = False
    hangs: bool = False
    below: tuple[str, ...] = ()
    disks: int = 0
    disk: str = ""

    @property
    def own_script(self) -> str:
        """The script as the recipe names it, "" when it runs none."""
        if self.workload != "script":
            return ""
        return self.script if self.script.startswith("./") else f"./{self.script or self.name + '.sh'}"

    @property
    def without_vm(self) -> bool:
        """Whether its steps run on this host: QEMU's programs by a script, or a job over files."""
        kind = kind_of(self.storage)
        return self.tested == "qemu" and (self.workload == "script" or bool(kind and kind.holds_bytes))


def kind_of(storage: str) -> Kind | None:
    """The kind of storage of a wish; None for none."""
    row = table.first_row(storage)
    return table.KINDS[row.kind] if row else None


def rows_of(wishes: FailureDescription) -> tuple[Row, ...]:
    """The types of all that it stands on, the uppermost first; () for nothing."""
    return tuple(row for name in (wishes.storage, *wishes.below) if (row := table.first_row(name)))


def members(row: Row, wishes: FailureDescription) -> int:
    """How many members a layer has in a first recipe: one with several has as many as disks are wished for."""
    return max(row.least, wishes.disks) if row.least > 1 else 1


def refuse_what_does_not_fit(wishes: FailureDescription) -> None:
    """Raises UsageError for wishes that no recipe can have together, with what to give instead."""
    workload = wishes.workload
    row, kind = table.first_row(wishes.storage), kind_of(wishes.storage)
    _refuse_words(wishes)
    _refuse_numbers(wishes)
    if wishes.tested == "qemu" and workload not in ("script", "job"):
        raise UsageError("QEMU is tried by a script, or by a job below a guest", hint="--workload script, or job")
    if wishes.without_vm:
        _refuse_vm(wishes, kind)
    elif workload != "script":
        _refuse_storage(wishes, row, kind)
    if wishes.zoned and (row is None or row.kind == "file" or workload in (*BOOTED, "unplug")):
        raise UsageError(
            "disks with zones are null_blk's: in the VM's memory, and no file lies on them",
            hint="--storage disk, f2fs, btrfs or dm-linear; --workload script, read or fio",
        )
    if wishes.together:
        _refuse_beside(wishes, row, kind)
    if wishes.below:
        _refuse_below(wishes)
    if wishes.disks or wishes.disk:
        _refuse_disks(wishes, row, kind)
    if workload == "script" and wishes.bad_exit == 0:
        raise UsageError("exit code 0 is how a script says that all is well", hint="--bad-exit 1")


def _refuse_words(wishes: FailureDescription) -> None:
    if not re.fullmatch(FILE_NAME, wishes.name) or len(wishes.name) > MAX_FILE_NAME or wishes.name.endswith(".lock"):
        raise UsageError(f"{shown(wishes.name)} is no name of a recipe", hint="small letters, digits, dots and dashes")
    for name, end in (("good", wishes.good), ("bad", wishes.bad)):
        try:
            end and revision(end)
        except ValueError as error:
            raise UsageError(f"--{name}: {error}", hint="a tag, a branch or a commit") from None
    if wishes.good and wishes.good == wishes.bad:
        raise UsageError(f"{wishes.good} cannot be good and bad", hint="leave one of them out for now")
    own = PurePosixPath(wishes.own_script)
    if wishes.script.startswith("/") or ".." in own.parts or (wishes.own_script and not own.name):
        raise UsageError(
            f"--script {shown(wishes.script)} is no file beside the recipe", hint="copy it there, and give its name"
        )
    if not wishes.title.isprintable():
        raise UsageError("a title is one line that can be printed", hint="write it with other characters")
    try:
        every_line = wishes.console and re.search(wishes.console, "")
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"--console {shown(wishes.console)} does not compile: {error}") from None
    if every_line:
        raise UsageError(
            f"--console {shown(wishes.console)} matches every line", hint="name what only the failure says"
        )


def _refuse_numbers(wishes: FailureDescription) -> None:
    if wishes.slower and wishes.workload not in TIMED:
        raise UsageError(f"{wishes.workload} gives no number to compare", hint=f"--workload {', '.join(TIMED)}")
    if not 0 <= wishes.slower <= 99:
        raise UsageError(f"--slower {wishes.slower}: not from 1 to 99", hint="how many per cent slower the bad end is")
    if wishes.fio and wishes.workload != "fio":
        raise UsageError("there are options of fio's, and fio is not run", hint="--workload fio")
    for word in wishes.fio.split():
        if not re.fullmatch(r"[a-z][a-z0-9_]*=[^'\\\s]+", word):
            raise UsageError(f"--fio: {shown(word)} is no option of a job", hint="as in --fio 'rw=randwrite bs=4k'")


def _refuse_vm(wishes: FailureDescription, kind: Kind | None) -> None:
    """What needs a VM, where there is none."""
    if kind and not kind.without_vm:
        *names, last = (name for name in STORAGE if not (other := kind_of(name)) or other.without_vm)
        raise UsageError(f"without a VM there is no {wishes.storage}", hint=f"--storage {', '.join(names)} or {last}")
    if wishes.console:
        raise UsageError("without a VM there is no console", hint="leave --console out; the exit code says it")
    if wishes.udev:
        raise UsageError("without a VM there is no udev of its own", hint="leave --udev out")


def _refuse_storage(wishes: FailureDescription, row: Row | None, kind: Kind | None) -> None:
    """Storage that a workload other than a script cannot stand on."""
    storage, workload = wishes.storage, wishes.workload
    if row is None or kind is None:
        raise UsageError(f"{workload} needs storage, and there is no storage", hint="--storage disk")
    if row.format != "raw" and workload in ("read", *WRITING):
        raise UsageError(f"{workload} works on plain bytes, and a {storage} file has tables", hint=OTHERS)
    if kind.mounted and workload not in WRITING:
        what = "a disk, an array, a volume or a file"
        raise UsageError(f"{workload} needs {what}, and {storage} is a file system", hint="--storage disk")
    if storage in READ_ONLY and workload in WRITING:
        raise UsageError(f"{workload} writes, and {storage} cannot be written", hint="--storage ext4, xfs ...")
    if workload == "unplug" and storage != "disk" and not any(each.redundant for each in rows_of(wishes)):
        hint = "--storage disk, md-raid1, lvm-raid1 ..."
        raise UsageError(f"{storage} does not live on without a disk", hint=hint)


def _refuse_beside(wishes: FailureDescription, row: Row | None, kind: Kind | None) -> None:
    """Workloads and storage where no I/O can go on beside the workload, or where it must fail."""
    workload, storage = wishes.workload, wishes.storage
    if workload not in BESIDE:
        raise UsageError(f"nothing goes on beside {workload}", hint=f"--workload {', '.join(BESIDE)}")
    if workload == "unplug" and storage == "disk":
        hint = "--storage md-raid1, lvm-raid1 ..."
        raise UsageError("a disk gives errors while it is pulled out, to whatever goes on beside it", hint=hint)
    if workload == "job" and wishes.zoned:
        raise UsageError("a guest that writes one place again fails on a zone", hint="leave --zoned out")
    if workload == "job":
        return  # the guest's own I/O goes on beside it
    if row is None or kind is None or wishes.without_vm or row.format != "raw" or storage in READ_ONLY:
        what = f"what goes on beside {workload} is plain I/O in the VM, and there is nothing for it"
        raise UsageError(what, hint="--storage disk, lvm-raid1, ext4 ...")


def _refuse_below(wishes: FailureDescription) -> None:
    """Layers of which one cannot lie on the next."""
    rows = rows_of(wishes)
    for name in wishes.below:
        kind = kind_of(name)
        if kind is None or kind.holds_bytes or "of" not in kind.needs:
            hint = "name arrays, volumes, partitions and file systems; the disks come by themselves"
            raise UsageError(f"nothing of a first recipe lies on {shown(name)}", hint=f"{hint} (--storage list)")
    if wishes.without_vm or wishes.zoned or wishes.storage == "none" or "of" not in _kind(rows[0]).takes:
        raise UsageError(f"{wishes.storage} lies on nothing here", hint="give one --storage")
    for upper, lower in itertools.pairwise(rows):
        fits = lower.kind in upper.on if upper.on else _kind(upper).holds_bytes or not _kind(lower).mounted
        if not fits or (lower.type in READ_ONLY):
            raise UsageError(f"{upper.name} does not lie on {lower.name}", hint="--storage UPPERMOST,NEXT,...")
    last = rows[-1]
    if last.on and "of" in table.KINDS[last.on[0]].needs:
        raise UsageError(f"{last.name} lies on no disk", hint=f"--storage ...,{wishes.below[-1]},{last.on[0]}-...")
    if own := [row.name for row in rows[:-1] if any("{" in value for value in row.required.values())]:
        raise UsageError(f"{own[0]} names its disks", hint="put it at the end of --storage")
    arrays = [at for at, row in enumerate(rows) if row.least > 1]
    if arrays and any(row.least > 1 or row.further for row in rows[arrays[0] + 1 :]):
        what = f"{rows[arrays[0]].name} is made of disks here, or of one layer on each"
        raise UsageError(what, hint="write the rest into the recipe")
    if len([row for row in rows if row.further]) > 1:
        raise UsageError("two layers have a disk of their own beside", hint="write one of them into the recipe")


def _refuse_disks(wishes: FailureDescription, row: Row | None, kind: Kind | None) -> None:
    """A number or a type of disks that the storage cannot have."""
    if row is None or kind is None or wishes.without_vm:
        raise UsageError("there are no disks, and their number or type is given", hint="--storage disk, md-raid1 ...")
    if wishes.disk and (wishes.zoned or wishes.disk not in DISKS):
        raise UsageError(f"--disk {shown(wishes.disk)}: not one of {', '.join(DISKS)}", hint="disks with zones: none")
    many = [each for each in rows_of(wishes) if each.least > 1]
    fits = many and many[0].least <= wishes.disks <= MOST_DISKS and not (many[0].even and wishes.disks % 2)
    if wishes.disks and not fits:
        least = f"an array of {many[0].least} to {MOST_DISKS}" if many else "one"
        raise UsageError(f"--disks {wishes.disks}: {wishes.storage} lies on {least}", hint="leave --disks out")


def _kind(row: Row) -> Kind:
    return table.KINDS[row.kind]


def quoted(word: str) -> str:
    """A word as YAML reads it back; plain where nobody could take it for anything else."""
    if not word.isprintable():
        raise UsageError(f"{shown(word)} holds what cannot be printed", hint="write it with other characters")
    if word.startswith("./") and all(character.isalnum() or character in "./_-" for character in word):
        return word
    return "'" + word.replace("'", "''") + "'"


def wrapped(line: str) -> list[str]:
    """A line of a recipe, broken at blanks where it is too long for a terminal; it quotes no text."""
    begin = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, COLUMNS, subsequent_indent=begin, break_long_words=False, break_on_hyphens=False)
