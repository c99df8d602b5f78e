# SPDX-License-Identifier: GPL-2.0-only
"""Where time went: true begins and ends, a lane for each slot of each machine."""

import itertools
from dataclasses import replace
from pathlib import Path

from bisector.causes import BuildStage
from bisector.model import BuildFailure, Trial
from bisector.report import facts, formats
from bisector.report.spans import Span, SpanKind, Times, spans
from bisector.report.timeline import Timeline, timeline
from bisector.store import CampaignRow, Store, TrialKey, WorkRow
from tests.report import case

CREATED = case.ROW.created


def trial(number: int, seconds: float, slot: str = "", worker: str = "") -> Trial:
    made = case.GOOD_END.trials[0]
    seen = replace(made.observation, timing=replace(made.observation.timing, total=seconds), slot=slot, worker=worker)
    return replace(made, number=number, observation=seen, folder=f"trials/{number}")


def test_trials_that_overlap_keep_their_true_begin_and_end() -> None:
    times = Times({1: CREATED + 30, 2: CREATED + 25}, {})
    found = spans(CREATED, (trial(1, 20, "trial 1"), trial(2, 20, "trial 2")), (), (), times)
    assert [(span.begin, span.end, span.slot) for span in found] == [(5, 25, "trial 2"), (10, 30, "trial 1")]


def test_what_was_not_needed_and_what_was_broken_off_took_time_too() -> None:
    work = (
        WorkRow("build", "v6.18", "build 1", "", CREATED + 1, CREATED + 61),
        WorkRow("build", "5ff3f74e145a", "ahead 1", "rack3", CREATED + 10, CREATED + 20, "stopped"),
    )
    ahead = trial(0, 10, "trial 2")
    found = spans(CREATED, (), (ahead,), (), Times({}, {ahead.folder: CREATED + 90}, work))
    assert [(span.kind, span.label, span.begin, span.end, span.ended) for span in found] == [
        (SpanKind.BUILD, "v6.18", 1, 61, ""),
        (SpanKind.BUILD, "5ff3f74e145a", 10, 20, "stopped"),
        (SpanKind.TRIAL, "v6.17, ends, not needed", 80, 90, "clean"),
    ]


def test_builds_of_an_older_campaign_are_estimated_and_stand_beside_no_trial() -> None:
    image = case.image("a", "6.17.0")  # 190 seconds
    failed = BuildFailure(BuildStage.COMPILE, (), seconds=41.0)
    candidate = case.GOOD_END.candidate
    builds = ((candidate, image, CREATED + 200), (candidate, failed, CREATED + 250), (candidate, image, CREATED + 251))
    found = spans(CREATED, (trial(1, 5, ""),), (), builds, Times({1: CREATED + 205}, {}))
    assert [(span.kind.value, span.begin, span.end, span.ended) for span in found] == [
        ("build", 10, 200, ""),
        ("trial", 200, 205, "clean"),
        ("build", 209, 250, "failed"),
        ("build", 250, 251, ""),  # from the cache
    ]


def test_a_trial_of_another_campaign_took_no_time_here() -> None:
    taken = replace(trial(1, 20), folder="../other/trials/1")
    assert spans(CREATED, (taken,), (), (), Times({1: CREATED + 1}, {})) == ()


# ---- lanes ---------------------------------------------------------------------------------------------------------


def span(begin: float, end: float, slot: str = "", worker: str = "", kind: SpanKind = SpanKind.TRIAL) -> Span:
    return Span(kind, "v6.18", begin, end, "", slot, worker)


def rows(made: Timeline) -> list[int]:
    """The number of each bar's lane from the top, in order of the bars."""
    places = sorted({bar.y for bar in made.bars})
    return [places.index(bar.y) for bar in made.bars]


def test_each_slot_of_each_machine_has_a_lane_that_is_named() -> None:
    made = timeline(
        [
            span(0, 60, "build 1", kind=SpanKind.BUILD),
            span(0, 50, "ahead 1", kind=SpanKind.BUILD),
            span(60, 70, "trial 10"),
            span(60, 75, "trial 2"),
            span(61, 66, "trial 1", "rack3"),
        ]
    )
    assert [title.said for title in made.titles] == ["builds, 2 at once", "trials, 2 at once", "trials on rack3"]
    assert rows(made) == [0, 1, 3, 2, 4]
    assert [bar.said for bar in made.bars][-1] == "trial v6.18: 5 s, trial 1 on rack3"
    assert max(bar.y + bar.height for bar in made.bars) < made.height


def test_a_control_boot_has_a_place_among_the_trials_of_its_slot_and_says_what_it_is() -> None:
    made = timeline([span(0, 6, "trial 1", kind=SpanKind.CONTROL), span(6, 20, "trial 1")])
    assert [title.said for title in made.titles] == ["builds", "trials and control boots"]
    assert rows(made) == [0, 0]
    assert (made.bars[0].kind, made.bars[0].said) == ("control", "control boot v6.18: 6 s, trial 1")


def test_without_slots_what_overlaps_goes_to_the_first_free_lane() -> None:
    made = timeline([span(0, 10), span(5, 15), span(9.8, 20), span(15, 30), span(20, 21)])
    assert rows(made) == [0, 1, 0, 1, 0]


def test_one_builder_and_one_slot_look_as_they_always_did() -> None:
    made = timeline([span(0, 60, kind=SpanKind.BUILD), span(60, 70)])
    assert [(title.y, title.said) for title in made.titles] == [(10, "builds"), (52, "trials")]
    assert [(bar.y, bar.height) for bar in made.bars] == [(14, 16), (56, 16)]


def test_many_slots_have_thin_lanes_that_do_not_touch() -> None:
    made = timeline([span(0, 10, f"trial {number}") for number in range(1, 65)])
    places = sorted(bar.y for bar in made.bars)
    assert all(below - above > made.bars[0].height for above, below in itertools.pairwise(places))
    assert made.height < 500


def test_no_time_is_no_picture() -> None:
    assert timeline([]) == Timeline()


# ---- from the store ------------------------------------------------------------------------------------------------


def stored(tmp_path: Path) -> tuple[Store, CampaignRow]:
    store = Store(tmp_path)
    row = store.add_campaign(replace(case.ROW, outcome=None))
    for number, (slot, worker) in enumerate([("trial 1", ""), ("trial 2", "rack3")], 1):
        made = trial(0, 5, slot, worker)
        result = made.observation.result
        assert result is not None
        if worker:
            result = replace(result, tools=(("qemu", "10.0.2"), ("lvm", "2.03.16(2)")))
        accel = "kvm" if worker else "tcg"
        seen = replace(made.observation, result=result, accel=accel, vng="1.40")
        store.add_trial(row.id, replace(made, observation=seen, folder=f"trials/{number}"))
    store.add_ahead(row.id, TrialKey("i", "p", "ends", 7), trial(0, 5, "trial 3"))
    store.add_work(row.id, WorkRow("build", "v6.17", "build 1", "rack3", CREATED, CREATED + 60))
    return store, row


def test_a_report_has_the_slots_and_machines_of_the_store(tmp_path: Path) -> None:
    gathered = facts.gather(*stored(tmp_path))
    assert {(span.kind.value, span.slot, span.worker) for span in gathered.spans} == {
        ("build", "build 1", "rack3"),
        ("trial", "trial 1", ""),
        ("trial", "trial 2", "rack3"),
        ("trial", "trial 3", ""),
    }
    page = formats.render("html", gathered)
    for title in ("builds on rack3", "trials, 2 at once", "trials on rack3"):
        assert f">{title}<" in page


def test_where_machines_differ_a_report_names_both_and_what_is_alike_once(tmp_path: Path) -> None:
    found = dict(facts.gather(*stored(tmp_path)).tools)
    assert found["qemu"] == "7.2.22 on this host; 10.0.2 on rack3"
    assert found["acceleration"] == "tcg on this host; kvm on rack3"
    assert (found["lvm"], found["virtme-ng"]) == ("2.03.16(2)", "1.40")


def test_compilers_of_two_machines_are_both_named(tmp_path: Path) -> None:
    store, row = stored(tmp_path)
    image = case.image("a", "6.17.0")
    other = replace(image, identity="b" * 64, tools=(("compiler", "gcc 14"), ("make", "GNU Make 4.3")))
    for key, made in (("1", image), ("2", other)):
        store.add_build(row.id, key, case.GOOD_END.candidate, made)
    found = dict(facts.gather(store, row).tools)
    assert found["compiler"] == "gcc (Debian 12.2.0-14+deb12u1) 12.2.0; gcc 14"
    assert found["make"] == "GNU Make 4.3"


def test_compilers_of_a_builder_and_of_this_host_are_named_with_their_machines(tmp_path: Path) -> None:
    store, row = stored(tmp_path)
    image = case.image("a", "6.17.0")
    other = replace(image, identity="b" * 64, tools=(("compiler", "gcc 14"),), host="rack3")
    for key, made in (("1", image), ("2", other)):
        store.add_build(row.id, key, case.GOOD_END.candidate, made)
    found = dict(facts.gather(store, row).tools)
    assert found["compiler"] == "gcc (Debian 12.2.0-14+deb12u1) 12.2.0 on this host; gcc 14 on rack3"
