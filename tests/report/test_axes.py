# SPDX-License-Identifier: GPL-2.0-only
"""The table of a matrix names the axis that its verdict turns on, and no other."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from bisector.answer import Answer, CellAnswer
from bisector.model import Candidate, Cell, Judgement, TargetKind, Verdict
from bisector.report import axes, table
from bisector.report.axes import Point

LEVEL, LEGS, OFFSET = "storage.lv", "storage.{a,b}.disk", "steps.probe.buffer_offset"
MATRIX = {LEVEL: ("raid1", "md"), LEGS: ("nvme", "scsi"), OFFSET: ("1", "4", "512")}


def points(answer: object) -> list[Point]:
    """A point per cell; ``answer`` gives verdict and outcome for the cell's values."""
    cells = [tuple(zip(MATRIX, values, strict=True)) for values in itertools.product(*MATRIX.values())]
    return [Point(cell, *answer(*(value for _, value in cell))) for cell in cells]  # type: ignore[operator]


def test_an_axis_that_decides_by_itself_is_named_with_its_values() -> None:
    shown = axes.as_text(points(lambda level, legs, offset: (Verdict.GOOD if offset == "512" else Verdict.BAD, "x")))
    assert shown == [
        f"the verdict turns on {OFFSET} (by itself): 1 bad, 4 bad, 512 good",
        f"nothing changes with {LEVEL}",
        f"nothing changes with {LEGS}",
    ]


def test_axes_that_decide_together_are_both_named_as_such() -> None:
    def answer(level: str, legs: str, offset: str) -> tuple[Verdict, str]:
        return (Verdict.BAD, "leg-failed") if level == "raid1" and offset != "512" else (Verdict.GOOD, "served")

    shown = axes.as_text(points(answer))
    assert shown[0] == f"the verdict turns on {LEVEL} (in 4 of 6 pairs): raid1 mixed, md good"
    assert shown[1] == f"the verdict turns on {OFFSET} (in 4 of 12 pairs): 1 mixed, 4 mixed, 512 good"
    assert shown[2] == f"nothing changes with {LEGS}"


def test_another_outcome_with_the_same_verdict_is_not_a_turn() -> None:
    shown = axes.as_text(
        points(lambda level, legs, offset: (Verdict.BAD, "escaped" if legs == "scsi" else "leg-failed"))
    )
    assert shown[1] == f"the outcome changes with {LEGS}, the verdict does not"


def test_cells_without_a_verdict_are_compared_with_none() -> None:
    def answer(level: str, legs: str, offset: str) -> tuple[Verdict | None, str]:
        if offset == "512":
            return None, ""
        return (Verdict.SKIP, "") if legs == "scsi" else (Verdict.BAD, "x")

    found = {axis.path: axis for axis in axes.axes(points(answer))}
    assert (found[LEGS].compared, dict(found[LEGS].verdicts)["scsi"]) == (0, "-")
    assert dict(found[OFFSET].verdicts) == {"1": "bad", "4": "bad", "512": "-"}
    assert not any("turns" in line for line in axes.as_text(points(answer)))


@given(st.lists(st.sampled_from((Verdict.GOOD, Verdict.BAD)), min_size=12, max_size=12))
def test_an_axis_is_named_exactly_when_two_cells_that_differ_in_it_alone_disagree(verdicts: list[Verdict]) -> None:
    drawn = iter(verdicts)
    made = points(lambda *_: (next(drawn), "x"))
    for place, axis in enumerate(axes.axes(made)):
        others = [tuple(p.overrides[:place] + p.overrides[place + 1 :]) for p in made]
        groups = {other: {p.verdict for p, o in zip(made, others, strict=True) if o == other} for other in others}
        assert (axis.flips > 0) is any(len(group) > 1 for group in groups.values())


def test_the_table_says_it_and_leaves_controls_out() -> None:
    candidate = Candidate(TargetKind.GIVEN, "/image", label="image")

    def row(value: str, verdict: Verdict, expect: str = "") -> CellAnswer:
        cell = Cell(f"{OFFSET}={value}", ((OFFSET, value),), expect)
        return CellAnswer(cell, Judgement(candidate, verdict, "so", cell.name))

    rows = (row("1", Verdict.BAD), row("512", Verdict.GOOD), row("0", Verdict.BAD, "good"))
    said = table.as_text(Answer("r", candidate, rows, "c", "/folder"))
    assert f"the verdict turns on {OFFSET} (by itself): 1 bad, 512 good\n" in said
    alone = table.as_text(Answer("r", candidate, rows[:1], "c", "/folder"))
    assert "turns on" not in alone and "changes with" not in alone


def test_the_table_of_a_large_matrix_fits_eighty_columns() -> None:
    levels = ('{"lvm": "raid1", "of": ["a", "b"], "size": "64M"}', '{"md": "raid1", "of": ["a", "b"]}')
    candidate = Candidate(TargetKind.GIVEN, "/image", label="image")
    rows = []
    for level, legs, offset in itertools.product(levels, MATRIX[LEGS], MATRIX[OFFSET]):
        overrides = ((LEVEL, level), (LEGS, legs), (OFFSET, offset))
        name = ",".join(f"{path}={value}" for path, value in overrides)
        verdict = Verdict.BAD if "lvm" in level else Verdict.GOOD
        rows.append(CellAnswer(Cell(name, overrides), Judgement(candidate, verdict, "so", name)))
    text = table.as_text(Answer("family", candidate, tuple(rows), "c", "/logs"))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert f"cells by {LEVEL}, {LEGS}, {OFFSET}" in text
    assert "lvm raid1, scsi, 512  bad" in text
    assert f"the verdict turns on {LEVEL} (by itself): lvm raid1 bad, md raid1 good" in text


def test_the_table_of_one_cell_with_long_overrides_fits_eighty_columns() -> None:
    candidate = Candidate(TargetKind.GIVEN, "/image", label="image")
    settings = ", ".join(f"storage.{leg}.disk=virtio-blk" for leg in "abcd")
    rows = (
        CellAnswer(Cell(settings), Judgement(candidate, Verdict.GOOD, "so", settings)),
        CellAnswer(Cell("plain-md", expect=Verdict.GOOD), Judgement(candidate, Verdict.GOOD, "so", "plain-md")),
    )
    lines = table.as_text(Answer("family", candidate, rows, "c", "/logs")).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[2] == "given: storage.a.disk=virtio-blk, storage.b.disk=virtio-blk,"
    assert any(line.startswith("(as given)  good") for line in lines)


def test_a_cell_that_the_software_refuses_says_why_within_eighty_columns() -> None:
    candidate = Candidate(TargetKind.GIVEN, "/image", label="image")
    why = "QEMU refuses aio native without 'cache: {direct: true}', and says so before it opens anything"
    rows = (CellAnswer(Cell("lvm raid10, native, false", not_applicable=why), None),)
    lines = table.as_text(Answer("family", candidate, rows, "c", "/logs")).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "not applicable" in lines[3]
    assert " ".join(line.strip() for line in lines[4:6]) == why


def test_json_has_an_empty_text_for_what_a_cell_does_not_have() -> None:
    candidate = Candidate(TargetKind.GIVEN, "/image", label="image")
    rows = (
        CellAnswer(Cell("plain"), Judgement(candidate, Verdict.GOOD, "so", "plain")),
        CellAnswer(Cell("must", expect=Verdict.BAD), Judgement(candidate, Verdict.GOOD, "so", "must")),
        CellAnswer(Cell("never", not_applicable="QEMU refuses it"), None),
    )
    found = json.loads(table.as_json(Answer("family", candidate, rows, "c", "/logs")))["cells"]
    assert [row["cell"] for row in found] == [
        {"name": "plain", "overrides": [], "expect": "", "not_applicable": ""},
        {"name": "must", "overrides": [], "expect": "bad", "not_applicable": ""},
        {"name": "never", "overrides": [], "expect": "", "not_applicable": "QEMU refuses it"},
    ]
    assert [row["as_expected"] for row in found] == [True, False, True]
