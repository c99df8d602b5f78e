# SPDX-License-Identifier: GPL-2.0-only
"""Steps that run fio: what a recipe may say, and what is read from what fio printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bisector.agent import fio
from bisector.agent.command import CommandResult, Halt
from bisector.agent.outcome import Outcome
from bisector.agent.plan import Result, Step, StepFacts
from bisector.codec import dump
from bisector.errors import RecipeError
from bisector.model import Cell, Ending, Fact, FactKind, Observation
from bisector.recipe.facts import printed
from bisector.recipe.facts.table import ROWS
from bisector.recipe.load import load
from bisector.recipe.parse import parse
from bisector.recipe.plan import plan_for, question_for
from bisector.recipe.programs import of_steps
from bisector.recipe.resolve import resolved_yaml
from bisector.recipe.text import Fault

JOB = {"filename": "{d}", "rw": "randwrite", "bs": "4k", "direct": True, "iodepth": 8}


def parsed(job: Any, **more: Any) -> tuple[Any, tuple[Fault, ...]]:
    data: dict[str, Any] = {
        "recipe": "loaded",
        "target": {"kernel": {"config": ["base"]}},
        "storage": {"d": {"disk": "nvme", "size": "64M"}, "data": {"fs": "ext4", "of": "d"}},
        "steps": [{"load": {"fio": job, **more}}],
        "bad_when": {"slow": {"value": {"load": {"write.iops": "< 0.8 × good"}}}},
        "good_when": {"done": {"exit": {"load": 0}}},
    }
    return parse(data)


def test_the_options_of_a_job_are_in_the_plan_and_fio_is_a_program_that_it_needs() -> None:
    recipe, faults = parsed(JOB, **{"for": "3s"})
    assert not faults
    (step,) = plan_for(recipe, Cell("plain")).steps
    assert (step.verb, step.seconds, step.objects) == ("fio", 3.0, ())
    assert step.argv == ("filename={d}", "rw=randwrite", "bs=4k", "direct=1", "iodepth=8")
    assert step.keep == printed.KEPT
    assert [one.name for one in of_steps(recipe)] == ["fio"]
    again, _ = parse(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert dump(plan_for(again, Cell("plain"))) == dump(plan_for(recipe, Cell("plain")))


def test_a_number_of_a_job_is_compared_with_the_good_end() -> None:
    recipe, _ = parsed(JOB)
    assert [(fact.name, fact.values) for fact in question_for(recipe).required] == [("write.iops", ("< 0.8 × good",))]


@pytest.mark.parametrize(
    ("job", "more", "said"),
    [
        ("load.fio", {}, "./NAME of a job file"),
        ({}, {}, "expected options of fio's"),
        (["--rw=read"], {}, "expected options of fio's"),
        ({"--rw": "read"}, {}, "no option of a job"),
        ({"filename": {"d": "x"}}, {}, "in quotes: '{disk}'"),
        ({"filename": "{d}", "rw": "a\nb"}, {}, "one printable line"),
        ({"filename": "{e}"}, {}, "no layer for the placeholder {e}"),
        ({"filename": "{data}"}, {}, "write directory: '{data}'"),
        ({"directory": "{d}"}, {}, "write filename: '{d}'"),
        ({"rw": "read", "size": "1M"}, {}, "no option names a layer"),
        ({**JOB, "runtime": 3}, {"for": "3s"}, "'for' says how long"),
        (JOB, {"in": "guest"}, "no 'in'"),
    ],
)
def test_what_is_wrong_is_said(job: Any, more: dict[str, Any], said: str) -> None:
    _, faults = parsed(job, **more)
    assert [fault for fault in faults if said in fault.message], faults


def test_an_engine_without_files_names_no_layer() -> None:
    assert not parsed({"ioengine": "null", "size": "1M"})[1]


def test_a_job_file_is_a_file_of_the_recipes_own_whose_placeholders_are_checked(tmp_path: Path) -> None:
    recipe, _ = parsed("./load.fio")
    (tmp_path / "loaded.yaml").write_text(resolved_yaml(recipe))
    with pytest.raises(RecipeError, match=r"steps\.load\.fio: \./load\.fio: there is no such file"):
        load(tmp_path / "loaded.yaml")
    (tmp_path / "load.fio").write_text("[global]\nrw=read\n[one]\nfilename={d}\n[two]\nfilename={f}\n")
    with pytest.raises(RecipeError, match=r"no layer for the placeholder \{f\} \(allowed: seed, d, data\)"):
        load(tmp_path / "loaded.yaml")
    (tmp_path / "load.fio").write_text("[one]\nfilename={d}\n")
    plan = plan_for(load(tmp_path / "loaded.yaml"), Cell("plain"))
    assert (plan.steps[0].argv, [file.name for file in plan.files]) == (("./load.fio",), ["load.fio"])


# ---- what fio printed ----------------------------------------------------------------------------------------------

SAID = "verify: bad magic header 0, wanted acca at file /dev/vda offset 0, length 4096\n"


def report(**job: Any) -> str:
    """What fio 3.33 prints of one job, less what is not looked at."""
    whole = {"jobname": "load", "error": 0, "write": {"iops": 812.5, "bw": 3250, "total_ios": 900}, **job}
    return json.dumps({"fio version": "fio-3.33", "jobs": [whole]}, indent=2) + "\n"


def seen(output: str, code: int | None = 0, *, keep: int = printed.KEPT) -> Outcome:
    return fio.outcome(Step("load", "fio", argv=("filename=x",), keep=keep), CommandResult(code, output))


def test_the_numbers_of_a_job_are_kept_and_summed_up() -> None:
    found = seen("fio: some remark\n" + report())
    assert (found.exit, found.errno, found.count, found.failed) == (0, "", 900, 0)
    assert printed.number(found.detail, "write.iops") == 812.5
    assert found.detail.splitlines()[-2:] == ["fio: some remark", "load: write 812.5 IOPS, 3250 KiB/s"]
    assert "{" not in seen(report(), keep=0).detail  # nobody looks for a number


def test_its_numbers_are_no_words() -> None:
    """Where one condition looks for a number, and another for what fio said."""
    step = replace(StepFacts("load", 1.0, 2.0, done=True, exit=0), detail=seen(SAID + report(note="x" * 20_000)).detail)
    observation = Observation(Ending.FINISHED, Result(steps=(step,)))
    for value, expected in (("error", False), ("bad magic", True)):
        found = ROWS[FactKind.OUTPUT].evaluate(Fact(FactKind.OUTPUT, "load", (value,)), observation)
        assert (found.seen, found.lost) == (expected, False)


def test_a_verify_error_and_one_of_the_disk_are_told_apart_by_errno() -> None:
    found = seen(SAID + report(error=84), 1)
    assert (found.exit, found.errno, found.failed) == (1, "EILSEQ", 1)
    assert SAID.strip() in found.detail
    assert seen(report(error=5), 1).errno == "EIO"
    gone_on = seen(report(error=84, total_err=3), 0)  # continue_on_error
    assert (gone_on.exit, gone_on.errno, gone_on.failed) == (0, "EILSEQ", 3)


@pytest.mark.parametrize(
    "output",
    [
        "Bad option <rww=read>\nDid you mean rw?\nfio: job load dropped\n",
        "fio: engine lbaio not loadable\nfio: failed to load engine\n",
        "load: you need to specify size=\n" + report(error=22),
    ],
)
def test_a_job_that_fio_does_not_run_says_nothing_of_a_kernel(output: str) -> None:
    with pytest.raises(Halt, match="fio did not run the job") as halted:
        seen(output, 1)
    assert halted.value.fault.stage == "plan"


def test_a_fio_that_was_killed_or_did_not_end_is_no_fault_of_the_recipe() -> None:
    assert seen("", -9).exit == -9
    assert seen("", None).done is False
