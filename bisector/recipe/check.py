# SPDX-License-Identifier: GPL-2.0-only
"""What keys of a recipe must agree on: storage and machines here, steps and conditions in check_workload.py. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bisector.layers import drive as drives
from bisector.layers import table
from bisector.layers.device import DEVICES
from bisector.layers.row import Row
from bisector.recipe import check_names, check_without_vm, check_workload, options, patterns
from bisector.recipe.model import QEMU_PROGRAMS, Guest, Recipe
from bisector.recipe.reboot import OTHER_KERNELS
from bisector.recipe.storage import KINDS, Drive, Layer
from bisector.recipe.text import Fault, Path
from bisector.recipe.values import format_size, suggestion

TAKES: dict[str, set[str]] = {
    name: {*kind.takes, *(word for row in table.ROWS.values() if row.kind == name for word in row.words)}
    for name, kind in table.KINDS.items()
}


def faults(recipe: Recipe) -> list[Fault]:
    """Every disagreement inside a recipe whose single keys are right, storage first."""
    found = [*_top(recipe), *_layers(recipe.storage, ("storage",), frozenset())]
    if not found:
        found += _sizes(recipe.storage)
    if recipe.guest:
        found += _guest(recipe, recipe.guest)
    return [*found, *_users(recipe), *check_names.faults(recipe), *check_workload.faults(recipe)]


def _top(recipe: Recipe) -> Iterator[Fault]:
    chosen = [name for name in ("kernel", "qemu") if getattr(recipe.target, name)]
    if len(chosen) != 1:
        yield Fault(("target",), "name one target: kernel or qemu" + (", not both" if chosen else ""))
    for index, program in enumerate(recipe.programs):
        if program not in QEMU_PROGRAMS:
            message = f"{program!r} is no program that is built of QEMU{suggestion(program, QEMU_PROGRAMS)}"
            yield Fault(("target", "qemu", "build", index), message)
    if recipe.trials is not None and recipe.confidence is not None:
        yield Fault(("confidence",), "either trials or confidence, not both", at_key=True)
    if recipe.search.good is not None and recipe.search.good == recipe.search.bad:
        yield Fault(("search", "bad"), "is the same revision as good")
    if recipe.vm is not None and recipe.vm.kernel and not recipe.programs and recipe.vm.kernel not in OTHER_KERNELS:
        others = " or ".join(OTHER_KERNELS)
        message = f"the VM boots the kernel under test, or {others} before it; another one is for target qemu"
        yield Fault(("vm", "kernel"), message)
    if recipe.vm is not None and recipe.vm.icount and recipe.vm.accel == "kvm":
        yield Fault(("vm", "icount"), "only an emulated processor's instructions are counted: 'accel: tcg', or none")
    if recipe.vm is None:
        yield from check_without_vm.faults(recipe)


# ---- layers --------------------------------------------------------------------------------------------------------


def _layers(layers: Mapping[str, Layer], at: Path, below: frozenset[str]) -> Iterator[Fault]:
    """Faults of one storage mapping. ``below``: names outside of it that ``of`` may name too."""
    for name, layer in layers.items():
        kinds = [kind for kind in KINDS if getattr(layer, kind)]
        if len(kinds) != 1:
            found = f", not {' and '.join(kinds)}" if kinds else ""
            yield Fault((*at, name), f"a layer is one of {', '.join(KINDS)}{found}", at_key=True)
            continue
        if at[0] == "guest" and not table.KINDS[kinds[0]].inside:
            inside = " and ".join(name for name, kind in table.KINDS.items() if kind.inside)
            message = f"inside the guest there are {inside}; its disks are its drives and what is passed through"
            yield Fault((*at, name), message, at_key=True)
        elif at[0] == "guest":
            yield from _inside(layer, (*at, name))
        yield from _shape(layer, (*at, name))
        yield from _of(name, layer, {*layers, *below}, (*at, name))
    yield from _alike(layers, at)
    yield from _cycles(layers, at)


def _inside(layer: Layer, path: Path) -> Iterator[Fault]:
    """What an inner guest cannot make of a kind that it can make."""
    row = _row(layer)
    if not row.inside:
        yield Fault(path, f"inside the guest there is no {row.name}", at_key=True)
    for place, _ in options.named(row.words, layer.words):
        yield Fault((*path, place[0]), f"inside the guest a {row.name} has no {place[0]!r}", at_key=True)


def _alike(layers: Mapping[str, Layer], at: Path) -> Iterator[Fault]:
    """Layers whose type has one setting for all of them."""
    first: dict[tuple[str, str], tuple[str, object]] = {}
    for name, layer in layers.items():
        if layer.kind and _row(layer).alike:
            own = (layer.size, layer.words)
            other, others = first.setdefault((layer.kind, layer.type), (name, own))
            if own != others:
                message = f"all disks of {layer.type} have one size and the same words, and {other} has others"
                yield Fault((*at, name), message, at_key=True)


def _shape(layer: Layer, path: Path) -> Iterator[Fault]:
    kind = layer.kind
    given = {key for key in ("of", "size", "log", "full", "options") if getattr(layer, key) is not None}
    row, smallest = _row(layer), table.KINDS[kind].smallest
    taken = {*table.KINDS[kind].takes, *row.also}
    for key in sorted(given - taken):
        allowed = ", ".join(sorted({*taken, *row.words}))
        yield Fault((*path, key), f"a layer of kind {kind} has no {key!r} (allowed: {allowed})", at_key=True)
    instead = [key for key in row.sized_by if getattr(layer, key) is not None]
    for key in table.KINDS[kind].needs if not instead else ():
        if key not in given:
            others = "".join(f" or {other!r}" for other in row.sized_by)
            yield Fault(path, f"needs {key!r}{others}", at_key=True)
    for key, message in row.refuses.items():
        if getattr(layer, key):
            yield Fault((*path, key), message, at_key=True)
    if layer.size is not None and layer.size < smallest:
        yield Fault((*path, "size"), f"a {kind} has at least {format_size(smallest)}")
    if layer.size is not None and layer.size % 512:
        yield Fault((*path, "size"), f"{layer.size} is no multiple of 512")
    for name, at_key, message in options.faults(row, layer.options or {}):
        yield Fault((*path, "options", name), message, at_key=at_key)
    for name, at_key, message in options.faults_of_words(f"a {row.name}", row.words, layer.words):
        yield Fault((*path, name), message, at_key=at_key)
    for name, at_key, message in options.no_members(row.words, layer.words, layer.of or ()):
        yield Fault((*path, name), message, at_key=at_key)
    for name in row.required:
        if name not in layer.words:
            yield Fault(path, f"a {row.name} needs {name!r}", at_key=True)
    if layer.of is None:
        return
    if len(layer.of) + row.absent(layer.words) < row.least:
        message = f"{row.name} needs {row.least} legs or more, found {len(layer.of)}"
        yield Fault((*path, "of"), message, refused=True)
    if row.even and len(layer.of) % 2:
        message = f"{row.name} mirrors each stripe, so its legs are even in number, found {len(layer.of)}"
        yield Fault((*path, "of"), message, refused=True)
    if table.KINDS[kind].single and len(layer.of) > 1:
        yield Fault((*path, "of"), f"a {kind} lies on one layer, found {len(layer.of)}")


def _of(name: str, layer: Layer, known: set[str], path: Path) -> Iterator[Fault]:
    seen: set[str] = set()
    for place, leg in _parts(layer):
        if leg not in known:
            yield Fault((*path, *place), f"no layer {leg!r}{suggestion(leg, sorted(known - {name}))}")
        elif leg in seen:
            yield Fault((*path, *place), f"{leg} is named twice")
        seen.add(leg)


def _parts(layer: Layer) -> Iterator[tuple[Path, str]]:
    """Every layer that this one lies on: where that stands in it, and the name."""
    yield from ((("of", index), leg) for index, leg in enumerate(layer.of or ()))
    yield from options.named(_row(layer).words if layer.kind else {}, layer.words)


def _cycles(layers: Mapping[str, Layer], at: Path) -> Iterator[Fault]:
    """The first cycle, at the ``of`` of the layer where it was met. Walks with its own list, not by recursion."""
    done: set[str] = set()
    for start in layers:
        trail: list[str] = []
        stack: list[tuple[str, bool]] = [(start, True)]
        while stack:
            name, entering = stack.pop()
            if not entering:
                done.add(trail.pop())
                continue
            if name in trail:
                cycle = [*trail[trail.index(name) :], name]
                cycle = cycle if len(cycle) <= 9 else [*cycle[:4], "...", *cycle[-4:]]
                yield Fault((*at, name, "of"), f"a cycle: {' → '.join(cycle)}")
                return
            if name in done or name not in layers:
                continue
            trail.append(name)
            stack.append((name, False))
            stack += [(leg, True) for _, leg in reversed(list(_parts(layers[name])))]


def _users(recipe: Recipe) -> Iterator[Fault]:
    """A layer that two would write to, and a file system where a block device is wanted."""
    taken: dict[str, str] = {}
    for leg, user, path in _uses(recipe):
        if leg in taken and taken[leg] != user:
            yield Fault(path, f"{leg.removeprefix('guest ')} is used by {taken[leg]} already")
        taken.setdefault(leg, user)
    for name, layer in recipe.storage.items():
        for place, leg in _parts(layer):
            on = recipe.storage.get(leg)
            if on and on.kind and layer.kind and (message := _misplaced(layer, leg, on)):
                yield Fault(("storage", name, *place), message)


def _misplaced(layer: Layer, leg: str, on: Layer) -> str:
    """Why a layer cannot lie on another; "" when it can."""
    kind, below = table.KINDS[layer.kind], table.KINDS[on.kind]
    row = _row(layer)
    if row.on and on.kind not in row.on:
        return f"a {row.name} lies on {' or '.join(map(_with_article, row.on))}, and {leg} is of kind {on.kind}"
    if below.mounted and not kind.holds_bytes:
        return f"{layer.kind} cannot lie on an fs, and {leg} is of kind {on.kind}"
    if below.holds_bytes and not (row.on or kind.holds_bytes):
        return f"{layer.kind} lies on a device, and {leg} is a file; a disk of loop makes one of it"
    return ""


def _with_article(kind: str) -> str:
    """``an fs``, ``an lvm``, ``a disk``: letters alone are read out one by one."""
    spoken = kind[0] in "aeiou" if set(kind) & set("aeiou") else kind[0] in "fhlmnrsx"
    return f"{'an' if spoken else 'a'} {kind}"


def _takes_all(recipe: Recipe, layer: Layer, leg: str) -> bool:
    """Whether nothing else may use what this layer lies on."""
    kind, on = table.KINDS[layer.kind], recipe.storage.get(leg)
    below = table.KINDS[on.kind] if on and on.kind else None
    on_device = kind.holds_bytes and below and not below.mounted and not below.holds_bytes
    row = _row(layer)
    return bool(kind.whole or "of" in row.also or on_device) and not row.shared


def _uses(recipe: Recipe) -> Iterator[tuple[str, str, Path]]:
    """Every use of a layer that leaves no space for another: the layer, who uses it, and where that stands."""
    for name, layer in recipe.storage.items():
        for place, leg in _parts(layer):
            if layer.kind and _takes_all(recipe, layer, leg):
                together = table.KINDS[layer.kind].together
                yield leg, "its partitions" if together else name, ("storage", name, *place)
    if recipe.guest is None:
        return
    for name, drive in recipe.guest.drives.items():
        yield drive.of, f"drive {name}", ("guest", "drives", name, "of")
    for index, passed in enumerate(recipe.guest.passthrough):
        yield passed, "the passthrough", ("guest", "passthrough", index)
    for name, layer in recipe.guest.storage.items():
        for place, leg in _parts(layer):
            if layer.kind and table.KINDS[layer.kind].whole:
                yield f"guest {leg}", name, ("guest", "storage", name, *place)


# ---- sizes ---------------------------------------------------------------------------------------------------------


def _sizes(layers: Mapping[str, Layer]) -> Iterator[Fault]:
    capacities = _capacities(layers)
    for name, layer in layers.items():
        legs = _legs(layer, capacities)
        if not legs:
            continue
        space = _space(layer, legs)
        if table.KINDS[layer.kind].whole and layer.size is not None and layer.size > space:
            message = f"{format_size(layer.size)} does not fit: the legs have space for {format_size(space)}"
            yield Fault(("storage", name, "size"), message)
        smallest = _row(layer).smallest
        if space < smallest:
            message = f"{layer.type} needs {format_size(smallest)} or more, and there are {format_size(space)} below it"
            yield Fault(("storage", name, "of"), message)


def _capacities(layers: Mapping[str, Layer]) -> dict[str, int]:
    """Bytes that each layer offers at most: each worked out once, and with a list of our own, not by recursion."""
    known: dict[str, int] = {}
    waiting = list(layers)
    while waiting:
        layer = layers[waiting[-1]]
        legs = [leg for _, leg in _parts(layer)] if layer.size is None else []
        missing = [leg for leg in legs if leg not in known]
        if missing:
            waiting += missing
            continue
        known[waiting.pop()] = layer.size if layer.size is not None else _space(layer, _legs(layer, known))
    return known


def _legs(layer: Layer, capacities: Mapping[str, int]) -> list[int]:
    """Bytes of each member, a missing one as the smallest."""
    legs = [capacities[leg] for leg in layer.of or [name for _, name in _parts(layer)]]
    return legs + [min(legs)] * _row(layer).absent(layer.words) if legs else legs


def _space(layer: Layer, legs: list[int]) -> int:
    return _row(layer).capacity(legs)


def _row(layer: Layer) -> Row:
    return table.ROWS[layer.kind, layer.type]


# ---- the inner guest -----------------------------------------------------------------------------------------------


def _guest(recipe: Recipe, guest: Guest) -> Iterator[Fault]:
    if (guest.os == "image") is not (guest.image is not None):
        words = "names the disk image of 'os: image'" if guest.image else "'os: image' needs 'image: FILE'"
        yield Fault(("guest", "image" if guest.image else "os"), words)
    if guest.ready is not None:
        yield from _ready(guest.ready, guest.os)
    if guest.os != "linux":
        for key in ("kernel", "storage"):
            if getattr(guest, key):
                yield Fault(("guest", key), f"needs 'os: linux', and this guest's os is {guest.os}", at_key=True)
    if not guest.drives and not guest.passthrough and guest.os != "image":
        yield Fault(("guest",), "has neither drives nor passthrough", at_key=True)
    if recipe.vm is not None and guest.memory >= recipe.vm.memory:
        around = format_size(recipe.vm.memory)
        yield Fault(("guest", "memory"), f"{format_size(guest.memory)} is more than the VM around it has ({around})")
    for device in DEVICES.values():  # an inner guest has one controller of each
        used = sum(drive.device == device.name for drive in guest.drives.values())
        if device.ports and used > device.ports:
            message = f"{used} drives on {device.name}, which has space for {device.ports}"
            yield Fault(("guest", "drives"), message, at_key=True)
    for name, drive in guest.drives.items():
        yield from _drive(name, drive, recipe)
    yield from _hotplug(guest)
    for index, name in enumerate(guest.passthrough):
        layer = recipe.storage.get(name)
        if layer is None:
            yield Fault(("guest", "passthrough", index), f"no layer {name!r}{suggestion(name, recipe.storage)}")
        elif not (layer.kind and (behind := _row(layer).device) and behind.passed):
            passed = " or ".join(sorted(device.name for device in DEVICES.values() if device.passed))
            message = f"only a disk on {passed} has a controller of its own to pass"
            yield Fault(("guest", "passthrough", index), message)
    yield from _guest_names(recipe, guest)
    yield from _layers(guest.storage, ("guest", "storage"), frozenset({*guest.drives, *guest.passthrough}))


def _hotplug(guest: Guest) -> Iterator[Fault]:
    """A PCIe port takes QEMU's q35; what is plugged in later is no member of what is made at the start."""
    plugged = {name: drive.words["hotplug"] for name, drive in guest.drives.items() if "hotplug" in drive.words}
    boards = [name for name, drive in guest.drives.items() if DEVICES[drive.device].board]
    for name in sorted(plugged if boards else ()):
        message = f"there are no ports for hot-plug beside {boards[0]} (ide), whose machine has no PCIe"
        yield Fault(("guest", "drives", name, "hotplug"), message, at_key=True)
    absent = {name for name, word in plugged.items() if word == "absent"}
    for name, layer in guest.storage.items():
        for other in sorted(absent & set(layer.parts)):
            message = f"{other} is not there when the guest's storage is made ('hotplug: absent')"
            yield Fault(("guest", "storage", name), message, at_key=True)


def _ready(pattern: str, system: str) -> Iterator[Fault]:
    if system != "image":
        yield Fault(("guest", "ready"), "is for 'os: image'; a guest of ours says itself when it is up", at_key=True)
    for _, message in patterns.faults((pattern,)):
        yield Fault(("guest", "ready"), message)


def _guest_names(recipe: Recipe, guest: Guest) -> Iterator[Fault]:
    for name in guest.drives:
        if name in recipe.storage:
            yield Fault(
                ("guest", "drives", name), f"{name} is a layer of the VM too; give one another name", at_key=True
            )
    for name in guest.storage:
        other = "a layer of the VM" if name in recipe.storage else "a drive" if name in guest.drives else ""
        if other:
            yield Fault(("guest", "storage", name), f"{name} is {other} too; give one another name", at_key=True)


def _drive(name: str, drive: Drive, recipe: Recipe) -> Iterator[Fault]:
    path = ("guest", "drives", name)
    layer = recipe.storage.get(drive.of)
    if layer is None:
        yield Fault((*path, "of"), f"no layer {drive.of!r}{suggestion(drive.of, recipe.storage)}")
    elif layer.kind and table.KINDS[layer.kind].mounted:
        yield Fault((*path, "of"), f"{drive.of} is a file system; a drive takes a disk, an array, an LV or a file")
    known = drives.words(DEVICES[drive.device], guest=True)
    for word, at_key, message in options.faults_of_words(f"a drive on {drive.device}", known, drive.words):
        yield Fault((*path, word), message, at_key=at_key)
    without = drives.WORDS["write_cache"].word(drive.words.get("write_cache")) == "off"
    if without and DEVICES[drive.device].always_cached and recipe.guest and recipe.guest.os == "image":
        message = f"{drive.device} says that it has a cache, and in 'os: image' nothing of ours tells the kernel else"
        yield Fault((*path, "write_cache"), message)
    if drive.aio == "native" and not drive.cache.direct:
        message = "QEMU refuses aio native without 'cache: {direct: true}'"
        yield Fault((*path, "aio"), message, refused=True)
