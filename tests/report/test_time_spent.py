# SPDX-License-Identifier: GPL-2.0-only
"""Where time went, in one line: wall time adds up, machine time is said where it differs, pauses count for nothing."""

import json
from dataclasses import replace
from pathlib import Path

from bisector.model import Outcome, OutcomeKind
from bisector.report import facts, formats, json_format
from bisector.report.spans import Span, SpanKind
from bisector.report.time_spent import Share, TimeSpent, line, time_spent
from bisector.stage import CampaignState
from bisector.store import Store, WorkRow
from tests.report import case


def build(begin: float, end: float, slot: str = "build 1", ended: str = "") -> Span:
    return Span(SpanKind.BUILD, "v6.18", begin, end, ended, slot)


def trial(begin: float, end: float, slot: str = "trial 1") -> Span:
    return Span(SpanKind.TRIAL, "v6.18, ends", begin, end, "clean", slot)


def test_work_that_ran_one_after_the_other_adds_up_with_the_rest() -> None:
    spent = time_spent((build(10, 310), trial(310, 330), trial(330, 350)), ((0, 360),))
    assert spent == TimeSpent(360, Share(1, 300, 300), Share(2, 40, 40), both=0, rest=20)
    assert line(spent) == "6 min: 1 build 5 min, 2 trials 40 s, rest 20 s"


def test_trials_beside_each_other_took_less_time_than_machines_gave() -> None:
    spent = time_spent((trial(0, 60), trial(10, 70, "trial 2"), trial(20, 80, "trial 3")))
    assert spent == TimeSpent(80, Share(), Share(3, 80, 180), both=0, rest=0)
    assert line(spent) == "80 s: 3 trials 80 s (machine time 3 min), rest 0 s"


def test_a_build_beside_a_trial_is_not_counted_twice() -> None:
    spent = time_spent((build(0, 60), build(60, 90, "ahead 1"), trial(60, 80)), ((0, 95),), saved=6)
    assert spent == TimeSpent(95, Share(2, 90, 90), Share(1, 20, 20), both=20, rest=5, ahead=1, saved=6)
    assert spent.builds.wall + spent.trials.wall - spent.both + spent.rest == spent.seconds
    assert line(spent) == (
        "95 s: 2 builds 90 s, 1 trial 20 s, of these 20 s one kind beside another, rest 5 s; "
        "6 builds saved by equal inputs, 1 made ahead"
    )


def test_a_build_ahead_that_was_broken_off_made_nothing_and_took_its_time() -> None:
    spent = time_spent((build(0, 60), build(60, 90, "ahead 1", "stopped")))
    assert spent == TimeSpent(90, Share(1, 90, 90), Share(), both=0, rest=0, stopped=1)
    assert line(spent) == "90 s: 1 build 90 s, rest 0 s; 1 broken off"


def test_control_boots_are_no_trials() -> None:
    control = Span(SpanKind.CONTROL, "v6.18, control", 10, 16, "", "trial 2")
    spent = time_spent((trial(0, 20), control, trial(20, 40)))
    assert spent == TimeSpent(40, Share(), Share(2, 40, 40), both=6, rest=0, controls=Share(1, 6, 6))
    assert line(spent) == "40 s: 2 trials 40 s, 1 control boot 6 s, of these 6 s one kind beside another, rest 0 s"


def test_a_trial_that_no_decision_stands_on_is_time_and_no_trial() -> None:
    unneeded = replace(trial(0, 30, "trial 2"), needed=False)
    spent = time_spent((trial(0, 20), unneeded, replace(trial(30, 35), ended="stopped")))
    assert spent == TimeSpent(35, Share(), Share(1, 35, 55), both=0, rest=0, unneeded=1, stopped=1)
    assert line(spent) == "35 s: 1 trial 35 s (machine time 55 s), rest 0 s; 1 trial not needed, 1 broken off"


def test_the_night_between_an_interruption_and_resume_is_no_time_spent() -> None:
    spent = time_spent((trial(0, 20), trial(50_010, 50_030)), ((0, 30), (50_000, 50_040)))
    assert spent is not None
    assert (spent.seconds, spent.rest) == (70, 30)


def test_a_run_that_was_killed_reaches_to_the_end_of_its_work() -> None:
    spent = time_spent((trial(5, 20), trial(50_010, 50_030)), ((0, None), (50_000, None)))
    assert spent is not None
    assert (spent.seconds, spent.rest) == (50, 15)


def test_trials_after_the_outcome_count() -> None:
    spent = time_spent((trial(0, 20), trial(100, 120)), ((0, 30),))
    assert spent is not None
    assert (spent.seconds, spent.rest) == (50, 10)


def test_a_campaign_without_work_says_nothing(tmp_path: Path) -> None:
    assert time_spent(()) is None
    store = Store(tmp_path)
    store.add_campaign(case.ROW)
    assert "\ntime " not in formats.render("text", facts.gather(store, store.campaign(case.ROW.id)))


def test_text_and_json_say_where_time_went(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_campaign(case.ROW)
    store.set_state(case.ROW.id, CampaignState.RUNNING)
    began = case.ROW.created
    store.add_work(case.ROW.id, WorkRow("build", "v6.18", "build 1", "", began, began + 300))
    store.finish(case.ROW.id, Outcome(OutcomeKind.UNRESOLVED, "nothing"))
    gathered = facts.gather(store, store.campaign(case.ROW.id))
    assert ": 1 build 5 min, rest " in formats.render("text", gathered)
    time = json.loads(json_format.render(gathered))["time"]
    assert time["builds"] == {"count": 1, "wall": 300.0, "machine": 300.0}
    assert time["seconds"] > 300
