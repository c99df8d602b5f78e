# SPDX-License-Identifier: GPL-2.0-only
"""Malformed recipes: exact messages at exact places, all of them at once, and quickly."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisector.errors import RecipeError
from bisector.exitcodes import ExitCode
from bisector.recipe.load import load, loads
from bisector.recipe.parse import parse
from bisector.recipe.text import MAX_BYTES, scalar
from tests.work import usual

DATA = Path(__file__).parent / "data"
MALFORMED = sorted((DATA / "malformed").glob("*.yaml"))
GOOD = (DATA / "grammar" / "virtio-dio-lvm-raid1.yaml").read_text()


def messages(file: Path) -> str:
    """The diagnostics of a file that must not load, without the folder in front, in less than two seconds of work."""
    started = time.process_time()  # not the clock: other tests may hold the machine
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert usual(time.process_time() - started) < 2
    assert caught.value.exit_code is ExitCode.INVALID
    assert [(d.line, d.column) for d in caught.value.diagnostics] == sorted(
        (d.line, d.column) for d in caught.value.diagnostics
    )
    return "".join(str(diagnostic).removeprefix(f"{file.parent}/") + "\n" for diagnostic in caught.value.diagnostics)


def test_there_are_enough_of_them_and_each_has_its_answer() -> None:
    assert len(MALFORMED) >= 30
    assert {file.stem for file in MALFORMED} == {file.stem for file in (DATA / "malformed").glob("*.txt")}


@pytest.mark.parametrize("file", MALFORMED, ids=lambda file: file.stem)
def test_message_is_the_golden_one(file: Path) -> None:
    assert messages(file) == file.with_suffix(".txt").read_text()


@pytest.mark.parametrize("file", MALFORMED, ids=lambda file: file.stem)
def test_every_place_lies_in_the_file(file: Path) -> None:
    lines = file.read_bytes().split(b"\n")
    with pytest.raises(RecipeError) as caught:
        load(file)
    for diagnostic in caught.value.diagnostics:
        assert 1 <= diagnostic.line <= len(lines)
        assert 1 <= diagnostic.column <= len(lines[diagnostic.line - 1]) + 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1f", 31),
        ("0o17", 15),
        ("-7", -7),
        ("007", 7),
        ("1.50", 1.5),
        ("-.inf", float("-inf")),
        (".5e3", 500.0),
        ("True", True),
        ("on", "on"),
        ("yes", "yes"),
        ("2026-11-21", "2026-11-21"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("0o8", "0o8"),
        ("~", None),
        ("", None),
        ("9" * 50, "9" * 50),
    ],
)
def test_plain_words_are_typed_as_yaml_1_2_types_them(text: str, value: object) -> None:
    found = scalar(text)
    assert (found, isinstance(found, str), isinstance(found, bool)) == (
        value,
        isinstance(value, str),
        isinstance(value, bool),
    )


def test_a_place_points_at_the_word_that_is_wrong() -> None:
    with pytest.raises(RecipeError) as caught:
        loads(GOOD.replace("degraded", "degradde").replace("cache:", "cahce:"), Path("x.yaml"))
    text = GOOD.replace("degraded", "degradde").replace("cache:", "cahce:").split("\n")
    words = [text[d.line - 1][d.column - 1 :] for d in caught.value.diagnostics]
    assert [word.split(":")[0].split("}")[0] for word in words] == ["cahce", "degradde"]


# ---- files that are no recipes at all ------------------------------------------------------------------------------

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "fifty MiB of nesting": (lambda: b"[" * (50 << 20), "is larger than 256 KiB"),
    "nesting up to the limit": (lambda: b"[" * MAX_BYTES, "nested deeper than 32 levels"),
    "nested mappings": (lambda: b"{a: " * (MAX_BYTES // 4), "nested deeper than 32 levels"),
    "nested mixed brackets": (lambda: b"[{a: " * (MAX_BYTES // 5), "nested deeper than 32 levels"),
    "nested dashes": (lambda: b"- " * 2_000, "nested deeper than 32 levels"),
    "nested explicit keys": (lambda: b"? " * 2_000, "a key must be a word"),
    "nested blocks": (lambda: b"".join(b" " * i + b"a:\n" for i in range(700)), "nested deeper than 32 levels"),
    "a quarter MiB of keys": (lambda: b"".join(b"k%d: 1\n" % i for i in range(25_000)), "more than 2000 values"),
    "a quarter MiB of one key": (lambda: b"a: b\n" * 900, "a second 'a'"),
    "a quarter MiB of items": (lambda: b"a: [" + b"b,\n " * (MAX_BYTES // 4 - 5) + b"]", "more than 2000 values"),
    "one long word": (lambda: b"a: " + b"x" * (MAX_BYTES - 3), "a line of 262144 characters"),
    "one long number": (lambda: b"trials: " + b"9" * 4_000, "expected a whole number"),
    "one long line of words": (lambda: b"title: " + b"x " * (MAX_BYTES // 2 - 4), "a line of"),
    "lines of words": (lambda: b"title:\n" + (b" " + b"x " * 2_000 + b"\n") * (MAX_BYTES // 4_002 - 1), "a value of"),
    "escapes": (lambda: b'title: "' + (b"\\n" * 2_000 + b"\n ") * (MAX_BYTES // 4_002 - 1) + b'"', "a value of"),
    "empty lines": (lambda: b"\n" * (MAX_BYTES - 8) + b"a: b", "unknown key"),
    "comments": (lambda: b"# x\n" * (MAX_BYTES // 4 - 2) + b"a: b", "unknown key"),
    "directives": (lambda: b"# x\n" + b"%A b\n" * (MAX_BYTES // 5 - 1), "a YAML directive"),
    "a block of text": (lambda: b"title: |\n" + b" x\n" * (MAX_BYTES // 3 - 4), "a value of"),
    "documents": (lambda: b"---\n" * (MAX_BYTES // 4), "a second document"),
    "aliases": (lambda: b"a: &a [x]\nb: [" + b"*a,\n " * 40_000 + b"]", "an alias"),
    "anchors": (lambda: b"".join(b"a%d: &a%d x\n" % (i, i) for i in range(900)), "an anchor"),
    "a pattern that nests": (lambda: _with_pattern("(" * 900), "does not compile"),
    "a pattern that repeats": (lambda: _with_pattern("x{99999999999}"), "does not compile"),
    "long name of a layer": (lambda: GOOD.replace("leg0", "l" * 900).encode(), "at most 20 characters"),
    "close to a long name": (lambda: b"".join(b"steeps%d: 1\n" % i for i in range(1_900)), "did you mean 'steps'"),
    "a cycle of hundreds": (lambda: _cycle(300), "a cycle"),
}


def _with_pattern(pattern: str) -> bytes:
    return GOOD.replace(r"LBA \d+, 0 blocks", pattern).encode()


def _cycle(length: int) -> bytes:
    layers = "".join(f"  l{i}: {{lvm: linear, of: l{(i + 1) % length}, size: 1M}}\n" for i in range(length))
    return GOOD.replace("guest:\n", layers + "guest:\n").encode()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_quickly(name: str, tmp_path: Path) -> None:
    make, expected = HOSTILE[name]
    file = tmp_path / "hostile.yaml"
    file.write_bytes(make())
    said = messages(file)
    assert expected in said
    assert "Traceback" not in said
    assert max(len(line) for line in said.splitlines()) < 2_000


def test_a_deep_tower_of_layers_is_checked_without_recursion(tmp_path: Path) -> None:
    layers = "".join(f"  l{i}: {{lvm: linear, of: {f'l{i - 1}' if i else 'boot'}, size: 1M}}\n" for i in range(300))
    file = tmp_path / "tower.yaml"
    file.write_text(GOOD.replace("guest:\n", layers + "guest:\n"))
    assert "boot is used by l0 already" in messages(file)


def test_missing_file_names_itself_and_the_shipped_recipe_that_was_meant(tmp_path: Path) -> None:
    absent = tmp_path / "absent.yaml"
    assert messages(absent) == "absent.yaml:1:1: there is no such file\n"
    assert "did you mean 'dio-misaligned-pread'?" in messages(Path("dio-misaligned-read"))


def test_folder_fifo_and_unreadable_file_are_refused_in_words(tmp_path: Path) -> None:
    assert "is a folder" in messages(tmp_path)
    fifo = tmp_path / "fifo.yaml"
    os.mkfifo(fifo)
    assert "is not a regular file" in messages(fifo)
    assert "is not a regular file" in messages(Path("/dev/zero"))
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "no such file" in messages(loop)
    assert "no such file" in messages(Path("x" * 5000))
    assert "no such file" in messages(Path("a\0b"))


def test_file_whose_reading_fails_is_refused_in_words() -> None:
    assert "cannot be read: input/output error" in messages(Path("/proc/self/mem"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text(GOOD)
    file.chmod(0)
    assert "permission denied" in messages(file)


# ---- properties: nothing but RecipeError ever comes out ------------------------------------------------------------


def refused_or_loaded(text: str) -> None:
    try:
        loads(text, Path("x.yaml"))
    except RecipeError as error:
        assert error.diagnostics


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_loaded_or_refused(text: str) -> None:
    refused_or_loaded(text)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 40),
    st.one_of(
        st.sampled_from(
            ["", "{", "[", "]", "}", ": ", "- ", "null", "true", "7", "*a", "&a ", "!t ", "''", "\n", "\t", "#"]
        ),
        st.text(max_size=5),
    ),
)
def test_a_recipe_with_a_hole_or_a_graft_is_loaded_or_refused(at: int, length: int, graft: str) -> None:
    refused_or_loaded(GOOD[:at] + graft + GOOD[at + length :])


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(GOOD.split())
)
NAMES = """recipe target kernel config storage guest drives steps bad_when good_when matrix controls set of lvm disk
io not vm console"""
KEYS = st.one_of(st.text(max_size=6), st.sampled_from(NAMES.split()))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        ["storage", "guest", "steps", "bad_when", "good_when", "matrix", "controls", "target", "search", "vm"]
    ),
    TREES,
)
def test_any_data_in_a_section_is_parsed_or_refused(section: str, tree: object) -> None:
    data = {
        "recipe": "x",
        "target": {"kernel": {"config": ["base"]}},
        "storage": {"leg": {"disk": "nvme", "size": "8M"}},
        "steps": [{"probe": {"io": "leg", "read": "4k"}}],
        "bad_when": {"bad": {"exit": {"probe": 1}}},
        "good_when": {"good": {"exit": {"probe": 0}}},
        section: tree,
    }
    recipe, faults = parse(data)
    assert recipe is not None or faults
