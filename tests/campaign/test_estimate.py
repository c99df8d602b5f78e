# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign is said to take before it, held against what it takes."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from acting import Act

from bisector.cli import main
from bisector.estimate import Measurements, as_text, measured, of_commits, of_releases
from bisector.recipe.load import load
from bisector.session import Session
from bisector.store import CampaignRow, Store, WorkRow
from tests.search.planted import Planned, Planted


def test_a_campaign_takes_the_steps_builds_and_trials_that_were_expected(act: Act) -> None:
    acted = act(33, bug=range(20, 33))
    recipe = acted.request("c0", "c32").recipe
    expected = of_commits(32, Session.rule(recipe, sequential=True), 1, Measurements())
    row, outcome = acted.run("c0", "c32")
    store = Store(acted.folders.state)
    trials = Counter(trial.stage.partition("-")[0] for trial in store.trials(row.id))
    assert expected.steps == len(outcome.judgements) == 5
    assert sum(expected.builds.values()) == len(set(acted.world.built)) + 2  # with revert and apply
    assert expected.trials["ends"] == trials["ends"]
    assert abs(expected.trials["search"] - trials["search"]) <= expected.steps  # as its steps fall, good or bad
    assert expected.trials["proof"] == trials["proof"]


def test_each_cell_has_ends_and_the_chosen_one_has_them_twice() -> None:
    rule = Session.rule(load("virtio-open-lvm-raid1"), sequential=True)
    one, two = (of_commits(32, rule, cells, Measurements()).trials for cells in (1, 2))
    assert two["ends"] == 3 * one["ends"]
    assert (two["search"], two["proof"]) == (one["search"], one["proof"])


def test_ends_that_are_measured_first_take_eighteen_trials_more() -> None:
    rule = Session.rule(load("raid1-writes-slower"), sequential=True)
    one, two = (of_commits(32, rule, 1, Measurements(), numbers=numbers).trials["ends"] for numbers in (False, True))
    assert two == one + 18


def test_the_first_build_takes_the_longest_that_was_measured() -> None:
    rule = Session.rule(load("virtio-open-lvm-raid1"), sequential=True)
    found = of_commits(2, rule, 1, Measurements(builds=(300.0, 20.0, 20.0)))
    assert (sum(found.builds.values()), found.build_seconds, found.seconds) == (5, 380.0, None)
    text = as_text(found)
    assert "builds 6 min (the first 5 min, then 20 s each; 3 measured)" in text
    assert "trials unknown, for this host has run none of this recipe" in text


def test_a_search_over_releases_takes_so_many_trials_at_most() -> None:
    found = of_releases("Releases: 20", 6, 2, Measurements(trials=(10.0, 11.0, 30.0)))
    assert (found.trials, found.seconds) == (12, 132.0)
    assert "at most 2 min (11 s each; 3 measured), without downloads" in as_text(found)


def test_builds_count_by_config_and_trials_by_recipe(act: Act) -> None:
    acted = act(9, bug=range(5, 9))
    row, _ = acted.run("c0", "c8")
    recipe, store = acted.request("c0", "c8").recipe, Store(acted.folders.state)
    assert measured(store, recipe).builds == ()  # those of acted kernels take no time and are not noted
    work = WorkRow("build", "v6.18", "build 1", "", 100.0, 130.0)
    for each in (work, replace(work, result="failed"), replace(work, result="stopped"), replace(work, worker="rack3")):
        store.add_work(row.id, each)
    other = CampaignRow(**{**vars_of(row), "id": "other", "recipe": "other", "source": row.source})
    store.add_campaign(other)
    store.add_work("other", replace(work, ended=120.0))
    another_config = row.source.replace("lvm-raid", "md-raid").replace("base", "base, nvme")
    store.add_campaign(replace(other, id="third", source=another_config))
    store.add_work("third", replace(work, ended=900.0))
    found = measured(store, recipe)
    assert sorted(found.builds) == [20.0, 30.0]
    assert len(found.trials) == len(store.trials(row.id))
    assert measured(store, load("virtio-open-lvm-raid1")).trials == ()


def vars_of(row: CampaignRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in CampaignRow.__dataclass_fields__}


def test_run_estimate_prints_it_and_begins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Planted(tmp_path / "linux", [Planned(f"c{n}", (f"c{n - 1}",) if n else (), ()) for n in range(9)])
    ends = ["--releases", "off", "--repo", str(tmp_path / "linux"), "--good", "HEAD~8", "--bad", "HEAD"]
    assert main(["run", "virtio-open-lvm-raid1", *ends, "--estimate"]) == 0
    text = capsys.readouterr().out
    assert "commits     8: about 3 steps" in text
    assert "builds unknown, for this host has built nothing with this config" in text
    assert main(["run", "virtio-open-lvm-raid1", *ends, "--estimate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["estimate"]["commits"]["steps"] == 3
    assert Store(tmp_path / "state/bisector").listed() == ()
