# SPDX-License-Identifier: GPL-2.0-only
"""Steps, guest and conditions of a first recipe: a row for each workload. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bisector.recipe.failure import COPY, LAYER, FailureDescription, Workload, kind_of, quoted, wrapped
from bisector.recipe.starter_storage import redundant

LASTS = "5s"
FIO = "rw=randwrite bs=4k direct=1"
"""The job where nobody named one."""

Lines = Iterator[str]


@dataclass(frozen=True)
class Draft:
    """What a workload puts into a recipe.

    Args:
        steps: the lines below ``steps:``.
        bad: those below ``bad_when:``, less what the storage adds.
        ended: steps that end with 0 where all is well.
        good: further facts of the good condition.
        guest: ``os:`` of the inner guest; None: there is none.
        broken: whether the storage has lost a member when the steps end, so that its health is no failure.
        longest: the step that others go on beside.
        beside: those others, with ``while:`` that one; {}: nothing goes on beside it (``failure.BESIDE``).
    """

    steps: Callable[[FailureDescription], Lines]
    bad: Callable[[FailureDescription], Lines]
    ended: tuple[str, ...] = ("repro",)
    good: tuple[str, ...] = ()
    guest: str | None = None
    broken: bool = False
    longest: str = "repro"
    beside: Callable[[FailureDescription], Mapping[str, str]] = lambda wishes: {}


def guest(wishes: FailureDescription) -> Lines:
    """The lines of ``guest:``."""
    system = DRAFTS[wishes.workload].guest
    if system is None:
        return
    yield "guest:"
    if system == "none":
        yield "  os: none   # QEMU opens its drives and quits: no guest has to boot"
    else:
        which = "the kernel under test" if wishes.tested == "kernel" else "the VM's kernel"
        which = "the newest packaged kernel, or kernel: '6.12'" if wishes.without_vm else which
        yield f"  os: linux   # boots {which}"
    yield "  drives:"
    more = "" if wishes.without_vm else ", aio: native, cache: {direct: true}"
    yield f"    vda: {{of: {LAYER}, device: virtio-blk{more}}}"
    yield ""


def steps(wishes: FailureDescription) -> Lines:
    """The lines of ``steps:``."""
    draft = DRAFTS[wishes.workload]
    yield "steps:"
    yield from _together(draft, wishes) if wishes.together else draft.steps(wishes)
    yield ""


def _together(draft: Draft, wishes: FailureDescription) -> Lines:
    """The steps, with the longest one in a group with those beside it."""
    inside = False
    others = [f"        - {name}: {body}" for name, body in draft.beside(wishes).items()]
    for line in draft.steps(wishes):
        if inside and not line.startswith("   "):  # the next step, or what is said of it
            inside = False
            yield from others
        if line.startswith(f"  - {draft.longest}:"):
            inside = True
            yield "  # These begin at once; the next step begins when all have ended."
            yield "  - busy:"
            yield "      together:"
        yield f"      {line}" if inside else line
    if inside:
        yield from others


def conditions(wishes: FailureDescription) -> Lines:
    """The conditions. A failure by exit code is a script's word; all else that goes wrong in it says nothing."""
    draft = DRAFTS[wishes.workload]
    health = () if draft.broken else redundant(wishes)
    yield "# Any of them; a condition's name is the failure's name in every report."
    yield "bad_when:"
    bad = [*draft.bad(wishes)]
    yield from bad
    if wishes.hangs and not any("{hang: " in line for line in bad):
        yield f"  hangs: {{hang: {{{'repro' if wishes.without_vm else 'vm'}: true}}}}   # a step does not end"
    beside = tuple(draft.beside(wishes)) if wishes.together else ()
    yield from (f"  {name}-failed: {{exit: {{{name}: {{not: 0}}}}}}" for name in beside)
    if wishes.slower:
        yield from _slower(wishes)
    for layer in health:
        yield f"  {'leg-failed' if len(health) == 1 else f'{layer}-degraded'}: {{health: {{{layer}: degraded}}}}"
    if wishes.console:
        yield f"  console-line: {{console: {{vm: {quoted(wishes.console)}}}}}"
    yield "# All of its facts: a workload that did nothing is not good."
    yield "good_when:"
    ended = ", ".join(f"{name}: 0" for name in (*draft.ended, *beside))
    facts = [f"exit: {{{ended}}}", *draft.good]
    facts += [f"health: {{{', '.join(f'{layer}: healthy' for layer in health)}}}"] if health else []
    yield from wrapped(f"  it-held: {{{', '.join(facts)}}}")
    yield ""
    yield "# The recipe's own proof, tried by 'bisector test ... --controls': a control"
    yield "# that must be good, and one that must be bad."
    yield "# controls:"
    yield "#   NAME: {expect: good, set: {PATH: VALUE}}"


def _slower(wishes: FailureDescription) -> Lines:
    """A number against the good end's: of fio operations in a second, else how long the step takes."""
    yield "  # A search measures both ends first. A fixed limit is written '< 500', '> 10s'."
    if wishes.workload == "fio":
        ways = dict(word.split("=", 1) for word in (wishes.fio or FIO).split())
        way = "read" if "read" in ways.get("rw", ways.get("readwrite", "read")) else "write"
        limit = f"< {1 - wishes.slower / 100:.2g} × good"
        yield f"  slower: {{value: {{repro: {{{way}.iops: '{limit}'}}}}}}"
    else:
        yield f"  slower: {{seconds: {{repro: '> {1 + wishes.slower / 100:.3g} × good'}}}}"


# ---- a workload each -----------------------------------------------------------------------------------------------


def _script(wishes: FailureDescription) -> Lines:
    words = [wishes.own_script] + ([f"{{{LAYER}}}"] if wishes.storage != "none" else [])
    comment = f"   # {{{LAYER}}}: its device or path" if wishes.storage != "none" else ""
    yield f"  - repro: {{run: [{', '.join(quoted(word) for word in words)}]}}{comment}"


def _read(wishes: FailureDescription) -> Lines:
    yield f"  - repro: {{io: {LAYER}, read: 4k, count: 64, direct: true}}"


def _open(wishes: FailureDescription) -> Lines:
    yield "  - start: {start: guest}"


def _guest_reads(wishes: FailureDescription) -> Lines:
    yield "  - start: {start: guest}"
    yield "  - repro: {io: vda, in: guest, read: 4k, count: 64, direct: true}"


def _fio(wishes: FailureDescription) -> Lines:
    kind = kind_of(wishes.storage)
    given = dict(word.split("=", 1) for word in (wishes.fio or FIO).split())
    place = {"directory" if kind and kind.mounted else "filename": f"{{{LAYER}}}"}
    if kind and kind.mounted:
        place["size"] = given.pop("size", "32M")
    yield "  # Options as in a job file of fio's; one of your own is written fio: ./FILE."
    yield "  - repro:"
    yield "      fio:"
    yield from (f"        {option}: {quoted(value)}" for option, value in {**place, **given}.items())
    if not {"verify", "loops", "io_size"} & set(given):
        yield f"      for: {LASTS}"


def _reboot(wishes: FailureDescription) -> Lines:
    yield f"  - write: {{stamp: {LAYER}, size: 16M}}   # blocks that say which they are"
    yield "  - again: {reboot: vm}   # takes all off, boots, assembles what was made"
    yield f"  - look: {{verify: {LAYER}}}"


def _power_cut(wishes: FailureDescription) -> Lines:
    yield "  # The power fails while it writes; then the VM boots and assembles all."
    yield f"  - again: {{stamp: {LAYER}, size: 16M, for: {LASTS}, kill: true}}"
    yield f"  - look: {{verify: {LAYER}}}   # what was flushed must be there"


def _after_boot(wishes: FailureDescription) -> Lines:
    yield "  not-assembled: {exit: {again: {not: 0}}}"
    yield "  hangs: {hang: {again: true}}"
    yield "  lost: {blocks: {look: {not: clean}}}"


def _unplug(wishes: FailureDescription) -> Lines:
    alone = wishes.storage == "disk"
    disk, read = LAYER if alone else "leg0", f"  - repro: {{io: {LAYER}, read: 4k, count: 64, direct: true}}"
    yield f"  - write: {{io: {LAYER}, write: 4k, count: 64, direct: true}}"
    yield f"  - pull: {{unplug: {disk}}}"
    if not alone:
        yield read
    yield f"  - back: {{plug: {disk}}}"
    if alone:
        yield read


def _pulled(wishes: FailureDescription) -> Lines:
    yield "  hangs: {hang: {vm: true}}"
    yield "  io-error: {exit: {repro: {not: 0}}}"


def _job(wishes: FailureDescription) -> Lines:
    yield "  - start: {start: guest}"
    yield "  # drive-backup, block-stream and block-commit go the same way."
    yield "  - repro:"
    yield "      qmp:"
    yield "        drive-mirror:"
    yield f"          {{device: vda, target: '{{{COPY}}}', sync: full, mode: existing}}"
    yield "      until: BLOCK_JOB_READY"
    yield "  - end: {qmp: {block-job-cancel: {device: vda}}, until: BLOCK_JOB_COMPLETED}"


def _one(line: str) -> Callable[[FailureDescription], Lines]:
    """The same line whatever else is wished."""
    return lambda wishes: iter([f"  {line}"])


def _exit_code(wishes: FailureDescription) -> Lines:
    yield f"  it-failed: {{exit: {{repro: {wishes.bad_exit}}}}}"


def _job_fails(wishes: FailureDescription) -> Lines:
    yield "  job-failed: {exit: {repro: {not: 0}}}"
    yield "  hangs: {hang: {repro: true}}"


def _io_beside(step: str) -> Callable[[FailureDescription], Mapping[str, str]]:
    """Reads of the storage as long as ``step`` goes on; of a file system writes, to a file that nothing else uses."""

    def lines(wishes: FailureDescription) -> Mapping[str, str]:
        kind = kind_of(wishes.storage)
        what = "write: 64k, count: 16" if kind and kind.mounted else "read: 4k, count: 64, direct: true"
        return {"load": f"{{io: {LAYER}, {what}, while: {step}}}"}

    return lines


def _guest_beside(wishes: FailureDescription) -> Mapping[str, str]:
    return {
        "load": "{io: vda, in: guest, write: 64k, count: 16,\n            direct: true, while: repro}",
        "ask": "{qmp: query-block-jobs, while: repro}",
    }


_IO_ERROR = _one("io-error: {exit: {repro: {not: 0}}}")
DRAFTS: dict[Workload, Draft] = {
    "script": Draft(_script, _exit_code, beside=_io_beside("repro")),
    "read": Draft(_read, _IO_ERROR),
    "open": Draft(_open, _one("not-opened: {exit: {start: {not: 0}}}"), ("start",), guest="none"),
    "guest": Draft(_guest_reads, _IO_ERROR, guest="linux"),
    "fio": Draft(
        _fio, _one("io-error: {errno: {repro: {not: none}}}   # EILSEQ: a verify failed"), beside=_io_beside("repro")
    ),
    "reboot": Draft(_reboot, _after_boot, ("again",), ("blocks: {look: clean}",)),
    "power-cut": Draft(_power_cut, _after_boot, ("again",), ("blocks: {look: clean}",)),
    "unplug": Draft(
        _unplug, _pulled, ("pull", "back", "repro"), broken=True, longest="pull", beside=_io_beside("pull")
    ),
    "job": Draft(_job, _job_fails, ("repro", "end"), guest="linux", beside=_guest_beside),
}
