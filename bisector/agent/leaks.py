# SPDX-License-Identifier: GPL-2.0-only
"""Memory of the kernel that nothing refers to any more, as kmemleak finds it (Documentation/dev-tools/kmemleak.rst)."""

from __future__ import annotations

import os
import re
import time
from collections import Counter

from ..layers.machine import read_text
from .command import Halt, demand

FOLDER = "/sys/kernel/debug"
FILE = f"{FOLDER}/kmemleak"
AGE = 5.5  # seconds; younger objects are not reported (MSECS_MIN_AGE, mm/kmemleak.c)
SCANS = 3  # one to know an object's checksum, one to see it unchanged, one to see that it is so still
KINDS = 100  # places of allocation that are reported
FUNCTIONS = 4  # of each that are shown
_OBJECT = re.compile(r"unreferenced object.* \(size (\d+)\):")
_JIFFIES = re.compile(r"jiffies (\d+)")
_FUNCTION = re.compile(r"\s+(?:\[<[0-9a-fx]+>\] )?([A-Za-z_][\w.]*)\+0x")
_ALLOCATES = re.compile(
    r"kmemleak_|_*k[vmz]*alloc|_*kmem_cache|_*vmalloc|_*krealloc|kstrdup|kmemdup|mempool_|slab_|_*do_kmalloc|"
    r"_*alloc_p(ages|ercpu)|pcpu_alloc|_*bioset|_*get_free_pages"
)


def begin() -> int:
    """The moment from which on allocations count, in jiffies. Raises Halt(tools) for a kernel that does not look."""
    if not os.path.exists(FILE) and "debugfs" in read_text("/proc/filesystems").split():
        demand(["mount", "-t", "debugfs", "debugfs", FOLDER], stage="tools", timeout=20.0)
    if not os.path.exists(FILE):
        why = "CONFIG_DEBUG_KMEMLEAK, as the fragment kmemleak has it; packaged kernels are built without it"
        raise Halt("tools", f"the kernel does not look for leaks ({why}), and the recipe asks for them")
    now = re.search(r"^jiffies: (\d+)", read_text("/proc/timer_list"), re.MULTILINE)
    if now is None:
        raise Halt("tools", "/proc/timer_list does not say what jiffies are")
    return int(now[1])


def found(since: int) -> list[str]:
    """A line for each place that allocated what leaked since then: how many objects and bytes, by which functions.

    The places with the most objects come first; who reports them takes KINDS.

    Takes some AGE seconds and SCANS scans. Raises Halt(tools) where kmemleak has ended itself.
    """
    time.sleep(AGE)
    for _ in range(SCANS):
        try:
            with open(FILE, "w", encoding="ascii") as file:
                file.write("scan")
        except OSError as error:
            why = "it is off unless kmemleak=on, and ends where it has no memory"
            raise Halt("tools", f"kmemleak does not scan: {error.strerror} ({why})") from None
    return lines(read_text(FILE), since)


def lines(text: str, since: int) -> list[str]:
    """What the text of FILE says of objects that are not older than ``since``."""
    objects, size = Counter[str](), Counter[str]()
    for block in re.split(r"^(?=unreferenced object)", text, flags=re.MULTILINE):
        head, age = _OBJECT.match(block), _JIFFIES.search(block)
        if head is None or age is None or int(age[1]) < since:
            continue
        trace = [name for name in _FUNCTION.findall(block) if not _ALLOCATES.match(name)]
        place = " < ".join(trace[:FUNCTIONS]) or "no trace"
        objects[place] += 1
        size[place] += int(head[1])
    return [f"{place} ({number} of {size[place]} bytes)" for place, number in objects.most_common()]
