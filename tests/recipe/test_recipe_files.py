# SPDX-License-Identifier: GPL-2.0-only
"""The files of a recipe lie beside it or below, unless the person named another on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bisector.errors import InfraError, RecipeError, UsageError
from bisector.model import Cell
from bisector.recipe import files
from bisector.recipe.load import load, loads, override
from bisector.recipe.plan import build_config, plan_for
from bisector.recipe.resolve import resolved_yaml


def recipe(folder: Path, **changes: Any) -> Path:
    """A recipe in ``folder`` that names the file ``./own``, which is there."""
    (folder / "own").write_text("CONFIG_X=y\n", encoding="utf-8")
    (folder / "own").chmod(0o755)
    data = {
        "recipe": "files",
        "target": {"kernel": {"config": ["base", "./own"]}},
        "storage": {"disk": {"disk": "nvme", "size": "8M"}},
        "guest": {"os": "linux", "kernel": "own", "drives": {"vda": {"of": "disk"}}},
        "steps": [{"probe": {"run": ["./own"]}}],
        "bad_when": {"bad": {"exit": {"probe": 1}}},
        "good_when": {"good": {"exit": {"probe": 0}}},
    }
    file = folder / "files.yaml"
    file.write_text(json.dumps(data | changes), encoding="utf-8")
    return file


def faults_of(file: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        load(file)
    return "\n".join(map(str, caught.value.diagnostics))


def in_config(name: str) -> dict[str, Any]:
    return {"target": {"kernel": {"config": ["base", name]}}}


def test_the_recipe_of_these_tests_is_one(tmp_path: Path) -> None:
    assert load(recipe(tmp_path)).recipe == "files"


@pytest.mark.parametrize(
    "change",
    [
        in_config("/etc/hostname"),
        {"target": {"kernel": {"config": ["base"], "base_config": "/etc/hostname"}}},
        {"guest": {"os": "linux", "kernel": "/etc/hostname", "drives": {"vda": {"of": "disk"}}}},
        {"guest": {"os": "image", "image": "/etc/hostname", "drives": {"vda": {"of": "disk"}}}},
        {"matrix": {"guest.kernel": ["own", "/etc/hostname"]}},
        {"controls": {"c": {"expect": "good", "set": {"guest.kernel": "/etc/hostname"}}}},
    ],
    ids=str,
)
def test_no_recipe_names_a_file_of_the_host(change: dict[str, Any], tmp_path: Path) -> None:
    said = faults_of(recipe(tmp_path, **change))
    assert "/etc/hostname: is an absolute path; a recipe's files lie beside it or below" in said
    assert said.startswith(f"{tmp_path}/files.yaml:1:")


def test_what_leads_out_or_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "below").mkdir()
    (tmp_path / "away").symlink_to("/etc")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(files.MAX_CONFIG + 1)
    for name, expected in (
        ("./link", "is a link that leads out of the recipe's folder, to /etc/hostname"),
        ("./away/hostname", "is a link that leads out"),
        ("./zero", "is a link that leads out"),
        ("./../files.yaml", "a recipe's files lie beside it or below; '..' leads out"),
        ("./below", "is a folder"),
        ("./fifo", "is not a regular file"),
        ("./huge", f"has {files.MAX_CONFIG + 1} bytes, more than {files.MAX_CONFIG}"),
        ("./gone", "there is no such file beside the recipe"),
        ("./" + "x" * 300, "there is no such file beside the recipe"),
    ):
        assert f"{name}: {expected}" in faults_of(recipe(tmp_path, **in_config(name)))


def test_a_link_that_stays_inside_is_taken(tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to("own")
    assert load(recipe(tmp_path, **in_config("./other")))


def test_the_command_line_names_any_file(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "bzImage").write_bytes(b"a kernel")
    beside = tmp_path / "beside"
    beside.mkdir()
    made = override(load(recipe(beside)), f"guest.kernel={elsewhere}/bzImage")
    taken = {file.name: file.path for file in files.of_workload(made)}
    assert taken[f"{elsewhere}/bzImage".lstrip("/")] == f"{elsewhere}/bzImage"
    assert plan_for(made, Cell("")).guest is not None
    for name, expected in (("/dev/zero", "is not a regular file"), ("/nonexistent/x", "no such file")):
        with pytest.raises(UsageError, match=expected):
            override(load(recipe(beside)), f"guest.kernel={name}")


def test_the_copy_that_a_campaign_keeps_stands_for_it(tmp_path: Path) -> None:
    """The resolved recipe of such a campaign still names the path; an export of it may not reach the host's file."""
    elsewhere, beside, kept = tmp_path / "elsewhere", tmp_path / "beside", tmp_path / "kept"
    for folder in (elsewhere, beside, kept):
        folder.mkdir()
    (elsewhere / "bzImage").write_bytes(b"a kernel")
    text = resolved_yaml(override(load(recipe(beside)), f"guest.kernel={elsewhere}/bzImage"))
    with pytest.raises(RecipeError, match="is an absolute path"):
        loads(text, beside / "other.yaml")
    (kept / "own").write_text("", encoding="utf-8")
    (kept / "own").chmod(0o755)
    copy = kept / f"{elsewhere}/bzImage".lstrip("/")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"a copy")
    assert loads(text, kept / "recipe.yaml").beside(f"{elsewhere}/bzImage") == copy


def test_a_file_that_became_another_is_not_read(tmp_path: Path) -> None:
    made = load(recipe(tmp_path))
    (tmp_path / "own").unlink()
    (tmp_path / "own").symlink_to("/etc/hostname")
    for use in (lambda: plan_for(made, Cell("")), lambda: build_config(made, ())):
        with pytest.raises(InfraError, match="is a link that leads out"):
            use()
    (tmp_path / "own").unlink()
    os.mkfifo(tmp_path / "own")
    with pytest.raises(InfraError, match="is not a regular file"):
        plan_for(made, Cell(""))
