# SPDX-License-Identifier: GPL-2.0-only
"""KVM is believed after a real boot only, and asked once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisector.model import Ending, Observation
from bisector.trial import accel


class Boots:
    """Counts the boots that were asked for."""

    def __init__(self, ending: Ending, detail: str = "") -> None:
        self.observation = Observation(ending, detail=detail)
        self.count = 0

    def __call__(self) -> Observation:
        self.count += 1
        return self.observation


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.write_text("")
    return path


def choose(state: Path, device: Path, boots: Boots, image: str = "one") -> accel.Answer:
    return accel.choose(state, "/usr/bin/env", image, boots, device=device)


def test_no_device_no_boot(tmp_path: Path) -> None:
    boots = Boots(Ending.FINISHED)
    answer = choose(tmp_path, tmp_path / "nothing", boots)
    assert (answer.accel, boots.count) == ("tcg", 0)
    assert "is not there" in answer.describe() and "software emulation" in answer.describe()


@pytest.mark.parametrize(
    ("ending", "detail", "expected"),
    [
        (Ending.FINISHED, "", "kvm"),
        (Ending.HARNESS, "QEMU: KVM internal error. Suberror: 1", "tcg"),
        (Ending.HARNESS, "QEMU was killed by signal 6: ...", "tcg"),
    ],
)
def test_the_answer_is_remembered(tmp_path: Path, device: Path, ending: Ending, detail: str, expected: str) -> None:
    boots = Boots(ending, detail)
    first = choose(tmp_path / "state", device, boots)
    assert first.accel == expected and detail in first.reason
    assert choose(tmp_path / "state", device, boots, image="another") == first
    assert accel.known(tmp_path / "state", "/usr/bin/env", device=device) == first
    assert boots.count == 1
    assert choose(tmp_path / "state", device, boots).describe().startswith("VMs run on")


def test_an_image_that_does_not_boot_says_nothing_of_the_host(tmp_path: Path, device: Path) -> None:
    boots = Boots(Ending.NO_AGENT, "no sign of the agent within 30 s")
    assert choose(tmp_path, device, boots).accel == "tcg"
    assert choose(tmp_path, device, boots).accel == "tcg"
    assert boots.count == 1, "the same image is not waited for again"
    assert choose(tmp_path, device, Boots(Ending.FINISHED), image="another").accel == "kvm"


def test_a_broken_harness_says_nothing_of_the_host(tmp_path: Path, device: Path) -> None:
    assert choose(tmp_path, device, Boots(Ending.HARNESS, "vng cannot be started")).accel == "tcg"
    assert accel.known(tmp_path, "/usr/bin/env", device=device) is None


def test_an_interrupted_boot_is_not_remembered(tmp_path: Path, device: Path) -> None:
    choose(tmp_path, device, Boots(Ending.CANCELLED))
    assert not (tmp_path / accel.MEMORY).exists()


def test_another_qemu_is_asked_again(tmp_path: Path, device: Path) -> None:
    choose(tmp_path, device, Boots(Ending.FINISHED))
    boots = Boots(Ending.FINISHED)
    accel.choose(tmp_path, "/bin/sh", "one", boots, device=device)
    assert boots.count == 1


def test_a_memory_that_is_broken_is_made_anew(tmp_path: Path, device: Path) -> None:
    for text in ("", "[]", '{"a": 1}', '{"a": {"accel": "kvm"}}', "\0"):
        (tmp_path / accel.MEMORY).write_text(text)
        assert choose(tmp_path, device, Boots(Ending.FINISHED)).accel == "kvm"


def test_auto_says_aloud_what_it_took(bench) -> None:
    bench.play("""
        if "--disable-kvm" not in sys.argv:
            say("KVM internal error. Suberror: 1"); time.sleep(600)
        finish()
    """)
    kvm = Path("/dev/kvm").exists()
    for _ in range(2):
        observation = bench.run(accel="auto")
        assert (observation.ending, observation.accel) == (Ending.FINISHED, "tcg")
    said = [progress.detail for progress in bench.phases if progress.phase == "accel"]
    assert len(said) == 2
    assert all(("Suberror: 1" if kvm else "is not there") in sentence for sentence in said)
    if kvm:
        assert "Suberror" in (bench.folder / "kvm/console.log").read_text()
