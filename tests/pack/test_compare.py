# SPDX-License-Identifier: GPL-2.0-only
"""What a repetition says of both trials."""

from dataclasses import replace
from pathlib import Path

from bisector.model import Ending, Observation, Reading, Signal, Timing
from bisector.pack.compare import Line, LineKind, Side, compare, same_answer
from bisector.pack.record import Record
from bisector.pack.replay import ReplayResult
from bisector.pack.show import replayed_text, steps_text
from bisector.pack.source import Source
from tests.report import case

TRIAL = case.PROOF_BAD.trials[0]
FIRST = Side(TRIAL, case.image("d", "6.17.0-rc6"), "0.1.0", "CONFIG_MD=y\n# CONFIG_X is not set\n")


def differing(now: Side) -> dict[str, tuple[str, str]]:
    return {line.name: (line.first, line.now) for line in compare(FIRST, now) if not line.same}


def test_the_same_trial_differs_in_nothing() -> None:
    assert differing(FIRST) == {}


def test_times_are_reported_and_are_no_difference() -> None:
    observation = replace(TRIAL.observation, timing=Timing(61.0, 2.0, 4.2, 99.0))
    now = replace(FIRST, trial=replace(TRIAL, observation=observation))
    assert differing(now) == {}
    assert Line(LineKind.TIME, "boot", "6.1 s", "61.0 s") in compare(FIRST, now)


def test_versions_of_everything_that_mattered_are_compared() -> None:
    image = replace(
        FIRST.image, tools=(("compiler", "gcc 14"), ("make", "GNU Make 4.3")), build_id="00", release="6.18"
    )
    result = replace(TRIAL.observation.result, tools=(("qemu", "10.1.0"), ("lvm", "2.03.16(2)")))  # type: ignore[type-var]
    trial = replace(TRIAL, observation=replace(TRIAL.observation, result=result, accel="kvm"))
    now = Side(trial, image, "0.2.0", "CONFIG_MD=m\n# CONFIG_X is not set\n")
    assert differing(now) == {
        "image build id": (FIRST.image.build_id, "00"),
        "image release": ("6.17.0-rc6", "6.18"),
        ".config": ("as recorded", "2 lines differ"),
        "bisector": ("0.1.0", "0.2.0"),
        "compiler": ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", "gcc 14"),
        "qemu": ("7.2.22", "10.1.0"),
        "python": ("3.11.2", "-"),
        "acceleration": ("tcg", "kvm"),
    }


def test_facts_and_the_answer_are_compared() -> None:
    other = case.PROOF_GOOD.trials[0]
    found = differing(replace(FIRST, trial=other))
    assert found == {
        "signal": ("reproduced", "clean"),
        "condition": ("leg-failed", "healthy"),
        "step probe": ("done, EIO", "done, EINVAL"),
        "layer boot": ("degraded, dma_alignment 511", "healthy, dma_alignment 511"),
    }
    assert not same_answer(compare(FIRST, replace(FIRST, trial=other)))


def test_a_trial_without_a_result_is_compared_too() -> None:
    gone = Observation(Ending.VM_GONE, detail="reset")
    trial = replace(TRIAL, observation=gone, reading=Reading(Signal.OTHER_FAILURE, reason="the VM ended"))
    found = differing(replace(FIRST, trial=trial))
    assert found["ending"] == ("finished", "vm_gone")
    assert found["step probe"] == ("done, EIO", "-")


def test_the_text_marks_what_differs_and_acts_on_no_terminal() -> None:
    lines = compare(FIRST, replace(FIRST, bisector="\x1b[31m0.2.0"))
    text = replayed_text(ReplayResult("a campaign", TRIAL, TRIAL, lines, "replay", "/folder"))
    assert "\n* bisector               0.1.0                      0.2.0\n" in text
    assert "\n  signal                 reproduced                 the same\n" in text
    assert text.endswith("the same answer\ndiffers (*): bisector\nlogs: /folder\n")


def test_a_comparison_and_the_list_of_trials_fit_a_terminal() -> None:
    cell = 'storage.lv={"lvm": "raid1", "of": ["a", "b"], "size": "64M"},storage.{a,b,c,d}.disk=nvme'
    trial = replace(TRIAL, cell=cell)
    image = replace(FIRST.image, identity="f" * 64, build_id="0" * 40, tools=(("compiler", "gcc " + "x" * 40),))
    for now in (FIRST, replace(FIRST, image=image)):
        lines = compare(FIRST, now)
        text = replayed_text(ReplayResult("a campaign", TRIAL, TRIAL, lines, "replay", "/folder"))
        assert [line for line in text.splitlines() if len(line) > 80] == []
        for line in lines:
            assert line.first[:12] in text
            assert line.same or line.now[:12] in text
    listed = steps_text(Source(Record(case.ROW, (), (trial,), ()), Path("/x"), Path("recipe.yaml"), "0.1.0"))
    assert [line for line in listed.splitlines() if len(line) > 80] == []
    assert '"size": "64M"' in listed
