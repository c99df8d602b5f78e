# SPDX-License-Identifier: GPL-2.0-only
"""What the slots do, as lines."""

from bisector.busy import LINES, BusySlots
from bisector.execute.work import Work
from bisector.interfaces import Phase, Progress


def event(slot: str, phase: Phase, detail: str = "", candidate: str = "v6.18", worker: str = "") -> Progress:
    return Progress(phase, detail, candidate=candidate, work=Work(slot, worker))


def test_one_slot_is_one_line_and_a_free_one_has_none() -> None:
    busy = BusySlots()
    busy.take(event("trial 1", Phase.BOOT), 10.0)
    assert busy.lines(13.2) == ["v6.18: boot 3 s"]
    busy.take(event("trial 1", Phase.WORKLOAD, "probe"), 14.0)
    assert busy.lines(15.0) == ["v6.18: workload 1 s probe"]
    busy.free(Work("trial 1"))
    assert busy.lines(16.0) == []


def test_several_are_in_order_builds_first_and_their_words_stand_below_each_other() -> None:
    busy = BusySlots()
    busy.take(event("trial 10", Phase.BOOT), 0.0)
    busy.take(event("trial 2", Phase.WORKLOAD, "probe"), 0.0)
    busy.take(event("trial 1", Phase.BOOT, worker="rack3"), 0.0)
    busy.take(Progress(Phase.BUILD, "md.o", 0.43, candidate="5ff3f74e145a", work=Work("build 1", "rack3")), 0.0)
    assert busy.lines(2.0) == [
        "5ff3f74e145a: build 43% 2 s on rack3 md.o",
        "v6.18:        workload 2 s probe",
        "v6.18:        boot 2 s",
        "v6.18:        boot 2 s on rack3",
    ]


def test_a_build_ahead_says_so_and_has_no_line_in_a_file() -> None:
    busy = BusySlots()
    busy.take(event("ahead 1", Phase.BUILD, "md.o", "5ff3f74e145a"), 0.0)
    busy.take(event("trial 1", Phase.BOOT), 0.0)
    assert busy.lines(3.0) == ["v6.18:        boot 3 s", "5ff3f74e145a: build ahead 3 s md.o"]
    assert busy.take(event("ahead 1", Phase.BUILD, "md.o", "5ff3f74e145a"), 90.0) == ""


def test_more_than_fit_are_counted_in_the_last_line() -> None:
    busy = BusySlots()
    for number in range(1, LINES + 1):
        busy.take(event(f"trial {number}", Phase.BOOT), 0.0)
    assert len(busy.lines(1.0)) == LINES
    busy.take(event("trial 9", Phase.BOOT), 0.0)
    lines = busy.lines(1.0)
    assert (len(lines), lines[-1]) == (LINES, "  and 2 more")


def test_without_a_terminal_each_slot_is_shown_once_a_minute_while_its_phase_lasts() -> None:
    busy = BusySlots()
    shown = []
    for second in range(0, 200, 10):
        shown.append(busy.take(event("build 1", Phase.BUILD, f"{second}.o"), second))
        shown.append(busy.take(event("trial 1", (Phase.BOOT, Phase.WORKLOAD)[second // 10 % 2]), second))
        shown.append(busy.take(event("trial 1", Phase.BOOT, worker="rack3"), second))
    assert [line for line in shown if line] == [
        line for at in (60, 120, 180) for line in (f"v6.18: build, {at} s", f"v6.18: boot on rack3, {at} s")
    ]


def test_what_names_no_candidate_is_about_the_one_whose_turn_it_is() -> None:
    busy = BusySlots()
    busy.begin("v6.17")
    busy.take(Progress(Phase.DOWNLOAD, "linux-image", 0.5), 0.0)
    assert busy.lines(1.0) == ["v6.17: download 50% 1 s linux-image"]
    busy.free(None)
    assert busy.lines(1.0) == []
