# SPDX-License-Identifier: GPL-2.0-only
"""A night as a program sees it that watches: enough to draw a dashboard, without the store and without the summary."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nextgen import LinuxNext
from night_session import Nights, day, with_bug

from bisector.events import EventLog
from bisector.nightly import night
from bisector.terminal import Terminal

LEG = "legs-leg-failed"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/reports.md"


def watched_night(nights: Nights, file: Path) -> list[dict[str, Any]]:
    """One call, and the events of it."""
    file.unlink(missing_ok=True)
    log = EventLog(file)
    with nights.session() as session:
        session.setting = replace(session.setting, listener=log.listen)
        night.run(nights.watch(), session)
    log.close()
    return [json.loads(line) for line in file.read_text().splitlines()]


def of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


@pytest.fixture
def three(tree: LinuxNext, nights: Nights, tmp_path: Path) -> list[list[dict[str, Any]]]:
    """A night that meets a bug, one that has it still, one that finds it fixed."""
    nights_seen = []
    with_bug(tree, 1)
    nights_seen.append(watched_night(nights, tmp_path / "events"))
    day(tree, 2)
    nights_seen.append(watched_night(nights, tmp_path / "events"))
    day(tree, 3, lambda: tree.branch_commit("md", "check again", {"flags/leg": None}))
    nights_seen.append(watched_night(nights, tmp_path / "events"))
    nights_seen.append(watched_night(nights, tmp_path / "events"))
    return nights_seen


def test_a_dashboard_can_be_drawn_from_the_events(
    tree: LinuxNext, nights: Nights, three: list[list[dict[str, Any]]]
) -> None:
    first, second, third, fourth = three
    search = nights.searches()[0].id
    assert [(event["kind"], event["state"]) for event in of(first, "regression")] == [
        ("opened", "open"),
        ("named", "open"),
    ]
    outcome, *others = of(first, "outcome")
    assert others == []
    assert (outcome["kind"], outcome["regression"], outcome["campaign"], outcome["recipe"]) == (
        "culprit",
        LEG,
        search,
        "legs",
    )
    assert tree.nodes[outcome["culprit"]].subject == outcome["subject"] == "md: check less"
    (draft,) = of(first, "draft")
    assert (draft["regression"], Path(draft["folder"])) == (LEG, nights.out / "drafts" / LEG)
    assert [event["kind"] for event in of(second, "regression")] == ["still"]
    assert [(event["kind"], event["state"]) for event in of(third, "regression")] == [("fixed", "fixed")]
    answers = [(event["role"], event["verdict"]) for event in of(first, "answer")]
    assert answers == [("next", "bad"), ("base", "good"), ("rate", "bad")]
    begin, end = of(first, "night")
    assert (begin["state"], begin["tag"], begin["recipes"]) == ("open", "next-20261101", ["legs"])
    assert (end["state"], end["exit_code"], end["open"], end["fixed"]) == ("done", 1, 1, 0)
    assert [event["ran"] for event in of(fourth, "night")] == [False]


def test_a_person_reads_how_a_search_ended_once(tree: LinuxNext, nights: Nights) -> None:
    """It is an event of its own for programs, and the night's news for people."""
    screen = io.StringIO()
    with_bug(tree, 1)
    with nights.session() as session:
        session.setting = replace(session.setting, listener=Terminal(io.StringIO(), screen, {}).listen)
        night.run(nights.watch(), session)
    (search,) = nights.searches()
    assert search.outcome
    lines = [line for line in screen.getvalue().splitlines() if search.outcome.summary in line]
    assert lines == [f"  {search.outcome.summary}"]


def test_each_event_names_its_campaign_recipe_and_stage(nights: Nights, three: list[list[dict[str, Any]]]) -> None:
    first = three[0]
    known = {row.id for row in nights.store().campaigns()}
    for name in ("candidate", "trial", "verdict", "answer"):
        found = of(first, name)
        assert found
        assert all(event["campaign"] in known and event["recipe"] == "legs" and event["stage"] for event in found)
    stages = {event["stage"] for event in of(first, "verdict")}
    assert {"next", "base-leg-failed", "ends", "search", "proof"} <= {re.sub(r"-?\d+$", "", stage) for stage in stages}
    assert all(event["stage"] == "search" and event["campaign"] in known for event in of(first, "search"))


def documented() -> dict[str, set[str]]:
    """Event → its fields, as the document lists them."""
    section = DOCUMENT.read_text().split("## Events")[1]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}


def test_every_event_and_field_of_a_night_is_documented(three: list[list[dict[str, Any]]]) -> None:
    everywhere = {"schema", "at", "event", "campaign", "recipe", "stage", "detail", "fraction"}
    everywhere |= {"candidate", "slot", "worker"}
    fields = documented()
    for event in (event for events in three for event in events):
        assert event["event"] in fields
        assert set(event) - everywhere <= fields[event["event"]], event["event"]
