# SPDX-License-Identifier: GPL-2.0-only
"""The report of ``bisector test``: its cells with their verdicts, and not a word of a search that never was."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bisector.model import Candidate, Judgement, TargetKind, Verdict
from bisector.recipe.load import load
from bisector.recipe.matrix import cells
from bisector.recipe.resolve import resolved_yaml
from bisector.report import html, single, text
from bisector.report.facts import Facts, gather
from bisector.store import Store
from tests.report import case

GIVEN = Candidate(TargetKind.GIVEN, "/kernels/bzImage", label="bzImage")
NATIVE, THREADS = "guest.drives.vda.aio=native", "guest.drives.vda.aio=threads"
SHARED = "also-native"  # a control with the plan of a cell of the matrix


def stored(store: Store, *verdicts: tuple[str, Verdict, str], source: str = "") -> Facts:
    """A test as it is stored: cell, verdict and question of each; of equal questions the first one has the trials."""
    recipe = load("virtio-open-lvm-raid1")
    row = replace(case.ROW, id="test-1", state="test", repo="", good="", bad=GIVEN.revision, recipe=recipe.recipe,
                  source=source or resolved_yaml(recipe))  # fmt: skip
    store.add_campaign(row)
    plans: set[str] = set()
    for number, (cell, verdict, plan) in enumerate(verdicts):
        made = replace(case.judged(GIVEN, case.image("g", "6.18.5"), "test", verdict, number, 1), cell=cell, plan=plan)
        for trial in made.trials if plan not in plans else ():
            store.add_trial(row.id, replace(trial, cell=cell, plan=plan))
            folder = store.campaign_folder(row.id) / trial.folder
            folder.mkdir(parents=True)
            (folder / "kernel.log").write_bytes(case.LOG)
        plans.add(plan)
        store.add_judgement(row.id, "test", made)
    return gather(store, row)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


@pytest.fixture
def tested(store: Store) -> Facts:
    return stored(store, (NATIVE, Verdict.BAD, "n"), (THREADS, Verdict.GOOD, "t"), (SHARED, Verdict.BAD, "n"))


class Words(HTMLParser):
    """The page's text, and what stands in each row of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = ""
        self._in_style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._in_style = tag == "style"
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self._in_style:
            return
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_each_row_of_the_text_names_its_cell_and_verdict(tested: Facts) -> None:
    lines = text.render(tested).splitlines()
    for cell, verdict in ((NATIVE, "bad"), (THREADS, "good"), (SHARED, "bad")):
        (row,) = [line for line in lines if line.startswith(cell)]
        assert row.split()[1:3] == [verdict, {"bad": "1/1", "good": "0/1"}[verdict]]
    assert f"the verdict turns on {NATIVE.partition('=')[0]}" in " ".join(lines)
    assert all(len(line) <= 80 for line in lines if not line.startswith("files"))


def test_a_long_cell_with_a_long_condition_fits_eighty_columns(store: Store) -> None:
    cell = "storage.{a,b}.disk=virtio-blk,steps.x.y=42"
    facts = stored(store, (cell, Verdict.BAD, "n"))
    (trial,) = facts.trials
    long = replace(trial, reading=replace(trial.reading, condition="zero-length-command-of-a-leg"))
    lines = text.render(replace(facts, trials=(long,))).splitlines()
    assert "zero-length-command-of-a-leg" in " ".join(lines)
    assert [line for line in lines if len(line) > 80 and not line.startswith("files")] == []


def test_the_page_names_each_cell_with_its_verdict(tested: Facts) -> None:
    page = Words(html.render(tested))
    found = {row[0]: row[1:3] for row in page.rows if len(row) == 4}
    assert found == {
        "cell": ["verdict", "reproduced"],
        NATIVE: ["bad", "1/1"],
        THREADS: ["good", "0/1"],
        SHARED: ["bad", "1/1"],
    }
    assert "bzImage: bad in 2 cells, good in 1 cell" in page.text


@pytest.mark.parametrize("render", [text.render, html.render])
def test_nothing_is_said_of_a_search(tested: Facts, render: object) -> None:
    said = Words(render(tested)).text.partition("The recipe as resolved")[0].lower()  # type: ignore[operator]
    for word in ("the search", "good end", "bad end", "outcome yet", "halving", "all verdicts", "culprit"):
        assert word not in said


def test_the_evidence_of_both_sides_is_there_where_trials_are_shared(store: Store) -> None:
    facts = stored(store, (THREADS, Verdict.GOOD, "t"), ("plain", Verdict.GOOD, "t"), (NATIVE, Verdict.BAD, "n"))
    assert facts.good is not None and facts.bad is not None
    assert facts.good.judgement.cell == "plain"
    assert facts.good.trial is not None and facts.bad.trial is not None
    assert facts.good.excerpt.lines
    page = Words(html.render(facts))
    assert "bzImage, plain" in page.text
    assert f"bzImage, {NATIVE}" in page.text


def test_a_test_that_was_stopped_at_once_or_whose_recipe_is_gone_is_reported(store: Store) -> None:
    nothing = replace(stored(store, (NATIVE, Verdict.BAD, "n"), source="gone"), judgements=(), trials=())
    for render in (text.render, html.render):
        assert "no verdict yet" in render(nothing)
    assert NATIVE in text.render(gather(store, store.campaign("test-1")))


def test_cells_that_cannot_be_tried_stand_there_too(store: Store) -> None:
    recipe = load("virtio-open-family")
    first = next(each for each in cells(recipe) if not each.not_applicable)
    refused = [each for each in cells(recipe) if each.not_applicable]
    facts = stored(store, (first.name, Verdict.BAD, "n"), source=resolved_yaml(recipe))
    for render in (text.render, html.render):
        assert render(facts).count("not applicable") == len(refused)


def test_a_skip_says_why(store: Store) -> None:
    facts = stored(store, (NATIVE, Verdict.BAD, "n"))
    skipped = Judgement(GIVEN, Verdict.SKIP, "does not boot in 2 of 2: no agent", THREADS)
    facts = replace(facts, judgements=(*facts.judgements, ("test", skipped)))
    for render in (text.render, html.render):
        assert "does not boot in 2 of 2: no agent" in " ".join(render(facts).split())


@pytest.mark.parametrize(("name", "compares"), [("raid1-writes-slower", True), ("virtio-open-lvm-raid1", False)])
def test_a_stored_test_knows_whether_its_recipe_compares_with_the_good_end(
    store: Store, name: str, compares: bool
) -> None:
    found = single.answer(stored(store, ("", Verdict.SKIP, "n"), source=resolved_yaml(load(name))))
    assert found is not None and found.compares is compares


@pytest.mark.parametrize(("failed", "words"), [(1, "1 trial failed"), (4, "4 trials failed")])
def test_trials_that_the_harness_failed_are_said_of_their_cell(store: Store, failed: int, words: str) -> None:
    facts = stored(store, (NATIVE, Verdict.BAD, "n"), (THREADS, Verdict.GOOD, "t"))
    (stage, first), *others = facts.judgements
    shown = text.render(replace(facts, judgements=((stage, replace(first, harness_failures=failed)), *others)))
    was = "was" if failed == 1 else "were"
    assert shown.count("in the harness") == 1 and f"    {words} in the harness and {was} repeated\n" in shown
