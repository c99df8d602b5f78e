# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns whose trials boot the kernel of an end beside the candidate's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from acting import RECIPE, Act, World

from bisector.cli import main
from bisector.errors import InfraError
from bisector.exitcodes import ExitCode
from bisector.model import OutcomeKind
from bisector.nightly.config import WatchedRecipe, _unfit
from bisector.recipe.load import loads
from bisector.recipe.matrix import cells

BOTH = RECIPE.replace("steps:\n", "steps:\n  - older: {reboot: {kernel: good-end}}\n")


def test_all_trials_of_a_campaign_boot_the_same_other_kernel(act: Act) -> None:
    acted = act(12, bug=range(7, 12))
    _, outcome = acted.run("c0", "c11", text=BOTH)
    assert (outcome.kind, acted.named(outcome)) == (OutcomeKind.CULPRIT, {"c7"})
    argv = ["git", "-C", str(acted.planted.folder), "rev-parse", f"{acted.planted.oid['c0']}^{{tree}}"]
    tree = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    assert {plan.kernels for plan in acted.world.plans} == {(("good-end", tree),)}, "ends, search and proof alike"
    assert any("each trial boots" in line and "good end's kernel" in line for line in outcome.assumptions)
    assert any("too, as the good end's kernel" in line for line in acted.messages)


def test_an_end_that_cannot_be_built_ends_the_campaign_before_any_trial(act: Act) -> None:
    acted = act(6, bug=range(3, 6), broken=range(1))
    with pytest.raises(InfraError, match=r"the good end's kernel .* is not to be had"):
        acted.run("c0", "c5", text=BOTH)
    assert not acted.world.plans


def test_a_candidate_that_does_not_boot_is_held_against_a_control_that_boots_alone(act: Act) -> None:
    world = World()
    acted = act(8, world, bug=range(6, 8), panics=range(4, 5))
    _, outcome = acted.run("c0", "c7", text=BOTH)
    assert (outcome.kind, acted.named(outcome)) == (OutcomeKind.CULPRIT, {"c6"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "give --good"),
        (["--good", "/none/such"], "/none/such is not there"),
        (["--bad", "6.18"], "no trial of this recipe boots the bad end's kernel"),
    ],
)
def test_a_test_has_to_be_given_the_other_kernel(
    options: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = tmp_path / "acted.yaml"
    recipe.write_text(BOTH.replace("search: {good: a, bad: b}\n", "").replace("LASTING", "count: 1"))
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(Path("/proc/self/exe").read_bytes())
    assert main(["test", str(recipe), "--image", str(kernel), *options]) != ExitCode.OK
    assert expected in capsys.readouterr().err


def test_a_watch_takes_no_recipe_that_needs_an_end(tmp_path: Path) -> None:
    recipe = loads(BOTH.replace("LASTING", "count: 1"), tmp_path / "acted.yaml")
    assert "boots the kernel of an end of a search too" in _unfit(WatchedRecipe(recipe, "", cells(recipe), False), [])
