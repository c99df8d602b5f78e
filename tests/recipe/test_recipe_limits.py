# SPDX-License-Identifier: GPL-2.0-only
"""Small recipes that would cost much: each is refused at its place, before anything is expanded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bisector.errors import Diagnostic, RecipeError
from bisector.recipe import patterns
from bisector.recipe.load import load
from tests.work import usual

Recipe = dict[str, Any]


def recipe() -> Recipe:
    return {
        "recipe": "limits",
        "title": "t",
        "target": {"kernel": {"config": ["base", "lvm-raid"]}},
        "storage": {
            "leg0": {"disk": "nvme", "size": "128M"},
            "leg1": {"disk": "nvme", "size": "128M"},
            "boot": {"lvm": "raid1", "of": ["leg0", "leg1"], "size": "32M"},
        },
        "guest": {"os": "none", "drives": {"vda": {"of": "boot", "cache": {"direct": True}}}},
        "steps": [{"probe": {"start": "guest"}}],
        "bad_when": {"leg-failed": {"health": {"boot": "degraded"}}},
        "good_when": {"healthy": {"health": {"boot": "healthy"}, "exit": {"probe": 0}}},
    }


def refused(data: Recipe | str, tmp_path: Path) -> tuple[Diagnostic, ...]:
    """The faults of a recipe, found in less than two seconds of work, each at a line and a column of its file."""
    file = tmp_path / "limits.yaml"
    file.write_text(data if isinstance(data, str) else json.dumps(data, indent=1))
    started = time.process_time()
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert usual(time.process_time() - started) < 2
    lines = file.read_text().split("\n")
    for diagnostic in caught.value.diagnostics:
        assert len(str(diagnostic)) < 2_000
        assert 1 <= diagnostic.column <= len(lines[diagnostic.line - 1]) + 1
    return caught.value.diagnostics


def messages(data: Recipe | str, tmp_path: Path) -> str:
    return "\n".join(map(str, refused(data, tmp_path)))


def braces(data: Recipe) -> None:
    data["matrix"] = {"storage." + "{a,a}" * 26: ["nvme"]}


def braces_with_many_names(data: Recipe) -> None:
    data["matrix"] = {"storage.{" + "a," * 400 + "a}.disk": ["nvme"]}


def braces_in_many_controls(data: Recipe) -> None:
    data["controls"] = {f"c{n}": {"expect": "good", "set": {"storage." + "{a,b}" * 6: 1}} for n in range(300)}


def a_chain_of_pairs(data: Recipe) -> None:
    below = ["leg0", "leg1"]
    for n in range(40):
        data["storage"] |= {f"a{n}": {"md": "raid1", "of": below}, f"b{n}": {"md": "raid1", "of": below}}
        below = [f"a{n}", f"b{n}"]


def a_tower(data: Recipe) -> None:
    for n in range(600):
        data["storage"][f"a{n}"] = {"md": "raid1", "of": f"a{n + 1}"}
    data["storage"]["a600"] = {"md": "raid1", "of": "leg0"}


def many_cells_of_a_large_recipe(data: Recipe) -> None:
    data["steps"] += [{f"s{n}": {"io": "boot", "read": "4k"}} for n in range(400)]
    data["matrix"] = {"storage.leg0.size": [f"{n}M" for n in range(100, 350)]}


def many_values_of_a_matrix(data: Recipe) -> None:
    data["matrix"] = {"storage.leg0.size": [f"{n}M" for n in range(100, 1_900)]}


def many_axes(data: Recipe) -> None:
    data["matrix"] = {f"storage.leg0.x{n}": ["1M"] for n in range(900)}


def many_cells(data: Recipe) -> None:
    data["matrix"] = {f"storage.leg{n}.size": ["1M", "2M", "3M", "4M"] * 4 for n in range(2)} | {
        "storage.boot.size": ["4M", "8M"]
    }


def many_controls(data: Recipe) -> None:
    data["controls"] = {f"c{n}": {"expect": "good", "set": {"storage.leg0.size": "9M"}} for n in range(300)}


def many_overrides_of_a_control(data: Recipe) -> None:
    data["controls"] = {"c": {"expect": "good", "set": {f"storage.x{n}.size": "9M" for n in range(1_200)}}}


def a_pattern_that_tries_everything(data: Recipe) -> None:
    data["bad_when"]["leg-failed"]["console"] = {"vm": "(?:(?:(?:(?:){99}){99}){99}){99}"}


def a_pattern_of_empty_choices(data: Recipe) -> None:
    data["bad_when"]["leg-failed"]["console"] = {"vm": "(|)" * 60 + "x*$"}


def a_ready_line_of_empty_choices(data: Recipe) -> None:
    data["guest"] |= {"os": "image", "ready": "(|)" * 60 + "$"}


def a_long_pattern(data: Recipe) -> None:
    data["bad_when"]["leg-failed"]["console"] = {"vm": "x" * 1_001}


def many_patterns(data: Recipe) -> None:
    data["bad_when"]["leg-failed"]["console"] = {"vm": ["(?i:[\u0100-\uffff])" * 40 + f"{n}" for n in range(100)]}


def a_long_key(data: Recipe) -> None:
    data["x" * 4_000] = 1


def a_number_of_a_thousand_digits(data: Recipe) -> None:
    data["trials"] = int("9" * 1_000)


def a_step_without_a_verb(data: Recipe) -> None:
    data["steps"].append({"q": {"in": "vm"}})
    data["good_when"] = {"h": {"exit": {"q": 0}, "output": {"q": "x"}, "blocks": {"q": "clean"}}}


def steps_overridden_by_a_list_of_numbers(data: Recipe) -> None:
    data["matrix"] = {"steps": [[6.1]]}


def steps_overridden_by_a_word_and_by_a_part(data: Recipe) -> None:
    data["controls"] = {"c": {"expect": "good", "set": {"steps": "x", "steps.probe.for": "1s"}}}


REFUSED: list[tuple[Callable[[Recipe], None], str]] = [
    (braces, "names 67108864 places, more than 64"),
    (braces_with_many_names, "names 401 places, more than 64"),
    (braces_in_many_controls, "300 controls, more than 64"),
    (a_chain_of_pairs, "leg0 is used by boot already"),
    (a_tower, "needs 2 legs or more"),
    (many_cells_of_a_large_recipe, "250 cells and controls of a recipe of"),
    (many_values_of_a_matrix, "has 1800 cells, more than 256"),
    (many_axes, "has 900 axes, more than 16"),
    (many_cells, "has 512 cells, more than 256"),
    (many_controls, "300 controls, more than 64"),
    (many_overrides_of_a_control, "1200 overrides, more than 16"),
    (a_pattern_that_tries_everything, "matches an empty line, so every one"),
    (a_pattern_of_empty_choices, "matches an empty line, so every one"),
    (a_ready_line_of_empty_choices, "matches an empty line, so every one"),
    (a_long_pattern, "a regular expression of 1001 characters; at most 1000"),
    (many_patterns, "regular expressions of"),
    (a_long_key, "a key of 4000 characters; at most 1024"),
    (a_number_of_a_thousand_digits, "expected a whole number"),
    (a_step_without_a_verb, "a step does one of"),
    (steps_overridden_by_a_list_of_numbers, "expected one '- NAME: {VERB: OBJECT}'"),
    (steps_overridden_by_a_word_and_by_a_part, "overridden as a whole too"),
]


@pytest.mark.parametrize(("change", "expected"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_costly_recipe_is_refused_at_its_place(
    change: Callable[[Recipe], None], expected: str, tmp_path: Path
) -> None:
    data = recipe()
    change(data)
    assert expected in messages(data, tmp_path)


@pytest.mark.parametrize(
    ("escape", "expected"),
    [
        (r"\UFFFFFFFF", "the escape \\UFFFFFFFF: there is no such character"),
        (r"\U00110000", "the escape \\U00110000: there is no such character"),
        (r"\ud800", "holds half a character (U+D800)"),
        (r"\ud83d\ude00", "holds half a character (U+D83D)"),
        (r"\0", "holds a NUL byte"),
    ],
)
def test_an_escape_of_no_character_is_refused_where_it_stands(escape: str, expected: str, tmp_path: Path) -> None:
    text = json.dumps(recipe(), indent=1).replace('"t"', f'"a{escape}b"')
    (found,) = refused(text, tmp_path)
    assert expected in found.message
    assert found.line == 3


def test_a_long_text_is_refused(tmp_path: Path) -> None:
    text = json.dumps(recipe(), indent=1)[:-2] + ',\n "links": [\n"' + ("x" * 70 + "\n") * 300 + '"]\n}'
    assert "a value of 21300 characters; at most 16384" in messages(text, tmp_path)


@pytest.mark.parametrize("character", ["\u2028", "\u202e", "\u2066", "\x85"])
def test_a_character_that_turns_or_breaks_lines_is_refused(character: str, tmp_path: Path) -> None:
    text = json.dumps(recipe(), indent=1).replace('"t"', f'"a{character}b"')
    (found,) = refused(text, tmp_path)
    assert f"the control character U+{ord(character):04X}" in found.message


def test_letters_that_look_like_others_are_named(tmp_path: Path) -> None:
    text = json.dumps(recipe(), indent=1, ensure_ascii=False)
    assert "its '\u0435' is U+0435" in messages(text.replace('"steps"', '"st\u0435ps"'), tmp_path)
    assert "its '\u043e' is U+043E" in messages(text.replace('"probe"', '"pr\u043ebe"'), tmp_path)
    assert "its '\u0440' is U+0440" in messages(text.replace('"nvme"', '"nvm\u0440"'), tmp_path)


def test_a_title_of_two_lines_is_refused(tmp_path: Path) -> None:
    data = recipe() | {"title": "one\ntwo\x1b[31m"}
    assert "title: is not one printable line" in messages(data, tmp_path)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "x(a*)*y", "(?:a*b*)*c", r"x(\w+\s*)*$", "(a|b+)*c", "((?:.*))+x", "(|)" * 20 + "x", "(a?|b*)c"],
)
def test_a_pattern_that_tries_every_way_to_split_a_line_is_refused(pattern: str, tmp_path: Path) -> None:
    data = recipe()
    data["bad_when"]["leg-failed"]["console"] = {"vm": pattern}
    assert "repeats a repeat" in messages(data, tmp_path)


@pytest.mark.parametrize(
    "pattern", [r"(\w+ )+x", r"\d+(?:\.\d+)*", "(?:[0-9a-f]{2}:)+", "a+b+", "(?:ab?)+c", "(a|b)*c"]
)
def test_a_pattern_whose_loop_is_kept_apart_is_taken(pattern: str) -> None:
    assert patterns.fault(pattern) == ""


def test_patterns_of_one_list_do_not_share_groups(tmp_path: Path) -> None:
    data = recipe()
    data["bad_when"]["leg-failed"]["console"] = {"vm": [r"(a|b) \1", r"(c|d) \1"]}
    assert "a back reference" in messages(data, tmp_path)
    data["bad_when"]["leg-failed"]["console"] = {"vm": ["(?P<x>a)", "(?P<x>b)"]}
    assert "do not compile together" in messages(data, tmp_path)
