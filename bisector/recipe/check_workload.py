# SPDX-License-Identifier: GPL-2.0-only
"""What steps and conditions must agree on with the rest of a recipe. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bisector.layers import table
from bisector.recipe import check_boots, check_fio, check_io, check_never, check_suspend, check_together, patterns
from bisector.recipe.check_fio import PLACEHOLDER
from bisector.recipe.conditions import Entry
from bisector.recipe.facts import comparison
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.number import NUMBERS
from bisector.recipe.facts.row import Key, Row, Subject, WorkEvidence
from bisector.recipe.model import OPERATIONS, VERBS, Recipe, Step
from bisector.recipe.text import Fault, Path
from bisector.recipe.values import format_duration, suggestion

GUEST_VERBS = ("start", "restart", "reset", "stop", "resume")
MEMBER_VERBS = ("fail", "remove", "add")
PLUG_VERBS = ("unplug", "plug")
BOOT_VERBS = ("reboot", "power_cut")
BY_QEMU = ("start", "restart", "run")
"""Verbs that a QEMU of an end of the search may do."""
BLOCK = 4096  # bytes of a stamped block

_COMMON = {"in", "for", "probability"}
_OWN: dict[str, set[str]] = {
    "start": {"by", "probability"},
    "restart": {"by", "probability"},
    "reset": {"probability"},
    "stop": {"probability"},
    "resume": {"probability"},
    "io": {
        *_COMMON,
        "while",
        *OPERATIONS,
        "size",
        "count",
        "offset",
        "direct",
        "buffer_offset",
        "flush",
        "sync",
        "vectors",
    },
    "stamp": {*_COMMON, "size", "direct", "kill"},
    "verify": {"in", "direct", "caches", "probability"},
    "corrupt": {"class", "probability"},
    "fail": {"probability"},
    "remove": {"probability"},
    "add": {"to", "probability"},
    "unplug": {"in", "probability"},
    "plug": {"in", "probability"},
    "reboot": {"probability"},
    "power_cut": {"probability"},
    "suspend": {"level", "for", "while", "probability"},
    "qmp": {"until", "while", "probability"},
    "fio": {"for", "probability"},
    "run": {*_COMMON, "by", "while"},
}
TAKES = {verb: own | ({"after"} if verb not in check_together.ALONE else set()) for verb, own in _OWN.items()}
_KEYS = {"in": "where", "for": "seconds", "class": "damage", "while": "during"}


def faults(recipe: Recipe) -> list[Fault]:
    """Every disagreement of steps and conditions, in the order of the file's sections."""
    found: list[Fault] = []
    for name, step in recipe.steps.items():
        found += _step(recipe, name, step)
    if not found:
        found += _order(recipe)
        found += check_boots.faults(recipe)
        found += check_together.faults(recipe)
    found += _deadline(recipe)
    too_long = list(_length_of_patterns(recipe))
    return [*found, *(too_long or _conditions(recipe))]


def _deadline(recipe: Recipe) -> Iterator[Fault]:
    lasting = recipe.lasting
    if recipe.deadline is not None and recipe.deadline <= lasting:
        yield Fault(("deadline",), f"the steps' 'for' alone last {format_duration(lasting)}, so no trial could end")


def _length_of_patterns(recipe: Recipe) -> Iterator[Fault]:
    """Compiling takes time, so all patterns of a recipe are measured before the first one is compiled."""
    total = len(recipe.guest.ready or "") if recipe.guest else 0
    for section in ("bad_when", "good_when"):
        for condition in getattr(recipe, section).values():
            total += sum(sum(map(len, one.expect.values)) for one in condition.facts() if one.row.expressions)
            total += sum(len(one.name) for one in condition.facts() if one.row.watched)
    if total > patterns.MAX_TOGETHER:
        yield Fault(("bad_when",), f"regular expressions of {total} characters; at most {patterns.MAX_TOGETHER}", True)


# ---- steps ---------------------------------------------------------------------------------------------------------


def _step(recipe: Recipe, name: str, step: Step) -> Iterator[Fault]:
    path: Path = ("steps", name)
    verbs = [verb for verb in VERBS if getattr(step, verb) is not None]
    if len(verbs) != 1:
        found = f", not {' and '.join(verbs)}" if verbs else ""
        yield Fault(path, f"a step does one of {', '.join(VERBS)}{found}; several at once are 'together'", True)
        return
    verb = verbs[0]
    given = {key for key in _all_keys() if _KEYS.get(key, key) in step.model_fields_set}
    for key in sorted(given - TAKES[verb]):
        allowed = ", ".join(sorted(TAKES[verb]))
        yield Fault((*path, key), f"the verb {verb} has no {key!r} (allowed: {allowed})", at_key=True)
    if step.where == "guest" and (recipe.guest is None or recipe.guest.os != "linux"):
        what = "there is no 'guest:'" if recipe.guest is None else f"a guest with 'os: {recipe.guest.os}' runs no steps"
        yield Fault((*path, "in"), what)
    elif verb in GUEST_VERBS:
        yield from _guest_verb(recipe, step, path)
    elif verb == "run":
        yield from _run(recipe, step, path)
    elif verb == "fio":
        yield from check_fio.faults(recipe, step, path)
    elif verb == "qmp":
        yield from _qmp(recipe, step, path)
    elif verb == "suspend":
        yield from check_suspend.faults(recipe, step, path)
    elif verb not in BOOT_VERBS:
        yield from _objects(recipe, step, path)
        if verb in MEMBER_VERBS:
            yield from _members(recipe, step, path)
        if verb in PLUG_VERBS:
            yield from _plugs(recipe, step, path)
    if step.by:
        yield from _by(recipe, step, path)
    yield from _details(recipe, step, path)


def _by(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    """What a step needs that another QEMU than the one under test does."""
    if not recipe.programs:
        message = "the recipe tests a kernel; that of an end is booted: 'reboot: {kernel: good-end}'"
        yield Fault((*path, "by"), message)
    elif step.where == "guest":
        yield Fault((*path, "by"), "what runs in the guest is no program of QEMU")
    elif all(other.by for other in recipe.steps.values() if other.verb in BY_QEMU):
        yield Fault((*path, "by"), "no step is left for the QEMU under test")


def _all_keys() -> set[str]:
    return set().union(*TAKES.values())


def _guest_verb(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    if step.objects != ("guest",):
        yield Fault((*path, step.verb), f"only the guest is started and stopped: '{step.verb}: guest'")
    elif recipe.guest is None:
        yield Fault((*path, step.verb), "there is no 'guest:' to " + step.verb)
    elif step.verb == "reset" and recipe.guest.os == "none":
        yield Fault((*path, "reset"), "a guest with 'os: none' ends when its drives are open")


def _qmp(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    if recipe.guest is None or recipe.guest.os == "none":
        what = (
            "there is no 'guest:'" if recipe.guest is None else "a guest with 'os: none' ends when its drives are open"
        )
        yield Fault((*path, "qmp"), f"{what}, so there is no QEMU to give commands", at_key=True)
    known = ["seed", *recipe.storage]
    for match in PLACEHOLDER.finditer(json.dumps(step.qmp)):
        if match[1] not in known:
            yield Fault((*path, "qmp"), f"no layer for the placeholder {match[0]}{suggestion(match[1], known)}")


def _run(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    known = ["seed", *recipe.storage]
    if step.where == "guest" and recipe.guest:
        known = ["seed", *recipe.guest.drives, *recipe.guest.passthrough, *recipe.guest.storage]
    for index, word in enumerate(step.run or ()):
        for match in PLACEHOLDER.finditer(word):
            if match[1] not in known:
                message = f"no layer for the placeholder {match[0]}{suggestion(match[1], known)}"
                yield Fault((*path, "run", index), message)
        if step.where == "guest" and "\n" in word:  # commands go to the guest line by line
            yield Fault((*path, "run", index), "a word of a step in the guest is one line; put it into a file")


def _objects(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    known = list(recipe.storage)
    if step.where == "guest" and recipe.guest:
        known = [*recipe.guest.drives, *recipe.guest.passthrough, *recipe.guest.storage]
    for index, name in enumerate(step.objects):
        place = (*path, step.verb, index)
        if name not in known:
            where = "the guest has no" if step.where == "guest" else "no"
            hint = "" if known or step.where == "guest" else "; the recipe has no 'storage:'"
            yield Fault(place, f"{where} layer {name!r}{suggestion(name, known)}{hint}")
        elif step.verb == "corrupt" or (step.verb == "io" and step.where == "guest"):
            layer = recipe.storage.get(name) or (recipe.guest.storage.get(name) if recipe.guest else None)
            if layer and layer.kind and table.KINDS[layer.kind].mounted:
                yield Fault(place, f"{name} is a file system; {step.verb} works on a disk, an array, an LV or a file")


def _members(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    """Members of arrays that can lose and gain some."""
    can = [name for name, kind in table.KINDS.items() if kind.change]
    arrays = {name: layer for name, layer in recipe.storage.items() if layer.kind in can}
    if step.to is not None and step.to not in arrays:
        yield Fault((*path, "to"), f"{step.to} is no array of {' or '.join(can)}{suggestion(step.to, arrays)}")
    members = {leg for layer in arrays.values() for leg in layer.parts}
    for index, name in enumerate(step.objects):
        if name in recipe.storage and name not in members and step.to is None:
            hint = "; name the array with 'to'" if step.verb == "add" else ""
            yield Fault((*path, step.verb, index), f"{name} is no member of an array of {' or '.join(can)}{hint}")


def _plugs(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    if step.where == "guest" and recipe.guest:
        for index, name in enumerate(step.objects):
            drive = recipe.guest.drives.get(name)
            if name in (*recipe.guest.passthrough, *recipe.guest.storage) or (drive and "hotplug" not in drive.words):
                message = f"{name} is no drive of the guest with 'hotplug: present' or 'hotplug: absent'"
                yield Fault((*path, step.verb, index), message)
        return
    can = [key[1] for key, row in table.ROWS.items() if row.device]
    for index, name in enumerate(step.objects):
        layer = recipe.storage.get(name)
        if layer and layer.kind and not (layer.kind == "disk" and layer.type in can):
            message = f"{name} is no disk that can be pulled out: there are {', '.join(can)}"
            yield Fault((*path, step.verb, index), message)


def _details(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    if step.verb == "io":
        yield from check_io.faults(recipe, step, path)
    if step.verb == "stamp":
        yield from _stamp(step, path)
    if step.verb == "verify" and step.direct and step.caches:
        yield Fault((*path, "caches"), "is for buffered reads; direct ones go past the caches", at_key=True)
    if step.verb == "corrupt" and step.damage is None:
        yield Fault(path, "corrupt needs 'class' ('none' leaves the blocks alone)", at_key=True)


def _stamp(step: Step, path: Path) -> Iterator[Fault]:
    if step.size is None:
        yield Fault(path, "stamp needs 'size'", at_key=True)
    elif step.size % BLOCK:
        yield Fault((*path, "size"), "is no multiple of 4k, the size of a stamped block")
    if len(step.objects) > 1:
        yield Fault((*path, "stamp"), "one step stamps one object")
    if step.kill and step.seconds is None:
        yield Fault((*path, "kill"), "needs 'for', for when the machine that writes is killed", at_key=True)


def _order(recipe: Recipe) -> Iterator[Fault]:
    """What must have happened before a step can run."""
    started = stamped = False
    damaged: set[str] = set()
    forgotten: set[str] = set()
    drives = recipe.guest.drives if recipe.guest else {}
    out = absent = {name for name, drive in drives.items() if drive.words.get("hotplug") == "absent"}
    for name, step in recipe.steps.items():
        path = ("steps", name)
        if step.verb in ("start", "restart"):
            out = (out - set(drives)) | absent
        if step.verb == "start":
            started = True
        elif (step.verb in (*GUEST_VERBS, "qmp") or "guest" in (step.where, step.suspend)) and not started:
            yield Fault(path, "no step before this one starts the guest ('- NAME: {start: guest}')", at_key=True)
        if step.verb == "plug":
            for layer in sorted(set(step.objects) - out):
                yield Fault(path, f"no step before this one pulls {layer} out ('- NAME: {{unplug: {layer}}}')", True)
            out = out - set(step.objects)
        elif step.verb == "unplug":
            out = out | set(step.objects)
        elif "device_del" in (step.qmp or ()):  # by whatever id
            out = out | set(drives)
        if step.ends_boot:
            started, out = False, absent
            forgotten |= damaged
            damaged = set()
        stamped = stamped or step.verb == "stamp"
        if step.verb == "verify" and not stamped:
            yield Fault(path, "nothing was stamped before this step, so there is nothing to verify", at_key=True)
        if step.damage == "restored":
            for layer in sorted(set(step.objects) - damaged):
                message = f"no step before this one damages {layer}, so there is nothing to restore"
                if layer in forgotten:
                    message = "what was damaged before the VM was booted again is not restored"
                yield Fault((*path, "class"), message, at_key=True)
            damaged -= set(step.objects)
        elif step.damage not in (None, "none"):
            damaged |= set(step.objects)


# ---- conditions ----------------------------------------------------------------------------------------------------


def _conditions(recipe: Recipe) -> Iterator[Fault]:
    for section in ("bad_when", "good_when"):
        for name, condition in getattr(recipe, section).items():
            path = (section, name)
            if section == "good_when" and name in recipe.bad_when:
                yield Fault(path, f"{name} is a condition of bad_when too; give one another name", at_key=True)
            facts = list(condition.facts())
            if not facts:
                yield Fault(path, "names no fact", at_key=True)
            for one in facts:
                yield from _fact(recipe, one, (*path, *one.path))
                yield from _relative(one, section, (*path, *one.path))
            yield from check_never.faults(recipe, section, facts, path)
            if section == "good_when" and facts and not any(_shows_work(one.row, one.expect) for one in facts):
                done = "name something that it did (exit, errno, health ...)"
                yield Fault(path, f"a workload that did nothing would be good; {done}", at_key=True)


def _shows_work(row: Row, expect: Expect[Any]) -> bool:
    return row.shows_work is WorkEvidence.ALWAYS or (
        row.shows_work is WorkEvidence.UNLESS_NEGATED and not expect.negate
    )


def _fact(recipe: Recipe, fact: Entry, path: Path) -> Iterator[Fault]:
    row, where, expect, name = fact
    of_machine = row.key in (Key.MACHINE, Key.VM, Key.GUEST) or (
        row.key is Key.STEP_OR_MACHINE and where in ("vm", "guest")
    )
    if of_machine:
        yield from _machine(recipe, where, path)
        if row.watched and where == "guest" and recipe.guest and recipe.guest.os == "none":
            yield Fault(path, "a guest with 'os: none' has no console: QEMU opens its drives and ends", at_key=True)
    else:
        yield from _subject(recipe, row, where, path)
    if name and (message := row.name_faults(name)):
        yield Fault(path, message, at_key=True)
    values = (*path, "not") if expect.negate else path
    for index, message in row.value_faults(expect.values):
        yield Fault(values if index is None else (*values, index), message)


def _relative(fact: Entry, section: str, path: Path) -> Iterator[Fault]:
    """A number that is compared with the good end's says what is bad; all else that gave one is good or not."""
    if fact.row.kind not in NUMBERS or not comparison.relative(fact.expect.values):
        return
    if section == "good_when":
        message = "only bad_when compares with the good end; a trial of good_when must have given that number anyway"
        yield Fault(path, message, at_key=True)
    elif fact.expect.negate:
        yield Fault((*path, "not"), "write the opposite comparison: '< 0.8 × good' for {not: '>= 0.8 × good'}")
    else:
        for index, one in enumerate(comparison.read_all(fact.expect.values)):
            if one.of_good and one.sign != "=" and one.holds(1.0):
                message = "the good end itself would be bad: '<' takes a factor below 1, '>' one above"
                yield Fault((*path, index), message)


def _machine(recipe: Recipe, where: str, path: Path) -> Iterator[Fault]:
    if where == "guest" and recipe.guest is None:
        yield Fault(path, "there is no 'guest:'", at_key=True)
    if where == "vm" and recipe.vm is None:
        yield Fault(path, "there is no VM ('vm: none')", at_key=True)


def _subject(recipe: Recipe, row: Row, where: str, path: Path) -> Iterator[Fault]:
    """Faults of the step or the layer that a fact is about."""
    layers = {**recipe.storage, **(recipe.guest.storage if recipe.guest else {})}
    what, known = ("layer", list(layers)) if row.key is Key.LAYER else ("step", list(recipe.steps))
    if where not in known:
        beside = check_together.of_group(recipe).get(where, ()) if what == "step" else ()
        listed = f"{where} is several steps; name one of them: {', '.join(beside)}"
        yield Fault(path, listed if beside else f"no {what} {where!r}{suggestion(where, known)}", at_key=True)
        return
    if row.key is Key.LAYER and where not in recipe.storage:
        message = f"{where} is made by the inner guest, which tells nothing of it; let a step in the guest look at it"
        yield Fault(path, message, at_key=True)
        return
    if row.key is Key.LAYER:
        subject = Subject(where, layers[where].kind, layers[where].type, _good_values(recipe, row, where))
    else:
        step = recipe.steps[where]
        one = sum(getattr(step, verb) is not None for verb in VERBS) == 1
        inside = step.where == "guest"
        subject = Subject(where, step.verb if one else "", good=_good_values(recipe, row, where), inside=inside)
    if subject.kind and (message := row.misfit(subject)):  # one without a kind has a fault of its own
        yield Fault(path, message, at_key=True)


def _good_values(recipe: Recipe, row: Row, where: str) -> frozenset[object]:
    """All values that the good conditions give to a fact of a step or a layer."""
    facts = (fact for condition in recipe.good_when.values() for fact in condition.facts())
    return frozenset(value for own in facts if (own.row, own.where) == (row, where) for value in own.expect.values)
