# SPDX-License-Identifier: GPL-2.0-only
"""Space that runs out unseen: paused or reported is good, on three kinds of disk; an ignored error is bad."""

import pytest
from booking import Page, needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]


def page_of(device: str, direct: str, *more: str) -> Page:
    words = ("--cell", f"guest.drives.data.device={device}", "--cell", f"steps.fill.direct={direct}")
    return page("enospc-unseen", *words, *more, option="--kernel")


@pytest.mark.parametrize(
    ("device", "direct"),
    [
        pytest.param("ide", "true", marks=pytest.mark.minutes(7)),
        pytest.param("ahci", "true", marks=pytest.mark.minutes(4)),
        pytest.param("virtio-blk", "true", marks=pytest.mark.minutes(4)),
        pytest.param("virtio-blk", "false", marks=pytest.mark.minutes(5)),
    ],
)
def test_a_full_host_pauses_the_guest_or_reports_it_and_nothing_is_lost_unless_errors_are_ignored(
    device: str, direct: str
) -> None:
    control = ["--controls"] if device == "ide" else []
    seen = page_of(device, direct, *control)
    paused, reported = "guest.drives.data.werror=enospc", "guest.drives.data.werror=report"
    assert (seen.verdict(paused), seen.condition(paused)) == ("good", "paused"), seen.table()
    assert {"BLOCK_IO_ERROR", "STOP", "RESUME"} <= seen.events(paused)
    assert (seen.step(paused, "fill")["exit"], seen.step(paused, "go")["exit"]) == (None, 0)
    assert (seen.verdict(reported), seen.condition(reported)) == ("good", "reported"), seen.table()
    assert seen.step(reported, "fill")["errno"] in ("EIO", "ENOSPC")
    assert "STOP" not in seen.events(reported)
    if control:
        assert (seen.verdict("silent"), seen.condition("silent")) == ("bad", "lost"), seen.table()
        assert "zeroed" in seen.step("silent", "verify")["blocks"]
        assert seen.step("silent", "fill")["errno"] == ""  # nobody was notified
    assert seen.exit_code == 0
