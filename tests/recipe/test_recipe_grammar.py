# SPDX-License-Identifier: GPL-2.0-only
"""The whole grammar loads, says the same again when it is written out, and the schema agrees with it."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bisector.printable import is_line
from bisector.recipe import schema, values
from bisector.recipe.load import listed, load, loads
from bisector.recipe.matrix import cells, controls
from bisector.recipe.resolve import resolved_yaml

DATA = Path(__file__).parent / "data"
GRAMMAR = sorted((DATA / "grammar").glob("*.yaml"))
SHIPPED = listed()
ROOT = Path(__file__).parents[2]


def name_of(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def test_all_seven_and_the_shipped_ones_are_looked_at() -> None:
    assert len(GRAMMAR) == 7
    assert {file.stem for file in SHIPPED} >= {
        "virtio-dio-lvm-raid1",
        "virtio-open-lvm-raid1",
        "virtio-dio-lvm-mirror",
        "dio-misaligned-pread",
    }


@pytest.mark.parametrize("file", [*GRAMMAR, *SHIPPED], ids=name_of)
def test_recipe_loads_under_its_files_name(file: Path) -> None:
    assert load(file).recipe == file.stem


@pytest.mark.parametrize("file", [*GRAMMAR, *SHIPPED], ids=name_of)
def test_resolved_recipe_loads_again_as_the_same(file: Path, tmp_path: Path) -> None:
    recipe = load(file)
    for own in file.parent.iterdir():
        if own.is_file() and own.suffix != ".yaml":
            shutil.copy(own, tmp_path)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(resolved_yaml(recipe))
    again = load(resolved)
    assert again == recipe
    assert resolved_yaml(again) == resolved_yaml(recipe)


@pytest.mark.parametrize("file", [*GRAMMAR, *SHIPPED], ids=name_of)
def test_recipe_crosses_a_process_border(file: Path) -> None:
    recipe = load(file)
    copy = pickle.loads(pickle.dumps(recipe))
    assert copy == recipe
    assert copy.file == recipe.file
    assert hash(copy) == hash(recipe)


@pytest.mark.parametrize("file", [*GRAMMAR, *SHIPPED], ids=name_of)
def test_schema_accepts_what_the_loader_accepts(file: Path) -> None:
    data = YAML(typ="safe", pure=True).load(file)
    jsonschema.Draft202012Validator(schema.json_schema()).validate(data)


@pytest.mark.parametrize("name", ["types", "unknown-keys", "unquoted-revisions", "probability", "unknown-types"])
def test_schema_refuses_what_the_loader_refuses(name: str) -> None:
    data = YAML(typ="safe", pure=True).load(DATA / "malformed" / f"{name}.yaml")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema.json_schema()).validate(data)


def test_schema_is_a_schema_and_the_committed_one_is_current() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.json_schema())
    committed = ROOT / "docs" / "recipe.schema.json"
    assert committed.read_text() == schema.text(), "run: bisector schema > docs/recipe.schema.json"
    assert json.loads(committed.read_text())["title"] == "Recipe"


def test_an_edited_recipe_is_another_recipe() -> None:
    text = (DATA / "grammar" / "my-reproducer.yaml").read_text()
    one = loads(text, DATA / "grammar" / "a.yaml")
    assert one == loads("# a comment\n" + text, DATA / "grammar" / "b.yaml")
    assert one != loads(text.replace("v6.17", "v6.16"), DATA / "grammar" / "a.yaml")


@pytest.mark.parametrize("name", ["virtio-dio-lvm-raid1", "virtio-open-lvm-raid1", "virtio-dio-lvm-mirror"])
def test_shipped_qemu_recipes_have_both_engines_and_a_control(name: str) -> None:
    recipe = load(name)
    assert [cell.overrides for cell in cells(recipe)] == [
        (("guest.drives.vda.aio", "native"),),
        (("guest.drives.vda.aio", "threads"),),
    ]
    assert not any(cell.not_applicable for cell in (*cells(recipe), *controls(recipe)))
    assert ("plain-md", "good") in [(cell.name, cell.expect) for cell in controls(recipe)]


@pytest.mark.parametrize("file", SHIPPED, ids=name_of)
def test_shipped_recipes_teach(file: Path) -> None:
    recipe = load(file)
    assert file.read_text().startswith("# ")
    assert recipe.title and recipe.links
    # what a number is compared with is measured by a search, and a control has none
    assert recipe.controls or "× good" in file.read_text()
    assert bool(recipe.search.good) is bool(recipe.search.bad)  # a latent bug, or one without a cause, has no ends
    assert not any("://" in link for link in recipe.links)


# ---- properties ----------------------------------------------------------------------------------------------------


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, values.MAX_SIZE))
def test_size_written_and_read_is_the_same(number: int) -> None:
    assert values.size(values.format_size(number)) == number


@settings(deadline=None)  # the machine may be busy
@given(st.one_of(st.integers(1, values.MAX_SECONDS), st.decimals("0.1", 1000, places=2)))
def test_duration_written_and_read_is_the_same(seconds: float) -> None:
    assert values.duration(values.format_duration(float(seconds))) == float(seconds)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]), min_size=1, max_size=200
)
WORD = WORDS.filter(lambda word: word.strip() and "{" not in word and not word.startswith("./"))
SAFE_WORD = st.text("abc XYZ019 _.,:/@%+=^~()-", min_size=1).filter(str.strip)


@settings(deadline=None)  # the machine may be busy
@given(title=WORD.filter(is_line), argv=st.lists(WORD, min_size=1, max_size=4), make=SAFE_WORD, pattern=WORD)
def test_any_text_survives_being_written_out(title: str, argv: list[str], make: str, pattern: str) -> None:
    head = json.dumps(
        {
            "recipe": "text",
            "title": title,
            "target": {"kernel": {"config": ["base"], "make": {"CC": make}}},
            "guest": {"os": "linux", "storage": {}, "passthrough": ["disk"]},
            "storage": {"disk": {"disk": "nvme", "size": 1048576}},
            "steps": [{"one": {"run": argv}}],
            "bad_when": {"said": {"event": {"guest": "STOP"}, "console": {"vm": re.escape(pattern)}}},
            "good_when": {"fine": {"exit": {"one": 0}}},
        },
        ensure_ascii=False,
    )
    recipe = loads(head, Path("text.yaml"))
    assert (recipe.title, list(recipe.steps["one"].run or ())) == (title, argv)
    assert loads(resolved_yaml(recipe), Path("text.yaml")) == recipe
