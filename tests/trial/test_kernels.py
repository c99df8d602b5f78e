# SPDX-License-Identifier: GPL-2.0-only
"""Several kernels in one trial: which is booted when, and whose fault it is when one does not come up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bisector.agent.plan import Plan, Step
from bisector.errors import InfraError
from bisector.model import Ending, Image, Observation
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST
from bisector.trial import vng
from bisector.trial.kernels import Kernels, kernels_of, other_boots, recorder_script
from bisector.verdict.signature import reached_agent

Play = Callable[..., Observation]
OLD = Image("old", "/proc/self/exe", build_id="0" * 16)
DOWN = (Step("down", "reboot", boot_kernel="good-end"),)
UP = (Step("up", "reboot", boot_kernel="candidate"),)
FORTH = Plan(steps=DOWN, kernels=(("good-end", "old"),))
BACK = Plan(steps=UP, kernels=(("good-end", "old"),), first_kernel="good-end")
MINE = "KernelFacts(build_id='2b6c42b459e1e798', whose='candidate')"
OTHER = f"KernelFacts(build_id='{OLD.build_id}', whose='good-end')"
PANIC = "say('[    6.1] Kernel panic - not syncing: VFS: Unable to mount root fs'); "


def held(identity: str) -> Image | None:
    return OLD if identity == "old" else None


# ---- which are booted


def test_the_plan_says_which_kernels_a_trial_boots() -> None:
    image = Image("new", "/new")
    assert kernels_of(Plan(steps=()), image, held) == Kernels(image, "candidate", {})
    assert kernels_of(FORTH, image, held) == Kernels(image, "candidate", {"good-end": OLD})
    assert kernels_of(BACK, image, held) == Kernels(OLD, "good-end", {"candidate": image})
    with pytest.raises(InfraError, match="gone from the cache"):
        kernels_of(Plan(steps=DOWN, kernels=(("good-end", "pruned"),)), image, held)


def test_another_kernel_beside_the_candidate_is_another_question() -> None:
    pruned = Plan(steps=DOWN, kernels=(("good-end", "pruned"),))
    assert len({FORTH.identity(), pruned.identity(), Plan(steps=DOWN).identity()}) == 3


QEMU = """#!/bin/sh
[ "$1" = --version ] && exit 0
last=
for word; do
  case $last in
    -kernel) kernel=$word ;; -append) append=$word ;; -initrd) initrd=$(cat "$word") ;;
  esac
  last=$word
done
echo "$kernel|$append|$initrd|$1 $2" >>ROOT/starts
"""
VNG = """#!/bin/sh
printf 'modules of %s' "$KERNEL" >ROOT/irfs
exec 7<ROOT/irfs
while [ $# -gt 0 ]; do
  case $1 in --run) kernel=$2 ;; --qemu) qemu=$2 ;; esac
  shift
done
"$qemu" -m 2G -kernel "$kernel" -append "root=9p link=$kernel" -initrd /proc/self/fd/7 -no-reboot
"""


@pytest.mark.parametrize(("first_initrd", "expected"), [(True, "own"), (False, "")])
def test_another_kernel_comes_up_with_its_own_command_line_and_initramfs(
    tmp_path: Path, first_initrd: bool, expected: str
) -> None:
    places = vng.Places(tmp_path)
    places.shared.mkdir()
    for name in ("boot.1", "kernel.1.good-end", "boot.2", "boot.3", "kernel.3.candidate"):
        (places.shared / name).touch()
    for name, text in (("qemu-real", QEMU), ("vng", VNG)):
        (tmp_path / name).write_text(text.replace("ROOT", str(tmp_path)).replace("$KERNEL", "good-end"))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "own").write_text("own")
    steps = (*DOWN, Step("again", "reboot"), *UP, Step("more", "reboot"))
    plan = Plan(steps=steps, kernels=FORTH.kernels, token="t0k")
    kernels = Kernels(Image("new", "/new"), "candidate", {"good-end": OLD})
    argv = (str(tmp_path / "vng"), "--run", str(places.kernel()), "--qemu", str(places.qemu))
    boots = other_boots(argv, places, kernels, plan)
    places.qemu.write_text(vng.qemu_script(str(tmp_path / "qemu-real"), places, plan.boots(), boots))
    places.recorder("good-end").write_text(recorder_script("qemu-real", places, "good-end"))
    for script in (places.qemu, places.recorder("good-end")):
        script.chmod(0o755)
    initrd = ("-initrd", str(tmp_path / "own")) if first_initrd else ()
    asked = [str(places.qemu), "-m", "1G", "-kernel", str(places.kernel()), *initrd, "-append", "root=own x=$y `z`"]
    ran = Processes(tmp_path / "records").run(asked, access=HOST, check=False)
    own = f"{places.kernel()}|root=own x=$y `z`|{expected}|-m 1G"
    other = f"{places.kernel('good-end')}|root=9p link={places.kernel('good-end')}|modules of good-end|-m 1G"
    assert (tmp_path / "starts").read_text().splitlines() == [own, other, other, own]
    said = [line for line in ran.stderr.splitlines() if line.startswith("bisector ")]
    assert said == [f"bisector t0k boot {whose}" for whose in ("good-end", "good-end", "candidate")]


def test_a_vng_that_does_not_say_how_to_boot_the_other_kernel_is_the_harness_failing(tmp_path: Path) -> None:
    places = vng.Places(tmp_path)
    places.shared.mkdir()
    for name in ("boot.1", "kernel.1.good-end"):
        (places.shared / name).touch()
    shutil.copy("/bin/true", tmp_path / "qemu-real")
    boots = other_boots(("/bin/false",), places, Kernels(OLD, "candidate", {"good-end": OLD}), FORTH)
    places.qemu.write_text(vng.qemu_script(str(tmp_path / "qemu-real"), places, FORTH.boots(), boots))
    places.qemu.chmod(0o755)
    ran = Processes(tmp_path / "records").run([str(places.qemu), "-kernel", "x"], access=HOST, check=False)
    assert places.qemu_exit.read_text().strip() == "1" and "did not say how to boot good-end" in ran.stderr


# ---- whose fault it is


def test_another_kernel_that_does_not_come_up_is_the_harness_failing(play: Play) -> None:
    before = "begin(); say('[ 3.0] Oops: 0002 [#1] SMP'); say('[ 3.0] RIP: 0010:f+0x1/0x2'); time.sleep(.1); "
    for rest in ("time.sleep(600)", PANIC + "time.sleep(600)", PANIC + "qemu_ended(0)"):
        seen = play("begin(); mark('boot', 'good-end'); " + rest, FORTH_SHORT, kernels=held)
        assert seen.ending is Ending.HARNESS and not seen.console, seen
        assert "did not come up again with the good end's kernel" in seen.detail
    seen = play(before + "mark('boot', 'good-end'); qemu_ended(0)", FORTH_SHORT, kernels=held)
    assert (seen.ending, [event.kind for event in seen.console]) == (Ending.CRASH, ["crash"]), "it was there before"


FORTH_SHORT = Plan(steps=DOWN, kernels=FORTH.kernels, deadline=1.0)


def test_a_candidate_that_does_not_come_up_after_another_kernel_never_reached_its_agent(play: Play) -> None:
    plan = Plan(steps=UP, kernels=BACK.kernels, first_kernel="good-end", deadline=1.0)
    for rest in ("time.sleep(600)", PANIC + "qemu_ended(0)"):
        seen = play("begin(); mark('boot', 'candidate'); " + rest, plan, kernels=held)
        assert seen.ending is Ending.NO_AGENT and not reached_agent(seen)
        assert "did not come up again with the kernel under test" in seen.detail
    assert seen.console[0].name == "panic"
    seen = play(PANIC + "qemu_ended(0)", plan, kernels=held)
    assert (seen.ending, seen.console) == (Ending.HARNESS, ()), "the other kernel, before the candidate had begun"
    assert "the VM did not boot" in seen.detail


def test_a_kernel_that_came_up_before_stops_as_any_kernel_stops(play: Play) -> None:
    plan = Plan(steps=(*DOWN, *UP), kernels=FORTH.kernels)
    both = "begin(); mark('boot', 'good-end'); mark('up'); "
    seen = play(both + "mark('boot', 'candidate'); " + PANIC + "qemu_ended(0)", plan, kernels=held)
    assert seen.ending is Ending.CRASH and "(the kernel under test)" in seen.detail
    seen = play(both + PANIC + "qemu_ended(0)", plan, kernels=held)
    assert seen.ending is Ending.CRASH and "(the good end's kernel)" in seen.detail


def test_each_kernel_that_ran_is_the_one_that_was_to_run(play: Play) -> None:
    boots = "begin(); mark('boot', 'good-end'); mark('up'); "
    seen = play(f"{boots}finish(kernel={MINE}, later_kernels=({OTHER},))", FORTH, kernels=held)
    assert seen.ending is Ending.FINISHED and seen.result is not None
    assert seen.result.tested.build_id == "2b6c42b459e1e798"
    for wrong in (f"kernel={MINE}, later_kernels=({MINE},)", f"kernel={OTHER}, later_kernels=({OTHER},)"):
        seen = play(f"{boots}finish({wrong})", FORTH, kernels=held)
        assert seen.ending is Ending.HARNESS and "the wrong kernel booted" in seen.detail
