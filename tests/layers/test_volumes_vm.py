# SPDX-License-Identifier: GPL-2.0-only
"""Volumes, partitions and members that come and go in a real VM: they stand, hold what was written, and show a loss."""

from __future__ import annotations

import re
from pathlib import Path

from tests.layers.test_words_vm import errors, pytestmark, said, tried

__all__ = ["pytestmark"]

LOOPS = "\n".join(f"{name}: {{disk: loop, size: 32M}}" for name in "abcdefhijkmopqrstuvwxyz")
PULLED = "\n".join(f"{name}: {{disk: virtio-blk, size: 32M}}" for name in "gln")
VOLUMES = f"""
{LOOPS}
{PULLED}
stripes: {{lvm: striped, of: [a, b], size: 16M, chunk: 64k}}
zero: {{lvm: raid0, of: [c, d], size: 16M}}
five: {{lvm: raid5, of: [e, f, g], size: 16M}}
six: {{lvm: raid6, of: [h, i, j, k, l], size: 24M}}
sums: {{lvm: raid1, of: [m, n], size: 8M, integrity: true}}
thin: {{lvm: thin, of: o, size: 64M, pool: 16M}}
before: {{lvm: snapshot, of: stripes, size: 8M}}
small: {{lvm: snapshot, of: stripes, size: 4M}}
cached: {{lvm: cache, of: p, fast: q, size: 16M, mode: writeback}}
late: {{lvm: writecache, of: r, fast: s, size: 16M}}
fine: {{lvm: raid1, of: [t, u], size: 8M, options: {{region_size: 64k}}}}
regions: {{lvm: mirror, of: [v, w], size: 8M, options: {{region_size: 256k}}}}
usual: {{lvm: mirror, of: [x, y], size: 8M}}
full: {{lvm: thin, of: z, size: 64M, pool: 8M}}
"""
ON_VOLUMES = """
- targets: {run: [dmsetup, table]}
- size: {run: [blockdev, --getsize64, '{thin}']}
- five: {io: five, write: 64k, count: 64, direct: true, flush: true}
- six: {io: six, write: 64k, count: 64, direct: true, flush: true}
- sums: {io: sums, write: 4k, count: 64, direct: true, flush: true}
- thin: {io: thin, write: 64k, count: 64, direct: true, flush: true}
- soon: {run: [sh, -c, 'echo 1 >/sys/module/dm_thin_pool/parameters/no_space_timeout']}
- fill: {io: full, write: 64k, count: 192, direct: true}
- held: {io: full, read: 64k, count: 64, direct: true}
- regions: {run: [dmsetup, status]}
- cached: {io: cached, write: 64k, count: 64, direct: true, flush: true}
- late: {io: late, write: 64k, count: 64, direct: true, flush: true}
- zero: {io: zero, write: 64k, count: 64, direct: true}
- alike: {run: [cmp, '{stripes}', '{before}']}
- change: {io: stripes, write: 4k, direct: true, flush: true}
- differ: {run: [sh, -c, '! cmp -s {stripes} {before}']}
- flood: {io: stripes, write: 64k, count: 80, direct: true, flush: true}
- whole: {run: [sh, -c, "dmsetup status | grep ' raid '"]}
- lose: {unplug: [g, l, n]}
- five-on: {io: five, write: 64k, count: 64, direct: true, flush: true}
- six-on: {io: six, write: 64k, count: 64, direct: true, flush: true}
- sums-on: {io: sums, write: 4k, count: 64, direct: true, flush: true}
"""


def test_volumes_stand_hold_what_is_written_and_show_a_loss(tmp_path: Path) -> None:
    result = tried(tmp_path, VOLUMES, ON_VOLUMES)
    table = said(result, "targets")
    levels = ("raid0 ", "raid5_", "raid6_", "raid1 ")
    for target in ("striped ", *levels, "integrity ", "thin-pool ", "snapshot ", "cache ", "writecache "):
        assert f" {target}" in table, table
    assert said(result, "size") == str(64 << 20)
    seen = errors(result)
    assert seen.pop("fill") == "ENOSPC" and set(seen.values()) == {""}
    assert {step.name: step.exit for step in result.steps if step.exit} == {"fill": 1}
    fill = result.step("fill")
    assert fill is not None and (fill.count, fill.failed) == (128, 64)  # 8 MiB of 12
    regions_have_their_size(table, said(result, "regions"))
    health = {layer.name: layer.health for layer in result.layers}
    assert [health[name] for name in ("zero", "thin", "cached", "late", "before")] == ["none"] * 5
    lines = (line.partition(": ") for line in said(result, "whole").splitlines())
    whole = {name.partition("-")[2]: status.split()[5] for name, _, status in lines}
    assert whole == {"zero": "AA", "five": "AAA", "six": "AAAAA", "sums": "AA", "fine": "AA"}
    assert [health[name] for name in ("five", "six", "sums")] == ["degraded"] * 3  # each lost a member since
    assert health["small"] == "degraded"  # a snapshot that has overflowed


def regions_have_their_size(table: str, status: str) -> None:
    """Of the volumes of 8 MiB with ``region_size``, and of those without it, where LVM takes 2 MiB."""
    sectors = dict(re.findall(r"^bisector\d+-(\w+): .* raid1 .* region_size (\d+) ", table, re.MULTILINE))
    assert (sectors["fine"], sectors["sums"]) == (str((64 << 10) // 512), str((2 << 20) // 512))
    mirrors = dict(re.findall(r"^bisector\d+-(\w+): \d+ \d+ mirror 2 \S+ \S+ (\d+/\d+) ", status, re.MULTILINE))
    assert mirrors == {"regions": "32/32", "usual": "4/4"}


PARTS = """
d: {disk: virtio-blk, size: 64M}
e: {disk: virtio-blk, size: 64M, logical_block: 4096}
p1: {partition: gpt, of: d, size: 16M}
p2: {partition: gpt, of: d, size: 24M}
q1: {partition: dos, of: e, size: 16M}
a: {disk: loop, size: 16M}
b: {disk: loop, size: 16M}
c: {disk: loop, size: 16M}
array: {md: raid1, of: [a, b], spare: c}
"""
ON_PARTS = """
- sizes: {run: [blockdev, --getsize64, '{p1}', '{p2}', '{q1}']}
- write: {io: p2, write: 64k, count: 16, direct: true, flush: true}
- beyond: {io: p1, read: 4k, offset: 16777216, direct: true}
- lose: {fail: a}
- wait: {run: [mdadm, --wait, '{array}']}
- rebuilt: {run: [sh, -c, 'cat /proc/mdstat']}
- take: {remove: a}
- lose-more: {fail: b}
- half: {run: [sh, -c, 'cat /proc/mdstat']}
- take-more: {remove: b}
- give: {add: b}
- heal: {run: [sh, -c, 'mdadm --wait {array}; cat /proc/mdstat']}
"""


def test_partitions_have_their_sizes_and_members_come_and_go(tmp_path: Path) -> None:
    result = tried(tmp_path, PARTS, ON_PARTS)
    assert said(result, "sizes").split() == [str(size << 20) for size in (16, 24, 16)]
    facts = {step.name: step for step in result.steps}
    assert facts["write"].errno == ""
    assert facts["beyond"].count == 0  # behind the end of the first there is nothing of the second
    assert "[UU]" in said(result, "rebuilt")  # onto the spare
    assert "_" in said(result, "half").partition("raid1")[2]
    assert "[UU]" in said(result, "heal")
    assert {layer.name: layer.health for layer in result.layers}["array"] == "healthy"
