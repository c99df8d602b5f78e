# SPDX-License-Identifier: GPL-2.0-only
"""KVM is believed after a real boot only, and tried once."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.causes import Trouble
from bisector.interfaces import Phase
from bisector.model import Ending, Observation, Timing
from bisector.trial import accel


class Boots:
    """Counts the boots."""

    def __init__(self, ending: Ending, detail: str = "", trouble: Trouble = Trouble.NONE) -> None:
        self.observation = Observation(ending, detail=detail, trouble=trouble)
        self.count = 0

    def __call__(self) -> Observation:
        self.count += 1
        return self.observation


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.write_text("")
    return path


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> None:
    """As another process begins."""
    accel.forget(tmp_path)


def choose(state: Path, device: Path, boots: Boots, image: str = "one") -> accel.Answer:
    return accel.choose(state, "/usr/bin/env", image, boots, device=device)


def test_no_device_no_boot(tmp_path: Path) -> None:
    boots = Boots(Ending.FINISHED)
    answer = choose(tmp_path, tmp_path / "nothing", boots)
    assert (answer.accel, boots.count) == ("tcg", 0)
    assert "is not there" in answer.describe() and "software emulation" in answer.describe()


@pytest.mark.parametrize(
    ("ending", "detail", "trouble", "expected"),
    [
        (Ending.FINISHED, "", Trouble.NONE, "kvm"),
        (Ending.HARNESS, "QEMU: KVM internal error. Suberror: 1", Trouble.KVM, "tcg"),
        (Ending.HARNESS, "any words at all", Trouble.KVM, "tcg"),
    ],
)
def test_a_lasting_answer_is_remembered(
    tmp_path: Path, device: Path, ending: Ending, detail: str, trouble: Trouble, expected: str
) -> None:
    boots = Boots(ending, detail, trouble)
    first = choose(tmp_path / "state", device, boots)
    assert first.accel == expected and detail in first.reason
    assert choose(tmp_path / "state", device, boots, image="another") == first
    assert accel.known(tmp_path / "state", "/usr/bin/env", device=device) == first
    assert boots.count == 1
    assert choose(tmp_path / "state", device, boots).describe().startswith("VMs run on")


def test_an_answer_is_not_remembered_for_ever(tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(tmp_path, device, Boots(Ending.HARNESS, "KVM", Trouble.KVM))
    later = time.time() + accel.LASTS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert accel.known(tmp_path, "/usr/bin/env", device=device) is None
    assert choose(tmp_path, device, Boots(Ending.FINISHED)).accel == "kvm"


@pytest.mark.parametrize(
    ("detail", "trouble"),
    [
        ("QEMU ended with exit code 1: could not allocate memory", Trouble.QEMU),
        ("QEMU was killed by signal 9: ", Trouble.QEMU),
        ("vng cannot be started", Trouble.OTHER),
        ("QEMU: words that begin as others did", Trouble.NONE),
    ],
)
def test_what_may_pass_is_tried_twice_and_says_nothing_lasting_of_the_host(
    tmp_path: Path, device: Path, detail: str, trouble: Trouble
) -> None:
    boots = Boots(Ending.HARNESS, detail, trouble)
    answer = choose(tmp_path, device, boots)
    assert (answer.accel, answer.cause, boots.count) == ("tcg", accel.Cause.PASSING, 2)
    assert accel.known(tmp_path, "/usr/bin/env", device=device) is None
    assert choose(tmp_path, device, Boots(Ending.FINISHED)).accel == "kvm"


def test_a_failure_that_has_passed_is_none(tmp_path: Path, device: Path) -> None:
    seen = [Observation(Ending.FINISHED), Observation(Ending.HARNESS, trouble=Trouble.QEMU)]
    assert accel.choose(tmp_path, "/usr/bin/env", "one", seen.pop, device=device).accel == "kvm"


def test_an_image_that_does_not_boot_decides_for_this_process_alone(tmp_path: Path, device: Path) -> None:
    boots = Boots(Ending.NO_AGENT, "no sign of the agent within 30 s")
    assert choose(tmp_path, device, boots).accel == "tcg"
    assert choose(tmp_path, device, Boots(Ending.FINISHED), image="another").accel == "tcg", "not two in one process"
    assert boots.count == 2
    accel.forget(tmp_path)  # as another process begins
    assert choose(tmp_path, device, Boots(Ending.FINISHED), image="another").accel == "kvm"


@pytest.mark.parametrize(
    ("image", "seconds", "tried", "lasts"),
    [
        ("one", 6.0, accel.PATIENCE, True),
        ("one", accel.PATIENCE, accel.PATIENCE, False),
        ("another", 6.0, accel.PATIENCE, False),
        ("one", 6.0, 3.0, False),  # it crashed with KVM, and that may be its own fault
    ],
)
def test_kvm_under_which_a_kernel_is_silent_that_emulation_boots_sooner_is_not_tried_again(
    tmp_path: Path, device: Path, image: str, seconds: float, tried: float, lasts: bool
) -> None:
    boots = Boots(Ending.NO_AGENT, "no sign of the agent within 30 s")
    boots.observation = replace(boots.observation, timing=Timing(total=tried))
    choose(tmp_path, device, boots)
    assert boots.count == (1 if tried >= accel.PATIENCE else 2), "silence costs half a minute each time"
    accel.came_up(tmp_path, "/usr/bin/env", image, seconds)
    remembered = accel.known(tmp_path, "/usr/bin/env", device=device)
    assert (remembered is not None) is lasts
    accel._silent.clear()  # as another process begins
    boots = Boots(Ending.FINISHED)
    again = choose(tmp_path, device, boots, image="third")
    assert (again.accel, boots.count) == (("tcg", 0) if lasts else ("kvm", 1))
    assert again.cause is (accel.Cause.SILENT if lasts else accel.Cause.WORKS)
    assert "by emulation it booted in 6 s" in again.reason or not lasts


# ---- one campaign, one acceleration --------------------------------------------------------------------------------


def of_campaign(folder: Path, device: Path, boots: Boots, image: str = "one") -> accel.Answer:
    folder.mkdir(exist_ok=True)
    return accel.choose(folder.parent, "/usr/bin/env", image, boots, device=device, campaign=folder)


@pytest.mark.parametrize(
    "first",
    [
        Boots(Ending.NO_AGENT, "no sign of the agent"),
        Boots(Ending.HARNESS, "no memory", Trouble.QEMU),
        Boots(Ending.HARNESS, "KVM internal error", Trouble.KVM),
        Boots(Ending.FINISHED),
    ],
)
def test_a_campaign_stays_on_what_it_began_on(tmp_path: Path, device: Path, first: Boots) -> None:
    began = of_campaign(tmp_path / "a", device, first)
    (tmp_path / accel.MEMORY).unlink(missing_ok=True)
    accel.forget(tmp_path)  # and resumed in another process
    other = Boots(Ending.FINISHED) if began.accel == "tcg" else Boots(Ending.HARNESS, "KVM", Trouble.KVM)
    assert of_campaign(tmp_path / "a", device, other, "another") == began
    assert other.count == 0
    assert of_campaign(tmp_path / "b", device, other, "another").accel != began.accel


def test_a_campaign_that_began_on_kvm_does_not_go_on_without(tmp_path: Path, device: Path) -> None:
    of_campaign(tmp_path / "a", device, Boots(Ending.FINISHED))
    device.unlink()
    answer = of_campaign(tmp_path / "a", device, Boots(Ending.FINISHED))
    assert answer.cause is accel.Cause.GONE
    assert "is not there" in answer.reason and "begin a new campaign" in answer.reason


def test_two_slots_that_begin_at_once_try_one_boot(tmp_path: Path, device: Path) -> None:
    class Slow(Boots):
        def __call__(self) -> Observation:
            time.sleep(0.2)
            return super().__call__()

    boots, folder = Slow(Ending.FINISHED), tmp_path / "a"
    threads = [threading.Thread(target=of_campaign, args=(folder, device, boots)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert boots.count == 1


def test_a_slot_that_waits_for_the_first_boot_notices_a_stop(tmp_path: Path, device: Path) -> None:
    begun, ended, stopped = threading.Event(), threading.Event(), threading.Event()

    def boots() -> Observation:
        begun.set()
        assert ended.wait(30)
        return Observation(Ending.FINISHED)

    first = threading.Thread(
        target=accel.choose, args=(tmp_path, "/usr/bin/env", "one", boots), kwargs={"device": device}
    )
    first.start()
    assert begun.wait(30)
    stopped.set()
    try:
        answer = accel.choose(
            tmp_path, "/usr/bin/env", "one", Boots(Ending.FINISHED), device=device, stopped=stopped.is_set
        )
        assert answer.cause is accel.Cause.INTERRUPTED
        assert not ended.is_set(), "the first boot still runs"
    finally:
        ended.set()
        first.join()


# ---- what QEMU says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "trouble"),
    [
        ("play('kvm-refused-7.2.log'); qemu_ended(134)", Trouble.KVM),
        ("say('KVM internal error. Suberror: 1'); time.sleep(600)", Trouble.KVM),
        ("say('qemu-system-x86_64: failed to initialize kvm: Operation not permitted'); qemu_ended(1)", Trouble.KVM),
        ("say('qemu-system-x86_64: failed to initialize kvm: Cannot allocate memory'); qemu_ended(1)", Trouble.QEMU),
        ("say('ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy'); qemu_ended(1)", Trouble.QEMU),
        ("say('cannot set up guest memory: Cannot allocate memory'); qemu_ended(1)", Trouble.QEMU),
        ("begin(); qemu_ended(137)", Trouble.QEMU),
        ("begin(); say('qemu-system-x86_64: terminating on signal 15 from pid 7'); time.sleep(600)", Trouble.QEMU),
        ("sys.exit(1)", Trouble.OTHER),
        ("begin(); finish()", Trouble.NONE),
    ],
)
def test_the_cause_is_distinguished_from_its_words(setup, scenario: str, trouble: Trouble) -> None:
    setup.play(scenario)
    assert setup.run().trouble is trouble


def test_trials_of_one_campaign_do_not_mix(setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "kvm"
    device.write_text("")
    monkeypatch.setattr(accel.choose, "__kwdefaults__", {"device": device, "campaign": None})
    setup.play("if '--disable-kvm' not in sys.argv: qemu_ended(137)\nfinish()")
    campaign = tmp_path / "campaign"
    assert setup.run(accel="auto", campaign=campaign).accel == "tcg"
    setup.play("finish()")
    assert setup.run(accel="auto", campaign=campaign).accel == "tcg"
    assert setup.run(accel="auto", campaign=tmp_path / "other").accel == "kvm"


def test_a_trial_says_whether_the_kernel_that_was_silent_with_kvm_came_up_without(
    setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "kvm"
    device.write_text("")
    monkeypatch.setattr(accel.choose, "__kwdefaults__", {"device": device, "campaign": None})
    monkeypatch.setattr(accel, "PATIENCE", 3.0)
    setup.play("if '--disable-kvm' not in sys.argv: time.sleep(600)\nbegin(); finish()")
    assert setup.run(accel="auto").accel == "tcg"
    accel._silent.clear()  # as another process begins
    setup.play("begin(); finish()")
    assert setup.run(accel="auto").accel == "tcg"
    first, second = (progress.detail for progress in setup.phases if progress.phase is Phase.ACCEL)
    assert "by emulation" not in first and "by emulation it booted in" in second


def test_an_interrupted_boot_is_not_remembered(tmp_path: Path, device: Path) -> None:
    choose(tmp_path, device, Boots(Ending.CANCELLED))
    assert not (tmp_path / accel.MEMORY).exists()


def test_another_qemu_is_tried_again(tmp_path: Path, device: Path) -> None:
    choose(tmp_path, device, Boots(Ending.FINISHED))
    boots = Boots(Ending.FINISHED)
    accel.choose(tmp_path, "/bin/sh", "one", boots, device=device)
    assert boots.count == 1


def test_a_memory_that_is_broken_is_made_anew(tmp_path: Path, device: Path) -> None:
    for text in ("", "[]", '{"a": 1}', '{"a": {"accel": "kvm"}}', "\0"):
        (tmp_path / accel.MEMORY).write_text(text)
        assert choose(tmp_path, device, Boots(Ending.FINISHED)).accel == "kvm"


def test_auto_says_aloud_what_it_took(setup) -> None:
    setup.play("""
        if "--disable-kvm" not in sys.argv:
            say("KVM internal error. Suberror: 1"); time.sleep(600)
        finish()
    """)
    kvm = Path("/dev/kvm").exists()
    for _ in range(2):
        observation = setup.run(accel="auto")
        assert (observation.ending, observation.accel) == (Ending.FINISHED, "tcg")
    said = [progress.detail for progress in setup.phases if progress.phase is Phase.ACCEL]
    assert len(said) == 2
    assert all(("Suberror: 1" if kvm else "is not there") in sentence for sentence in said)
    if kvm:
        assert "Suberror" in (setup.folder / "kvm/console.log").read_text()
