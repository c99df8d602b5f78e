# SPDX-License-Identifier: GPL-2.0-only
"""The installed fio says which jobs it does not take, before anything is tried."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.recipe.load import load
from bisector.system.proc import Processes
from bisector.trial.fio_jobs import faults

pytestmark = pytest.mark.skipif(not shutil.which("fio"), reason="fio is not installed")

RECIPE = """\
recipe: job
target: {kernel: {config: [base]}}
storage: {d: {disk: nvme, size: 64M}}
steps:
  - load: {fio: JOB}
bad_when: {bad: {exit: {load: 1}}}
good_when: {good: {exit: {load: 0}}}
"""


def said(folder: Path, job: str, job_file: str = "") -> list[str]:
    (folder / "load.fio").write_text(job_file)
    (folder / "job.yaml").write_text(RECIPE.replace("JOB", job))
    return [fault.message for fault in faults(load(folder / "job.yaml"), Processes(folder / "records"))]


def test_a_job_that_fio_takes_has_no_fault(tmp_path: Path) -> None:
    assert said(tmp_path, "{filename: '{d}', rw: randwrite, bs: 4k, randseed: '{seed}'}") == []
    assert said(tmp_path, "./load.fio", "[a]\nrw=read\nfilename={d}\n") == []


def test_a_mistyped_option_or_value_is_named(tmp_path: Path) -> None:
    (option,) = said(tmp_path, "{filename: '{d}', rww: randwrite}")
    assert "Bad option <rww=randwrite>" in option
    (value,) = said(tmp_path, "{filename: '{d}', rw: rnadwrite}")
    assert "failed parsing rw=rnadwrite" in value
    (in_file,) = said(tmp_path, "./load.fio", "[a]\nrw=read\nfilenam={d}\n")
    assert "Bad option <filenam=/dev/d>" in in_file


def test_check_gives_the_place_of_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(tmp_path, "{filename: '{d}', rww: randwrite}")
    assert main(["check", str(tmp_path / "job.yaml")]) == 5
    assert "job.yaml:5:40: steps.load.fio.rww: fio does not take this job" in capsys.readouterr().err
