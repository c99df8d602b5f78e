# SPDX-License-Identifier: GPL-2.0-only
"""Which symbols of two kernel configs differ and could matter to storage. Pure."""

from __future__ import annotations

import re

from bisector.target.kconfig import final_values

# What block I/O runs through: the block layer, md, dm, NVMe, SCSI, ATA, virtio, and what checks memory beneath them.
_STORAGE = re.compile(
    r"(BLK|BLOCK|MD|DM|NVME|SCSI|ATA|SATA|VIRTIO_BLK|IOSCHED|MQ_IOSCHED|BFQ|ZONED|SWIOTLB|IOMMU|KASAN|KFENCE|HZ|PREEMPT)"
    r"(_\w+)?|\w*DMA_API_DEBUG\w*"
)
MOST = 24  # symbols that are listed; a distribution's config differs in hundreds


def storage_symbols(ours: str, theirs: str) -> tuple[str, ...]:
    """``SYMBOL ours/theirs`` for each symbol of storage that differs; a driver built in or as a module is the same.

    Args:
        ours: text of a .config.
        theirs: text of the other one.
    """
    mine, yours = final_values(ours), final_values(theirs)
    different = []
    for symbol in sorted(mine.keys() | yours.keys()):
        one, other = mine.get(symbol, "n"), yours.get(symbol, "n")
        if _STORAGE.fullmatch(symbol) and one.replace("m", "y") != other.replace("m", "y"):
            different.append(f"{symbol} {one}/{other}")
    more = len(different) - MOST
    return (*different[:MOST], *([f"and {more} more"] if more > 0 else []))
