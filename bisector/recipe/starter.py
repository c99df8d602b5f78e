# SPDX-License-Identifier: GPL-2.0-only
"""The text of a first recipe, from a few wishes: commented, and such that ``check`` accepts it. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from bisector.errors import UsageError
from bisector.layers import table
from bisector.layers.option import Layers
from bisector.layers.row import Kind, Row
from bisector.recipe.values import FILE_NAME, MAX_FILE_NAME, format_size, revision, shown

Tested = Literal["kernel", "qemu"]
STORAGE: tuple[str, ...] = ("none", *table.first_names())
"""What a workload may stand on: nothing, a disk, a volume or an array by its type, a file system, a file."""
Workload = Literal["script", "read", "open", "guest"]
TESTED: tuple[Tested, ...] = get_args(Tested)
WORKLOADS: tuple[Workload, ...] = get_args(Workload)
LAYER = "data"
_YAML_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")  # of 1.1 or 1.2: not text


@dataclass(frozen=True)
class FailureDescription:
    """What a person said of the failure.

    Args:
        name: of the recipe and of its file.
        tested: kernel, or QEMU's programs without a VM.
        storage: what the workload stands on; ``data`` is its name in the recipe.
        workload: an own script, direct reads, a QEMU that opens the storage, a Linux guest that reads from it.
        script: the own script, as a path beside the recipe.
        bad_exit: exit code by which the script says that it failed.
        console: regular expression of a line on the VM's console that is the failure, "" for none.
        good, bad: the ends of a search, "" when they are not known yet.
        title: one line.
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

    @property
    def own_script(self) -> str:
        """The script as the recipe names it, "" when it runs none."""
        if self.workload != "script":
            return ""
        return self.script if self.script.startswith("./") else f"./{self.script or self.name + '.sh'}"


def refuse_what_does_not_fit(wishes: FailureDescription) -> None:
    """Raises UsageError for wishes that no recipe can have together, with what to give instead."""
    storage, workload = wishes.storage, wishes.workload
    row, kind = table.first_row(storage), kind_of(storage)
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
    if wishes.tested == "qemu":
        if workload != "script":
            raise UsageError("QEMU's programs are tried without a VM, by a script", hint="--workload script")
        if kind and not kind.without_vm:
            *names, last = (name for name in STORAGE if not (other := kind_of(name)) or other.without_vm)
            raise UsageError(f"without a VM there is no {storage}", hint=f"--storage {', '.join(names)} or {last}")
        if wishes.console:
            raise UsageError("without a VM there is no console", hint="leave --console out; the exit code says it")
    elif row and row.format != "raw" and workload == "read":
        raise UsageError(f"plain reads of a {storage} file read its tables", hint="--workload open, guest or script")
    elif (kind is None or kind.mounted) and workload != "script":
        what = "there is no storage" if storage == "none" else f"{storage} is a file system"
        raise UsageError(f"{workload} needs a disk, an array, a volume or a file, and {what}", hint="--storage disk")
    if workload == "script" and wishes.bad_exit == 0:
        raise UsageError("exit code 0 is how a script says that all is well", hint="--bad-exit 1")


def text(wishes: FailureDescription) -> str:
    """The recipe. Raises UsageError."""
    refuse_what_does_not_fit(wishes)
    return "\n".join(_lines(wishes)) + "\n"


def script_text(wishes: FailureDescription) -> str:
    """A first version of the own script, for somebody who has none yet."""
    where = (
        "in a sandbox on this host" if wishes.tested == "qemu" else "as root in the VM, which sees this host's files"
    )
    given = f'# "$1" is the {wishes.storage} that the recipe made.\n' if wishes.storage != "none" else ""
    return f"""#!/bin/sh
# Runs {where}.
# Exit code {wishes.bad_exit}: the failure happened.
# 0: it did not, although everything needed was done.
# Any other: this trial says nothing (a tool was missing, say), and after a few
# of them the candidate is skipped.
{given}# "$BISECTOR_SEED" is another number in each trial: draw what is random from
# it, and a replay repeats it.
set -u

echo "replace this by what fails" >&2
exit 2
"""


def _lines(wishes: FailureDescription) -> Iterator[str]:
    yield f"# {wishes.title or 'What fails, where, and since when: for whoever reads this in a year.'}"
    yield "#"
    repository = "QEMU" if wishes.tested == "qemu" else "LINUX"
    yield f"# Next ({repository} is a git repository):"
    yield f"#   bisector check ./{wishes.name}.yaml"
    yield "#       every mistake, with line and column"
    yield f"#   bisector test ./{wishes.name}.yaml --repo {repository} --rev REV"
    yield "#       does it reproduce?"
    yield f"#   bisector run ./{wishes.name}.yaml --repo {repository}"
    yield "#       which commit?"
    plain = re.fullmatch(r"[a-z][a-z.-]*|[a-z]+-[a-z0-9.-]+", wishes.name) and wishes.name not in _YAML_WORDS
    yield f"recipe: {wishes.name if plain else _quoted(wishes.name)}"
    if wishes.title:
        yield f"title: {_quoted(wishes.title)}"
    yield ""
    yield from _target(wishes)
    yield from _ends(wishes)
    yield from _storage(wishes)
    yield from _guest(wishes)
    yield from _steps(wishes)
    yield from _conditions(wishes)


def _target(wishes: FailureDescription) -> Iterator[str]:
    if wishes.tested == "qemu":
        yield "# What is built of QEMU; without --repo the installed ones are tried."
        yield "target: {qemu: {build: [qemu-img, qemu-io]}}"
        yield "vm: none   # the steps run on this host, in a folder of their own"
        return
    fragments = ["base"]
    row = table.first_row(wishes.storage)
    fragments += row.fragments[:1] if row else ()  # others are added by themselves
    yield "# Fragments of the configuration; a file of your own is written ./my.config."
    yield f"target: {{kernel: {{config: [{', '.join(fragments)}]}}}}"


def kind_of(storage: str) -> Kind | None:
    """The kind of storage of a wish; None for none."""
    row = table.first_row(storage)
    return table.KINDS[row.kind] if row else None


def _ends(wishes: FailureDescription) -> Iterator[str]:
    if wishes.good or wishes.bad:
        ends = [f"{name}: {_quoted(end)}" for name, end in (("good", wishes.good), ("bad", wishes.bad)) if end]
        yield f"search: {{{', '.join(ends)}}}   # both are tested first"
    else:
        yield "# search: {good: v6.17, bad: v6.18}   # or --good, --bad; both are tested first"
    yield "# The chance of naming a wrong commit; or 'trials: 3' for a fixed number:"
    yield "# confidence: {max_error: 0.01}"
    yield ""


def _storage(wishes: FailureDescription) -> Iterator[str]:
    row = table.first_row(wishes.storage)
    if row is None:
        return
    where = "." if wishes.tested == "qemu" else ", inside the VM: nothing of this host is touched."
    yield f"# Fresh in each trial{where}"
    yield "storage:"
    yield from _layers(row, table.KINDS[row.kind], alone=wishes.tested == "qemu")
    yield ""


def _layers(row: Row, kind: Kind, *, alone: bool) -> Iterator[str]:
    """The layers of a recipe for one type of storage; ``alone``: a file lies on nothing."""
    own = f"{row.kind}: {row.type}"
    disk = f"size: {format_size(row.example)}"
    if kind.holds_bytes and alone:
        yield f"  {LAYER}: {{{own}, size: 256M}}"
    elif kind.holds_bytes:
        yield "  disk: {disk: virtio-blk, size: 512M}"
        yield "  fs: {fs: ext4, of: disk}"
        yield f"  {LAYER}: {{{own}, of: fs, size: 256M}}"
    elif kind.mounted:
        yield f"  disk: {{disk: virtio-blk, {disk}}}"
        yield f"  {LAYER}: {{{own}, of: disk}}"
    elif "of" not in kind.needs:
        others = f"or {', '.join(table.types(row.kind)[1:])}"
        yield from (f"  # {line}" for line in textwrap.wrap(others, 70))
        yield f"  {LAYER}: {{{own}, {disk}}}"
    else:
        legs = [f"leg{number}" for number in range(row.least)]
        further = [value for word, value in row.required.items() if isinstance(row.words[word], Layers)]
        for leg in (*legs, *further):
            yield f"  {leg}: {{disk: nvme, {disk}}}"
        if row.on and "of" in table.KINDS[row.on[0]].needs:  # a volume, say, that one of another volume is made of
            yield f"  origin: {{{row.on[0]}: {table.types(row.on[0])[0]}, of: [{', '.join(legs)}], size: 64M}}"
            legs = ["origin"]
        size = ", size: 64M" if "size" in kind.needs else ""
        more = "".join(f", {word}: {value}" for word, value in row.required.items())
        yield f"  {LAYER}: {{{own}, of: [{', '.join(legs)}]{size}{more}}}"


def _guest(wishes: FailureDescription) -> Iterator[str]:
    if wishes.workload not in ("open", "guest"):
        return
    yield "guest:"
    if wishes.workload == "open":
        yield "  os: none   # QEMU opens its drives and quits: no guest has to boot"
    else:
        yield "  os: linux   # boots the kernel under test"
    yield "  drives:"
    yield f"    vda: {{of: {LAYER}, device: virtio-blk, aio: native, cache: {{direct: true}}}}"
    yield ""


def _steps(wishes: FailureDescription) -> Iterator[str]:
    yield "steps:"
    if wishes.workload == "script":
        words = [wishes.own_script] + ([f"{{{LAYER}}}"] if wishes.storage != "none" else [])
        comment = f"   # {{{LAYER}}}: its device or path" if wishes.storage != "none" else ""
        yield f"  - repro: {{run: [{', '.join(_quoted(word) for word in words)}]}}{comment}"
    elif wishes.workload == "read":
        yield f"  - repro: {{io: {LAYER}, read: 4k, count: 64, direct: true}}"
    else:
        yield "  - start: {start: guest}"
        if wishes.workload == "guest":
            yield "  - repro: {io: vda, in: guest, read: 4k, count: 64, direct: true}"
    yield ""


def _conditions(wishes: FailureDescription) -> Iterator[str]:
    """A failure by exit code is the script's word; everything else that goes wrong in it says nothing."""
    row = table.first_row(wishes.storage)
    health = row is not None and row.redundant
    yield "# Any of them; a condition's name is the failure's name in every report."
    yield "bad_when:"
    if wishes.workload == "script":
        yield f"  it-failed: {{exit: {{repro: {wishes.bad_exit}}}}}"
    elif wishes.workload == "open":
        yield "  not-opened: {exit: {start: {not: 0}}}"
    else:
        yield "  io-error: {exit: {repro: {not: 0}}}"
    if health:
        yield f"  leg-failed: {{health: {{{LAYER}: degraded}}}}"
    if wishes.console:
        yield f"  console-line: {{console: {{vm: {_quoted(wishes.console)}}}}}"
    yield "# All of its facts: a workload that did nothing is not good."
    yield "good_when:"
    step = "start" if wishes.workload == "open" else "repro"
    facts = [f"exit: {{{step}: 0}}"] + ([f"health: {{{LAYER}: healthy}}"] if health else [])
    yield f"  it-held: {{{', '.join(facts)}}}"
    yield ""
    yield "# The recipe's own proof, tried by 'bisector test ... --controls': a control"
    yield "# that must be good, and one that must be bad."
    yield "# controls:"
    yield "#   NAME: {expect: good, set: {PATH: VALUE}}"


def _quoted(word: str) -> str:
    """A word as YAML reads it back; plain where nobody could take it for anything else."""
    if not word.isprintable():
        raise UsageError(f"{shown(word)} holds what cannot be printed", hint="write it with other characters")
    if word.startswith("./") and all(character.isalnum() or character in "./_-" for character in word):
        return word
    return "'" + word.replace("'", "''") + "'"
