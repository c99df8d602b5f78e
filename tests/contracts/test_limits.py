# SPDX-License-Identifier: GPL-2.0-only
"""What all code and all tests keep to: lengths of functions and modules, and processors. (ruff holds the lines.)"""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTION = 50  # lines, docstring included, decorators not
MODULE = 400  # lines


def python(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def long_functions(text: str) -> Iterator[str]:
    """Functions and methods of a module that are over the limit, with their length."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION:
                yield f"{node.name}: {lines}"


def test_no_function_is_over_its_limit() -> None:
    files = python("bisector")
    assert len(files) > 200
    assert [f"{path.relative_to(ROOT)}: {each}" for path in files for each in long_functions(path.read_text())] == []


@pytest.mark.parametrize("folder", ["bisector", "tests"])
def test_no_module_is_over_its_limit(folder: str) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python(folder)}
    assert {name: lines for name, lines in lengths.items() if lines > MODULE} == {}


def test_no_two_test_modules_have_one_name() -> None:
    """pytest imports them by their names alone, and collects nothing where two are the same."""
    counted = Counter(path.name for path in python("tests") if path.name.startswith("test_"))
    assert len(counted) > 200
    assert [name for name, times in counted.items() if times > 1] == []


def test_a_long_function_is_found_wherever_it_stands() -> None:
    def function(lines: int) -> str:
        return "    def f(self):\n" + "        self\n" * (lines - 1)

    assert list(long_functions(f"class C:\n{function(FUNCTION)}")) == []
    assert list(long_functions(f"class C:\n{function(FUNCTION + 1)}")) == [f"f: {FUNCTION + 1}"]


@pytest.mark.parametrize("word", ["x86_64", "amd64", "bzImage", "ttyS0"])
def test_what_differs_by_processor_is_named_in_the_table_alone(word: str) -> None:
    """Docstrings, comments, and what is said to people and matched of other programs aside."""
    found = []
    for path in python("bisector"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        texts = [text for text in constants if isinstance(text, str)]
        if any(word in text and " " not in text for text in texts):
            found.append(str(path.relative_to(ROOT)))
    assert found == ["bisector/layers/arch.py"]


def test_each_process_with_tests_may_use_all_processors() -> None:
    """A folder's conftest is loaded wherever its tests are collected, and the book's binds its own processes."""
    assert os.sched_getaffinity(0) == os.sched_getaffinity(os.getppid())
