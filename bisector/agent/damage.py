# SPDX-License-Identifier: GPL-2.0-only
"""The verb corrupt: damage of a known class put under stamped blocks, so that an oracle can be seen to see it.

What lay there before is kept: the class restored puts it back, and a fault that came and went can be made.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from . import xfs
from .blocks import BLOCK, SECTOR, Pattern
from .command import Halt
from .journal import placed
from .raw import read_block, write_block
from .stamps import DamagedBlock, Stamps, StampTarget

NEIGHBOURS = 5  # blocks that become copies of the next one: the report of 2014 has 160-164 = 165
TRIES = 1000

Content = dict[int, bytes]  # block of the file → what is put there
Make = Callable[[Pattern, int, int, random.Random], Content]


def _duplicate(pattern: Pattern, block: int, generation: int, draw: random.Random) -> Content:
    origin = pattern.block(block + NEIGHBOURS, generation)
    return {block + n: origin for n in range(NEIGHBOURS)}


def _misdirected(pattern: Pattern, block: int, generation: int, draw: random.Random) -> Content:
    return {block: pattern.block(block + 1, generation), block + 1: pattern.block(block, generation)}


def _stale(pattern: Pattern, block: int, generation: int, draw: random.Random) -> Content:
    return {block: pattern.block(block, generation - 1)}


def _torn(pattern: Pattern, block: int, generation: int, draw: random.Random) -> Content:
    cut = draw.randrange(1, BLOCK // SECTOR) * SECTOR
    old = pattern.block(block, generation - 1) if generation > 1 else bytes(BLOCK)
    return {block: pattern.block(block, generation)[:cut] + old[cut:]}


def _zeroed(pattern: Pattern, block: int, generation: int, draw: random.Random) -> Content:
    return {block: bytes(BLOCK)}


def _flipped(pattern: Pattern, block: int, generation: int, draw: random.Random) -> Content:
    data = bytearray(pattern.block(block, generation))
    bit = draw.randrange(BLOCK * 8)
    data[bit // 8] ^= 1 << bit % 8
    return {block: bytes(data)}


def _foreign(pattern: Pattern, block: int, generation: int, draw: random.Random) -> Content:
    return {block: draw.randbytes(BLOCK)}


CLASSES: dict[str, Make] = {
    "duplicate": _duplicate,
    "misdirected": _misdirected,
    "stale": _stale,
    "torn": _torn,
    "zeroed": _zeroed,
    "flipped": _flipped,
    "foreign": _foreign,
}


RESTORED = "restored"


def corrupt(stamps: Stamps, layers: dict[str, str], damage: str, seed: int) -> str:
    """Damage the same blocks on each of ``layers`` (layer of the VM → its node), or take that away again.

    Returns what was done, for people. Raises Halt(plan) for a class that is not known, Halt(step) when there is nothing
    to damage (the guest may have died before it stamped anything) or to restore, and OSError.
    """
    known = (*CLASSES, *xfs.CLASSES, RESTORED)
    if damage not in known:
        raise Halt("plan", f"corrupt: class {damage} is not supported here (there are {', '.join(known)})")
    if damage == RESTORED:
        return "; ".join(_restore(stamps, layer) for layer in layers)
    return "; ".join(_damage(stamps, layer, node, damage, seed) for layer, node in layers.items())


def _damage(stamps: Stamps, layer: str, node: str, damage: str, seed: int) -> str:
    stamped, shift = _target(stamps, layer)

    def put(path: str, place: int, data: bytes) -> None:
        stamps.damaged.setdefault(layer, []).append(DamagedBlock(path, place, read_block(path, place), data))
        write_block(path, place, data)

    if damage in xfs.CLASSES:
        return xfs.damage(node, shift, damage, put)
    draw = random.Random(f"{seed}:corrupt")
    block, generation = _choose(stamped, draw)
    content = CLASSES[damage](stamped.pattern, block, generation, draw)
    places = stamped.places() if stamps.known(layer) is None else None
    for number, data in content.items():
        put(node, _place(places, number) * BLOCK + shift, data)
    return f"{damage}: blocks {min(content)} to {max(content)} of {stamped.name} on {layer} ({node})"


def _restore(stamps: Stamps, layer: str) -> str:
    done = stamps.damaged.pop(layer, [])
    if not done:
        raise Halt("step", f"corrupt: nothing on {layer} was damaged, so nothing can be restored")
    for one in reversed(done):
        if read_block(one.node, one.place) != one.since:
            raise Halt("step", f"corrupt: {one.node} was written at {one.place} since it was damaged")
        write_block(one.node, one.place, one.before)
    return f"{RESTORED}: {len(done)} block{'s' if len(done) > 1 else ''} of {layer}"


def _target(stamps: Stamps, layer: str) -> tuple[StampTarget, int]:
    own = stamps.known(layer)
    found = [(own, 0)] if own else stamps.on(layer)
    if not found:
        raise Halt("step", f"corrupt: nothing that was stamped lies on {layer}")
    return found[0]


def _choose(stamped: StampTarget, draw: random.Random) -> tuple[int, int]:
    """A block whose neighbours are flushed in the same generation and lie behind it, and that generation."""
    places = stamped.places()
    runs = [run for run in stamped.journal.flushed if run[1] - run[0] > NEIGHBOURS]
    for _ in range(TRIES if runs else 0):
        first, end, generation = draw.choice(runs)
        block = draw.randrange(first, end - NEIGHBOURS)
        whole = places is None or sum(p[2] for p in placed(places, block, block + NEIGHBOURS + 1)) == NEIGHBOURS + 1
        if whole and not stamped.journal.on_their_way(block, block + NEIGHBOURS + 1):
            return block, generation
    raise Halt("step", f"corrupt: {stamped.name} has no flushed blocks whose place is known")


def _place(places: list | None, block: int) -> int:  # type: ignore[type-arg]
    return block if places is None else next(placed(places, block, block + 1))[1]
