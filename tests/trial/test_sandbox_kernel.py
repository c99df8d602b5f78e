# SPDX-License-Identifier: GPL-2.0-only
"""What the guest of a trial without a VM boots, and what it runs on: settled before the agent starts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bisector import doctor
from bisector.agent.plan import Guest, Plan, Step
from bisector.interfaces import CancelToken, Progress
from bisector.model import Ending, Image, Observation
from bisector.recipe.load import load
from bisector.system.proc import Processes
from bisector.system.xdg import Folders
from bisector.trial.accel import Answer, Cause
from bisector.trial.sandbox import SandboxRunner

KERNEL = b"not a kernel that boots"


@dataclass
class Kvm:
    """Stands in for the boot that tries KVM."""

    answer: Answer
    asked: int = 0

    def accelerate(self, *_: object) -> Answer:
        self.asked += 1
        return self.answer


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Observation]:
    (tmp_path / "kernel").write_bytes(KERNEL)
    (tmp_path / "modules/lib/modules/6.0-x").mkdir(parents=True)
    (tmp_path / "modules/lib/modules/6.0-x/modules.dep").touch()
    (tmp_path / "work").mkdir()
    held = {"k": Image("k", str(tmp_path / "kernel"), modules=str(tmp_path / "modules"))}
    environ = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "work")}

    def run(kvm: Kvm | None = None, accel: str = "auto", kernel: str = "k") -> Observation:
        runner = SandboxRunner(Processes(tmp_path / "records"), environ, held.get, kvm)  # type: ignore[arg-type]
        script = "cat ../guest-kernel; ls ../guest-modules/6.0-x; ls /dev/kvm 2>&1"
        plan = Plan(
            (Step("look", "run", argv=("sh", "-c", script)),), guest=Guest(accel=accel), vm=False, kernel=kernel
        )
        return runner.run(Image("i", ""), plan, tmp_path / "stored", listener=said.append, cancel=CancelToken())

    said: list[Progress] = []
    return run


def detail(observation: Observation) -> str:
    assert observation.ending is Ending.FINISHED and observation.result is not None
    return observation.result.steps[0].detail


def accel_of(folder: Path) -> str:
    return str(json.loads((folder / "stored/plan.json").read_text())["guest"]["accel"])


def test_kernel_and_modules_of_the_image_are_there(run: Callable[..., Observation]) -> None:
    seen = detail(run(accel="tcg"))
    assert KERNEL.decode() in seen and "modules.dep" in seen


def test_a_kernel_that_is_gone_is_the_harness_failing(run: Callable[..., Observation]) -> None:
    observation = run(kernel="pruned")
    assert observation.ending is Ending.HARNESS and "guest's kernel is gone" in observation.detail


@pytest.mark.parametrize(("answer", "given"), [("tcg", "tcg"), ("kvm", "kvm")])
def test_whether_kvm_works_is_found_out_before_and_not_by_the_qemu_under_test(
    run: Callable[..., Observation], tmp_path: Path, answer: str, given: str
) -> None:
    kvm = Kvm(Answer(answer, "tried"))
    shown = detail(run(kvm))
    assert (kvm.asked, accel_of(tmp_path)) == (1, given)
    if answer == "tcg":
        assert "No such file" in shown  # the device is for guests on KVM alone


def test_what_the_recipe_says_is_not_tried(run: Callable[..., Observation], tmp_path: Path) -> None:
    kvm = Kvm(Answer("kvm", "tried"))
    detail(run(kvm, accel="tcg"))
    assert (kvm.asked, accel_of(tmp_path)) == (0, "tcg")


def test_a_campaign_whose_kvm_is_gone_does_not_go_on_emulated(run: Callable[..., Observation]) -> None:
    observation = run(Kvm(Answer("kvm", "make /dev/kvm usable", Cause.GONE)))
    assert (observation.ending, observation.detail) == (Ending.HARNESS, "make /dev/kvm usable")


def test_doctor_looks_for_what_such_a_guest_needs(tmp_path: Path) -> None:
    data = {
        "recipe": "r",
        "target": {"qemu": {"build": ["qemu-img"]}},
        "vm": "none",
        "storage": {"img": {"file": "raw", "size": "1M"}},
        "guest": {"os": "linux", "drives": {"vda": {"of": "img"}}},
        "steps": [{"boot": {"start": "guest"}}],
        "bad_when": {"b": {"exit": {"boot": 1}}},
        "good_when": {"g": {"exit": {"boot": 0}}},
    }
    (tmp_path / "r.yaml").write_text(json.dumps(data))
    folders = Folders(tmp_path / "state", tmp_path / "cache")
    names = {finding.name for finding in doctor.examine(load(tmp_path / "r.yaml"), folders, os.environ)}
    assert {"qemu-system-x86_64", "busybox", "/dev/kvm"} <= names
    assert "vng" not in names
