# SPDX-License-Identifier: GPL-2.0-only
"""Misaligned direct I/O on a kernel that lets it pass: each array comes to harm as it does, and the controls do not."""

import pytest
from booking import Page, needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
LEVELS = {
    '"lvm": "raid1"': "leg-failed",
    '"lvm": "raid10"': "leg-failed",
    '"lvm": "mirror"': "zero-length-command",
    '"lvm": "linear"': "rejected",
    '"md": "raid1"': "rejected",
}


def controls_hold(seen: Page, *names: str) -> None:
    for name in names:
        assert seen.verdict(name) == "good", seen.table()
        assert seen.rows[name]["as_expected"]


@pytest.mark.parametrize(
    ("recipe", "condition"),
    [("virtio-open-lvm-raid1", "leg-failed"), ("virtio-dio-lvm-mirror", "zero-length-command")],
)
def test_qemus_probe_harms_the_array_and_not_md(recipe: str, condition: str) -> None:
    seen = page(recipe, "--controls", "--trials", "1")
    for aio in ("native", "threads"):
        cell = f"guest.drives.vda.aio={aio}"
        assert (seen.verdict(cell), seen.condition(cell)) == ("bad", condition), seen.table()
    controls_hold(seen, "plain-md", "page-cache")
    assert seen.exit_code == 1


@pytest.mark.minutes(2)
def test_a_running_guest_fails_the_leg_as_well() -> None:
    cell = "guest.drives.vda.aio=native"
    seen = page("virtio-dio-lvm-raid1", "--controls", "--trials", "1", "--cell", cell)
    assert (seen.verdict(cell), seen.condition(cell)) == ("bad", "leg-failed"), seen.table()
    assert (seen.step(cell, "probe")["exit"], seen.step(cell, "load")["exit"]) == (0, 0)
    controls_hold(seen, "plain-md")


def test_one_misaligned_read_fails_a_leg_and_an_aligned_one_is_served() -> None:
    seen = page("dio-misaligned-pread", "--controls", "--trials", "1")
    assert (seen.verdict(""), seen.condition("")) == ("bad", "leg-failed"), seen.table()
    controls_hold(seen, "aligned", "plain-md")


def test_the_family_differs_by_level_on_nvme() -> None:
    words = ("--cell", "storage.{a,b,c,d}.disk=nvme", "--cell", "steps.probe.buffer_offset=1")
    seen = page("dio-family", *words, "--controls", "--trials", "1")
    met = {level: seen.condition(name) for name in seen.rows for level in LEVELS if level in name}
    assert met == LEVELS, seen.table()
    controls_hold(seen, "aligned", "plain-md", "linear")


def test_legs_with_a_wider_mask_come_to_harm_at_offset_4_and_the_others_are_served() -> None:
    raid1 = "storage.lv={lvm: raid1, of: [a, b], size: 64M}"
    seen = page("dio-family", "--cell", raid1, "--cell", "steps.probe.buffer_offset=4", "--trials", "1")
    met = {name.removeprefix("storage.{a,b,c,d}.disk="): seen.condition(name) for name in seen.rows}
    expected = {"nvme": "served", "scsi": "served", "virtio-blk": "leg-failed", "loop": "leg-failed"}
    assert met == expected, seen.table()


@pytest.mark.minutes(1.5)
def test_aio_does_not_matter_to_the_probe_and_the_page_cache_does() -> None:
    words = ("--cell", "storage.lv={lvm: raid1, of: [a, b], size: 64M}", "--cell", "storage.{a,b,c,d}.disk=nvme")
    seen = page("virtio-open-family", *words, "--controls", "--trials", "1")
    for aio in ("native", "threads", "io_uring"):
        cell = f"guest.drives.vda.aio={aio},guest.drives.vda.cache.direct="
        assert (seen.verdict(f"{cell}true"), seen.condition(f"{cell}true")) == ("bad", "leg-failed"), seen.table()
        assert seen.verdict(f"{cell}false") == ("not applicable" if aio == "native" else "good"), seen.table()
    controls_hold(seen, "plain-md", "linear", "page-cache")
