# SPDX-License-Identifier: GPL-2.0-only
"""Space that runs out unseen: paused or told is good, on three kinds of disk; an ignored error is bad."""

import pytest
from booking import Page, needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
DEVICES = ("ide", "ahci", "virtio-blk")


def cell(device: str, werror: str) -> str:
    return f"guest.drives.data.device={device},guest.drives.data.werror={werror}"


def check(seen: Page, device: str) -> None:
    paused, told = cell(device, "enospc"), cell(device, "report")
    assert (seen.verdict(paused), seen.condition(paused)) == ("good", "paused"), seen.table()
    assert {"BLOCK_IO_ERROR", "STOP", "RESUME"} <= seen.events(paused)
    assert (seen.step(paused, "fill")["exit"], seen.step(paused, "go")["exit"]) == (None, 0)
    assert (seen.verdict(told), seen.condition(told)) == ("good", "told"), seen.table()
    assert seen.step(told, "fill")["errno"] in ("EIO", "ENOSPC")
    assert "STOP" not in seen.events(told)


def test_direct_writes_pause_or_tell_and_an_ignored_error_loses_them() -> None:
    seen = page("enospc-unseen", "--cell", "steps.fill.direct=true", "--controls", option="--kernel")
    for device in DEVICES:
        check(seen, device)
    assert (seen.verdict("silent"), seen.condition("silent")) == ("bad", "lost"), seen.table()
    assert "zeroed" in seen.step("silent", "verify")["blocks"]
    assert seen.step("silent", "fill")["errno"] == ""  # nobody was told
    assert seen.exit_code == 0


def test_writes_through_the_cache_with_fsync_pause_or_tell() -> None:
    words = ("--cell", "steps.fill.direct=false", "--cell", "guest.drives.data.device=virtio-blk")
    seen = page("enospc-unseen", *words, option="--kernel")
    for werror, condition in (("enospc", "paused"), ("report", "told")):
        name = f"guest.drives.data.werror={werror}"
        assert (seen.verdict(name), seen.condition(name)) == ("good", condition), seen.table()
