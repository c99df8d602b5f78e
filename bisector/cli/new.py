# SPDX-License-Identifier: GPL-2.0-only
"""new: writes a first recipe, from flags or from answers."""

from __future__ import annotations

import contextlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from bisector.cli.helpers import print_object, terminal_of
from bisector.cli.options import JsonOption
from bisector.errors import BisectorError, Interrupted, UsageError

if TYPE_CHECKING:
    from bisector.recipe.failure import FailureDescription
    from bisector.terminal import Terminal

commands = typer.Typer()

# As bisector/recipe/failure.py has them (a test compares); here so that --help imports no recipe. Its STORAGE is long
# and comes from the table of layers, which takes its time: it is imported by whoever needs it.
TESTED = ("kernel", "qemu")
WORKLOADS = ("script", "read", "open", "guest", "fio", "reboot", "power-cut", "unplug", "job")
DISKS = ("nvme", "scsi", "virtio-blk", "ahci")


NameArgument = Annotated[
    Optional[str],  # noqa: UP045
    typer.Argument(metavar="NAME", help="The recipe's name; NAME.yaml is written."),
]
TestedOption = Annotated[str, typer.Option("--test", metavar="|".join(TESTED), help="The software under test.")]
StorageOption = Annotated[
    str,
    typer.Option(
        metavar="STORAGE[,BELOW...]",
        help="What the workload stands on, as lvm-raid1 or ext4,dm-crypt,md-raid5; 'list' names all of them.",
    ),
]
DisksOption = Annotated[int, typer.Option(metavar="NUMBER", help="Disks of an array; 0: as few as it needs.")]
DiskOption = Annotated[str, typer.Option(metavar="|".join(DISKS), help="The type of the disks.")]
WorkloadOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(WORKLOADS),
        help="Your script; direct reads; QEMU opening the storage; a Linux guest reading from it; fio; blocks verified "
        "after a reboot or a power cut; a disk pulled out and put in; a job of QEMU's block layer.",
    ),
]
FioOption = Annotated[str, typer.Option("--fio", metavar="OPTIONS", help="Options of a fio job: 'rw=randread bs=4k'.")]
SlowerOption = Annotated[
    int, typer.Option(metavar="PERCENT", help="The bad end is so much slower than the good one (script, read, fio).")
]
ZonedOption = Annotated[bool, typer.Option("--zoned", help="The disks have zones.")]
UdevOption = Annotated[bool, typer.Option("--udev", help="Run udevd in the VM.")]
TogetherOption = Annotated[
    bool, typer.Option("--together", help="I/O goes on beside the workload (script, fio, unplug, job).")
]
HangsOption = Annotated[bool, typer.Option("--hangs", help="The failure is a step that does not end.")]
ScriptOption = Annotated[
    str, typer.Option(metavar="FILE", help="Your script, beside the recipe; NAME.sh is begun without it.")
]
BadExitOption = Annotated[
    int, typer.Option("--bad-exit", min=1, max=255, help="The script's exit code for the failure.")
]
ConsoleOption = Annotated[str, typer.Option(metavar="REGEX", help="A line on the VM's console that shows the failure.")]
ReportOption = Annotated[
    str,
    typer.Option("--from", metavar="FILE", help="Draft it from a report of the failure: a mail, mbox, log or text."),
]
FolderOption = Annotated[Path, typer.Option("--folder", help="Write into this folder.")]


@commands.command()
def new(
    context: typer.Context,
    name: NameArgument = None,
    tested: TestedOption = "kernel",
    storage: StorageOption = "none",
    disks: DisksOption = 0,
    disk: DiskOption = "",
    workload: WorkloadOption = "script",
    script: ScriptOption = "",
    bad_exit: BadExitOption = 1,
    console: ConsoleOption = "",
    good: Annotated[str, typer.Option(help="A revision that is good.")] = "",
    bad: Annotated[str, typer.Option(help="A revision that is bad.")] = "",
    title: Annotated[str, typer.Option(help="The failure in one line.")] = "",
    fio: FioOption = "",
    slower: SlowerOption = 0,
    zoned: ZonedOption = False,
    udev: UdevOption = False,
    together: TogetherOption = False,
    hangs: HangsOption = False,
    report: ReportOption = "",
    folder: FolderOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write a first recipe, with comments, that check accepts.

    Without a NAME, on a terminal, it asks.
    """
    from bisector.recipe.failure import STORAGE, FailureDescription

    if storage == "list":
        terminal_of(context).write("".join(f"{known}\n" for known in STORAGE))
        return
    top, *below = storage.split(",")
    layers = [("storage", layer, STORAGE) for layer in (top, *below)]
    _refuse_unknown([("test", tested, TESTED), *layers, ("workload", workload, WORKLOADS)])
    workload = "fio" if fio and workload == "script" and not script else workload
    words = (name or "", tested, top, workload, script, bad_exit, console, good, bad, title)
    wishes = FailureDescription(*words, fio, slower, zoned, udev, together, hangs, tuple(below), disks, disk)  # type: ignore[arg-type]
    head: tuple[str, ...] = ()
    if report:
        wishes, head = _drafted(wishes, Path(report))
    if name is None:
        wishes = _from_answers(wishes)
    written = _write(wishes, head, folder)
    terminal = terminal_of(context)
    if as_json:
        print_object(terminal, "new", written.as_dict())
    else:
        _show(terminal, written, head)


def _refuse_unknown(given: list[tuple[str, str, tuple[str, ...]]]) -> None:
    """Raises UsageError for an option whose value is none of those allowed."""
    for option, value, allowed in given:
        if value not in allowed:
            raise UsageError(f"--{option} {value}: not one of {', '.join(allowed)}")


@dataclass(frozen=True)
class _Files:
    """What was written. ``script``: None where the recipe has none, or it was there already."""

    recipe: Path
    script: Path | None = None

    def as_dict(self) -> dict[str, str]:
        """Their paths, by what they are."""
        return {"recipe": str(self.recipe)} | ({"script": str(self.script)} if self.script else {})


def _write(wishes: FailureDescription, head: tuple[str, ...], folder: Path) -> _Files:
    """Write the recipe, below the comments ``head``, and a script that is not there yet.

    Raises UsageError when the recipe is there already or a file cannot be written, and what is wrong with the script,
    if that was there: not executable, say. Nothing is left then, so that the same words can be given again.
    """
    from bisector.recipe.load import load
    from bisector.recipe.starter import script_text, text

    recipe, script = folder / f"{wishes.name}.yaml", None
    body = "".join(f"{line}\n" for line in head) + text(wishes)
    if recipe.exists():
        raise UsageError(f"{recipe} is there already", hint="give another NAME, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / wishes.own_script if wishes.own_script else None
        if own and not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            script = own
            own.write_text(script_text(wishes), encoding="utf-8")
            own.chmod(0o755)
        recipe.write_text(body, encoding="utf-8")
        load(recipe)
    except (OSError, BisectorError) as error:
        for path in filter(None, (recipe, script)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            what = f"{error.filename or recipe}: {error.strerror}"
            raise UsageError(what, hint="give another --folder, or free space") from error
        raise
    return _Files(recipe, script)


def _show(terminal: Terminal, written: _Files, head: tuple[str, ...]) -> None:
    """Print what was written, what the report gave, and what to do next."""
    terminal.write("".join(f"{path}\n" for path in written.as_dict().values()))
    for line in head:
        terminal.say(line.removeprefix("# ").removeprefix("#"))
    if written.script:
        terminal.say(f"write what fails into {written.script}")
    terminal.say(f"then: bisector check {written.recipe}")


def _drafted(wishes: FailureDescription, report: Path) -> tuple[FailureDescription, tuple[str, ...]]:
    """The wishes with what the report says, and comments that say where each value stands in it."""
    from dataclasses import replace

    from bisector.recipe.report_reader import LINES, TEXT, findings, notes, wishes_from

    text, title, whole = _read_report(report)
    source = f"the text of {report.name}" if title else report.name
    needed = []
    if not whole or len(text) > TEXT or text.count("\n") >= LINES:
        text = text[:TEXT]
        needed.append(f"the rest of it: only the first {min(LINES, text.count(chr(10)) + 1):,} lines were read")
    found = findings(text, title)
    drafted = wishes_from(found, replace(wishes, title=wishes.title or title))
    return drafted, notes(found, source, needed)


def _read_report(report: Path) -> tuple[str, str, bool]:
    """A report's text, its title ("" where it is no mail), and whether that is all of the text.

    Raises UsageError for a file that cannot be read, and for a mail without plain text.
    """
    import codecs

    from bisector.mail.received import BODY, LARGEST, parse, split
    from bisector.recipe.report_reader import plain_line
    from bisector.system.files import ReadError, read_named, unzipped

    try:
        data = unzipped(read_named(report, LARGEST), LARGEST)
        parts = split(data)
    except ReadError as error:
        raise UsageError(f"{report} {error}", hint="--from takes a file with the report's text") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace"), "", True
    mails = [parse(part) for part in parts]
    text = "\n".join(mail.text for mail in mails)
    if not mails or not mails[0].subject:
        return data.decode("utf-8-sig", errors="replace"), "", True
    if not text.strip():
        hint = "save its text, or the file that is attached to it, and give that"
        raise UsageError(f"{report} is a mail without plain text", hint=hint)
    subject = re.sub(r"^(?:(?:re|fwd?): *|\[[^]]*\] *)+", "", mails[0].subject, flags=re.IGNORECASE)
    return text, plain_line(subject) or "a report", all(len(part) <= BODY for part in parts)


def _from_answers(wishes: FailureDescription) -> FailureDescription:
    """The wishes from answers; each question offers what the flags said, and comes again until its answer fits."""
    from dataclasses import replace

    from bisector.recipe.failure import STORAGE, TIMED, refuse_what_does_not_fit

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("which name?", hint="bisector new NAME [options]; on a terminal it asks")
    refuse_what_does_not_fit(replace(wishes, name="flags"))  # what no answer could repair

    def prompt(
        now: FailureDescription, field: str, question: str, offered: str, choices: tuple[str, ...] = ()
    ) -> FailureDescription:
        prompt = f"{question} ({', '.join(choices)})" if choices else question
        default = None if field == "name" else offered
        while True:
            try:
                answer = str(typer.prompt(prompt, default=default, err=True, show_default=bool(offered)))
            except typer.Abort:  # Ctrl-C, or the end of the input
                raise Interrupted("nothing was written") from None
            if choices and answer not in choices:
                typer.echo(f"not one of {', '.join(choices)}", err=True)
                continue
            try:
                value = _number(answer) if field == "bad_exit" else int(answer) if field == "slower" else answer
                then = replace(now, **{field: value})  # type: ignore[arg-type]
                refuse_what_does_not_fit(then)
            except ValueError:
                typer.echo("not a number", err=True)
                continue
            except UsageError as error:
                typer.echo(f"{error.what}: {error.hint}" if error.hint else error.what, err=True)
                continue
            return then

    wishes = prompt(wishes, "name", "Name of the recipe", "")
    wishes = prompt(wishes, "title", "In one line", wishes.title)
    wishes = prompt(wishes, "tested", "Under test", wishes.tested, TESTED)
    wishes = prompt(wishes, "storage", "Storage", wishes.storage, STORAGE)
    workloads = WORKLOADS if wishes.tested == "kernel" else ("script", "job")
    wishes = prompt(wishes, "workload", "Workload", wishes.workload, workloads)
    if wishes.workload == "script":
        wishes = prompt(wishes, "script", "Your script", wishes.script or f"./{wishes.name}.sh")
        wishes = prompt(wishes, "bad_exit", "Its exit code for the failure", str(wishes.bad_exit))
    if wishes.workload in TIMED:
        wishes = prompt(wishes, "slower", "Per cent slower than the good end (0: no number)", str(wishes.slower))
    if not wishes.without_vm:
        wishes = prompt(wishes, "console", "A console line that is the failure (regex)", wishes.console)
    wishes = prompt(wishes, "good", "A good revision", wishes.good)
    return prompt(wishes, "bad", "A bad revision", wishes.bad)


def _number(text: str) -> int:
    if not (text.isdigit() and 0 < int(text) < 256):
        raise UsageError(f"{text} is no exit code of a failure", hint="a number from 1 to 255")
    return int(text)
