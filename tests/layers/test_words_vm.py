# SPDX-License-Identifier: GPL-2.0-only
"""Words of storage in a real VM: each shows the failure that it is there for, and what is beside it works.

One boot for each family: a step reads where it must fail, another where it must not.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.agent.plan import Result
from bisector.interfaces import CancelToken
from bisector.model import Ending, Image, Observation
from bisector.recipe import matrix, plan
from bisector.recipe.facts import printed
from bisector.recipe.load import loads
from bisector.system.proc import Processes
from bisector.trial.run import VmRunner

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE is not set")]

RECIPE = """\
recipe: words
target: {{kernel: {{config: [base]}}}}
storage:
{storage}
steps:
{steps}
deadline: 10m
bad_when: {{no: {{exit: {{{last}: 99}}}}{leak}}}
good_when: {{yes: {{exit: {{{last}: 0}}}}}}
"""


def lines(text: str, indent: str) -> str:
    return "\n".join(f"{indent}{line.strip()}" for line in text.strip().splitlines())


def observed(
    tmp_path: Path, storage: str, steps: str, more: str = "", leaking: str = "", *, cpus: int = 1
) -> Observation:
    """A trial of a recipe with that storage and those steps, and ``more`` sections; ``leaking``: a fact leak.

    Its VM has one processor: emulated, a second one makes it dearer and no faster (docs/performance.md). But a disk has
    a queue for each processor, and no more.
    """
    last = steps.strip().splitlines()[-1].strip(" -").partition(":")[0]
    leak = f", leaks: {{leak: {leaking}}}" if leaking else ""
    text = RECIPE.format(storage=lines(storage, "  "), steps=lines(steps, "  "), last=last, leak=leak) + more
    recipe = loads(text, tmp_path / "words.yaml")
    (cell,) = matrix.cells(recipe)
    (tmp_path / "work").mkdir()
    environ = {**os.environ, "TMPDIR": str(tmp_path / "work")}
    runner = VmRunner(
        Processes(tmp_path / "records"),
        tmp_path / "state",
        environ,
        accel="tcg",
        kernels=lambda identity: Image(identity, IMAGE),
    )
    cancel = CancelToken(str(tmp_path / "cancel"))
    others = tuple((whose, "words") for whose in recipe.kernels_beside)
    made = replace(plan.plan_for(recipe, cell), kernels=others, cpus=cpus)
    return runner.run(Image("words", IMAGE), made, tmp_path / "stored", listener=print, cancel=cancel)


def tried(tmp_path: Path, storage: str, steps: str, more: str = "", leaking: str = "", *, cpus: int = 1) -> Result:
    """What the agent saw of it, when it came to its end."""
    seen = observed(tmp_path, storage, steps, more, leaking, cpus=cpus)
    assert seen.ending is Ending.FINISHED, (seen.detail, seen.result and seen.result.fault)
    assert seen.result is not None and seen.result.fault is None, seen.result
    return seen.result


def errors(result: Result) -> dict[str, str]:
    return {step.name: step.errno for step in result.steps if step.exit is not None}


def said(result: Result, step: str) -> str:
    facts = result.step(step)
    assert facts is not None and facts.exit == 0, facts
    return facts.detail.strip()


DISKS = """
big: {disk: virtio-blk, size: 64M, logical_block: 4096, queues: 2, write_cache: false, discard: true}
bad: {disk: virtio-blk, size: 16M, errors: [{read: 4096}, {write: 8192, errno: ENOSPC, count: 1}]}
slow: {disk: nvme, size: 16M, slow: 100ms}
mem: {disk: null_blk, size: 32M, logical_block: 4096, queues: 2, errors: [{read: 800}]}
sd: {disk: scsi_debug, size: 8M, discard: true, errors: {read: 4660}}
z: {disk: zram, size: 16M, algorithm: lz4}
meta: {disk: nvme, size: 16M, metadata: 8, protection: 1}
net: {disk: nbd, size: 16M, errors: [{read: 2048}]}
zones: {disk: null_blk, size: 32M, zoned: 4M, conventional: 2}
late: {disk: null_blk, size: 16M, slow: 100ms, queue_size: 16, discard: true}
fixed: {disk: nbd, size: 16M, read_only: true}
spare: {disk: nbd, size: 16M, discard: true, detect_zeroes: unmap}
wide: {disk: virtio-blk, size: 16M, optimal_io: 64k}
worn: {disk: null_blk, size: 32M, errors: [{read: 800}]}
far: {disk: nvmf, of: worn, transport: tcp, queue_size: 32}
near: {disk: nvmf, size: 16M}
"""
READS = """
- block: {run: [blockdev, --getss, --getsz, '{big}']}
- queues: {run: [sh, -c, 'cd /sys/block/$(basename {big}); ls mq | wc -l; cat queue/write_cache']}
- beside: {run: [sh, -c, 'cd /sys/block; cat $(basename {meta})/metadata_bytes $(basename {slow})/metadata_bytes']}
- size: {run: [blockdev, --getsz, '{meta}']}
- write-meta: {io: meta, write: 4k, count: 4, direct: true}
- read-meta: {io: meta, read: 4k, count: 4, direct: true}
- small: {io: big, read: 512, direct: true}
- read-bad: {io: bad, read: 4k, offset: 2097152, direct: true}
- read-beside: {io: bad, read: 4k, offset: 2101248, direct: true}
- write-bad: {io: bad, write: 4k, offset: 4194304, direct: true}
- write-again: {io: bad, write: 4k, offset: 4194304, direct: true}
- read-slow: {io: slow, read: 4k, count: 12, direct: true}
- read-mem: {io: mem, read: 4k, offset: 409600, direct: true}
- read-mem-beside: {io: mem, read: 4k, offset: 413696, direct: true}
- read-sd: {io: sd, read: 512, offset: 2385920, direct: true}
- read-sd-beside: {io: sd, read: 512, offset: 2385408, direct: true}
- quick-sd: {io: sd, read: 4k, count: 8, direct: true}
- plain-sd: {run: [sh, -c, 'cd /sys/block/$(basename {sd}); ls mq | wc -l; cat queue/physical_block_size']}
- read-net: {io: net, read: 4k, offset: 1048576, direct: true}
- read-net-beside: {io: net, read: 4k, direct: true}
- write-z: {io: z, write: 4k, count: 16, flush: true}
- algorithm: {run: [sh, -c, 'cat /sys/block/$(basename {z})/comp_algorithm']}
- zones: {run: [sh, -c, 'cd /sys/block/$(basename {zones})/queue; cat zoned chunk_sectors nr_zones']}
- at-pointer: {io: zones, write: 4k, count: 2, offset: 8M, direct: true}
- behind-it: {io: zones, write: 4k, offset: 8M, direct: true}
- before-it: {io: zones, write: 4k, offset: 8208k, direct: true}
- no-more: {io: zones, write: 4k, offset: 8200k, direct: true}
- renew: {run: [blkzone, report, '{zones}']}
- at-it-again: {io: zones, write: 4k, offset: 8200k, direct: true}
- conventional: {io: zones, write: 4k, offset: 1M, direct: true}
- read-late: {io: late, read: 4k, count: 4, direct: true}
- late: {run: [sh, -c, 'blkdiscard {late}; cat /sys/block/$(basename {late})/queue/nr_requests']}
- no-discard: {run: [sh, -c, '! blkdiscard {mem}']}
- protected: {run: [sh, -c, 'cd /sys/block; cat $(basename {meta})/integrity/format']}
- read-fixed: {io: fixed, read: 4k, direct: true}
- write-fixed: {io: fixed, write: 4k, direct: true}
- write-spare: {run: [sh, -c, 'dd if=/dev/urandom of={spare} bs=64k count=16 oflag=direct && SPACE']}
- optimal: {run: [sh, -c, 'cat /sys/block/$(basename {wide})/queue/optimal_io_size']}
- read-far: {io: far, read: 4k, offset: 409600, direct: true}
- read-far-beside: {io: far, read: 4k, offset: 413696, direct: true}
- write-near: {io: near, write: 4k, count: 4, direct: true, flush: true}
- transport-far: {run: [sh, -c, 'cd /sys/block/$(basename {far})/device; cat transport sqsize']}
- transport-near: {run: [sh, -c, 'cd /sys/block/$(basename {near})/device; cat transport sqsize']}
- mark-far: {run: [sh, -c, 'echo marked | dd of={far} bs=4k seek=9 conv=sync,fsync']}
- below-far: {run: [sh, -c, 'dd if={worn} bs=4k skip=9 count=1 iflag=direct status=none | grep -ac marked']}
- zero-spare: {run: [sh, -c, 'dd if=/dev/zero of={spare} bs=64k count=16 oflag=direct && SPACE']}
""".replace(
    "SPACE", "stat -Lc space=%b $(readlink -f /proc/$(cat /sys/block/$(basename {spare})/pid)/fd/* | grep spare)"
)


def test_disks_have_their_words_and_fail_where_they_are_to(tmp_path: Path) -> None:
    result = tried(tmp_path, DISKS, READS)
    assert said(result, "block").split() == ["4096", str((64 << 20) // 512)]
    assert said(result, "queues").split("\n") == ["1", "write through"]  # of one processor
    assert said(result, "beside").split("\n") == ["8", "0"]
    assert said(result, "size") == str((16 << 20) // 512)
    assert "[lz4]" in said(result, "algorithm")
    seen = errors(result)
    assert (seen["write-meta"], seen["read-meta"]) == ("", "")
    assert seen["small"] == "EINVAL"  # half a block, past the cache
    assert (seen["read-bad"], seen["read-beside"]) == ("EIO", "")
    assert (seen["write-bad"], seen["write-again"]) == (
        "EIO",
        "",
    )  # once; virtio-blk knows no other
    assert (seen["read-mem"], seen["read-mem-beside"]) == ("EIO", "")
    assert (seen["read-sd"], seen["read-sd-beside"]) == ("ENODATA", "")
    quick = result.step("quick-sd")
    assert quick is not None and quick.errno == "" and quick.ended - quick.started < 0.8
    assert said(result, "plain-sd").split("\n") == ["1", "512"]
    assert (seen["read-net"], seen["read-net-beside"]) == ("EIO", "")
    assert seen["write-z"] == ""
    assert said(result, "zones").split("\n") == ["host-managed", "8192", "8"]
    assert (seen["at-pointer"], seen["at-it-again"], seen["conventional"]) == ("", "", "")
    assert (seen["behind-it"], seen["before-it"]) == ("EIO", "EIO")  # of a zone that is written from its beginning on
    assert seen["no-more"] == "EIO"  # until the kernel has looked where the zone's pointer is
    late = result.step("read-late")
    assert late is not None and late.errno == "" and late.ended - late.started >= 0.4
    assert said(result, "late") == "16" and "not supported" in said(result, "no-discard")
    assert said(result, "protected") == "T10-DIF-TYPE1-CRC"
    assert (seen["read-fixed"], seen["write-fixed"]) == ("", "EPERM")
    assert printed.number(said(result, "write-spare"), "space") == (1 << 20) // 512
    assert printed.number(said(result, "zero-spare"), "space") == 0  # given back
    assert said(result, "optimal") == str(64 << 10)
    assert (seen["read-far"], seen["read-far-beside"], seen["write-near"]) == ("EIO", "", "")
    assert said(result, "transport-far").split() == ["tcp", "31"]
    assert said(result, "transport-near").split() == ["loop", "127"]
    assert said(result, "below-far") == "1"
    slow = result.step("read-slow")
    assert slow is not None and slow.errno == "" and slow.ended - slow.started > 0.7  # 12 reads, 10 a second


STACK = """
big: {disk: virtio-blk, size: 32M, logical_block: 4096}
a: {disk: loop, size: 16M}
b: {disk: loop, size: 16M}
c: {disk: loop, size: 16M}
d: {disk: loop, size: 32M}
e: {disk: loop, size: 16M}
f: {disk: loop, size: 16M}
secret: {dm: crypt, of: big, sector_size: 4096}
sums: {dm: integrity, of: c}
dusty: {dm: dust, of: d, block_size: 4096, bad: [77, 78]}
flaky: {dm: flakey, of: e, up: 0s, down: 60s, flags: error_reads}
stripes: {dm: striped, of: [a, b], chunk: 64k}
one: {dm: unstriped, of: stripes, members: 2, member: 1}
g: {disk: loop, size: 16M}
late: {dm: delay, of: g, read: 200ms}
h: {disk: loop, size: 16M}
i: {disk: virtio-blk, size: 16M, errors: [{read: 8192}]}
line: {dm: linear, of: i}
checked: {dm: integrity, of: h, mode: D}
own: {dm: table, of: f, table: ['0 8192 linear {leg} 8192', '8192 8192 error']}
"""
ON_STACK = """
- block: {run: [blockdev, --getss, '{secret}']}
- size: {run: [blockdev, --getsz, '{one}']}
- secret-half: {io: secret, read: 512, direct: true}
- write-secret: {io: secret, write: 4k, count: 4, direct: true}
- hidden: {run: [sh, -c, '! cmp -n 4096 {secret} {big}']}
- write-sums: {io: sums, write: 4k, count: 8, direct: true, flush: true}
- read-sums: {io: sums, read: 4k, count: 8, direct: true}
- write-checked: {run: [sh, -c, 'echo bisector-marker | dd of={checked} bs=4k conv=sync,fsync']}
- read-checked: {io: checked, read: 4k, direct: true}
- where: {run: [sh, -c, 'grep -abo bisector-marker {h} >at']}
- spoil: {run: [sh, -c, 'echo X | dd of={h} bs=1 seek=$(cut -d: -f1 at) conv=fsync']}
- read-spoilt: {io: checked, read: 4k, direct: true}
- read-dust: {io: dusty, read: 4k, offset: 315392, direct: true}
- heal-dust: {io: dusty, write: 4k, offset: 315392, direct: true}
- read-healed: {io: dusty, read: 4k, offset: 315392, direct: true}
- read-flaky: {io: flaky, read: 4k, direct: true}
- read-late: {io: late, read: 4k, count: 4, direct: true}
- write-late: {io: late, write: 4k, direct: true}
- mark: {run: [sh, -c, 'echo bisector-marker | dd of={line} bs=4k seek=9 conv=sync,fsync']}
- same-place: {run: [sh, -c, 'dd if={i} bs=4k skip=9 count=1 iflag=direct status=none | grep -c bisector-marker']}
- other-place: {run: [sh, -c, '! dd if={i} bs=4k skip=10 count=1 iflag=direct status=none | grep -c bisector-marker']}
- sizes: {run: [blockdev, --getsz, '{line}', '{i}']}
- read-worn: {io: line, read: 4k, offset: 4M, direct: true}
- read-whole: {io: line, read: 4k, offset: 4100k, direct: true}
- read-own: {io: own, read: 4k, direct: true}
- read-own-error: {io: own, read: 4k, offset: 4194304, direct: true}
"""


def test_targets_of_device_mapper_do_what_they_are_for(tmp_path: Path) -> None:
    result = tried(tmp_path, STACK, ON_STACK)
    assert said(result, "block") == "4096"
    assert said(result, "size") == str((16 << 20) // 512)
    assert said(result, "hidden")  # cmp names the first byte that differs
    seen = errors(result)
    assert seen["secret-half"] == "EINVAL" and seen["write-secret"] == ""
    assert (seen["write-sums"], seen["read-sums"]) == ("", "")
    assert (seen["read-checked"], seen["read-spoilt"]) == ("", "EILSEQ")
    assert (seen["read-dust"], seen["heal-dust"], seen["read-healed"]) == ("EIO", "", "")
    assert seen["read-flaky"] == "EIO"
    late = result.step("read-late")
    assert late is not None and late.errno == "" and late.ended - late.started >= 0.8
    assert (said(result, "same-place"), said(result, "other-place")) == ("1", "0")
    assert said(result, "sizes").split() == [str((16 << 20) // 512)] * 2
    assert (seen["read-worn"], seen["read-whole"]) == ("EIO", "")
    assert (seen["read-own"], seen["read-own-error"]) == ("", "EIO")


ARRAYS = """
a: {disk: loop, size: 16M}
b: {disk: loop, size: 16M}
c: {disk: loop, size: 16M}
d: {disk: loop, size: 16M}
e: {disk: loop, size: 16M}
f: {disk: loop, size: 16M}
g: {disk: loop, size: 16M}
h: {disk: loop, size: 16M}
i: {disk: loop, size: 16M}
j: {disk: loop, size: 16M}
k: {disk: loop, size: 16M}
l: {disk: loop, size: 16M}
m: {disk: loop, size: 16M}
n: {disk: loop, size: 16M}
o: {disk: loop, size: 16M}
p: {disk: loop, size: 16M}
q: {disk: loop, size: 16M}
zero: {md: raid0, of: [a, b], chunk: 64k}
one: {md: raid1, of: [c, d], write_mostly: [d], bitmap: internal, spare: [k]}
five: {md: raid5, of: [e, f, g], journal: h}
half: {md: raid1, of: [i], missing: 1}
all: {md: linear, of: [l, m]}
ten: {md: raid10, of: [n, o, p, q]}
"""
ON_ARRAYS = """
- detail: {run: [sh, -c, 'cat /proc/mdstat']}
- bitmap: {run: [sh, -c, 'cat /sys/block/$(basename {one})/md/bitmap/location']}
- write: {io: five, write: 4k, count: 16, direct: true, flush: true}
- write-half: {io: half, write: 4k, count: 4, direct: true}
- write-zero: {io: zero, write: 4k, offset: 30408704, direct: true}
- write-ten: {io: ten, write: 4k, count: 16, direct: true, flush: true}
- lose: {fail: p}
- write-on: {io: ten, write: 4k, count: 16, direct: true, flush: true}
"""


def test_arrays_have_the_members_that_their_words_name(tmp_path: Path) -> None:
    result = tried(tmp_path, ARRAYS, ON_ARRAYS)
    stat = said(result, "detail")
    assert "raid0" in stat and "(W)" in stat and "(J)" in stat and "(S)" in stat and "bitmap:" in stat
    assert said(result, "bitmap") != "none"
    health = {layer.name: layer.health for layer in result.layers}
    assert [health[name] for name in ("zero", "all", "one", "five")] == ["none", "none", "healthy", "healthy"]
    assert "[4/4]" in stat and health["ten"] == health["half"] == "degraded"  # the one has lost a member since
    assert set(errors(result).values()) == {""}
