# SPDX-License-Identifier: GPL-2.0-only
"""Text files are UTF-8 in every locale; a call that leaves it to the locale is found here, before a user finds it."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "bisector").rglob("*.py"))

CAMPAIGN = """
import sys
from pathlib import Path
from bisector.system.xdg import Folders
from tests.campaign.acting import RECIPE, Acted, World, history
folder = Path(sys.argv[1])
acted = Acted(history(folder / "linux", 6, bug=range(3, 6)), Folders(folder / "cache", folder / "state"), World())
row, outcome = acted.run("c0", "c5", text=RECIPE.replace("recipe: acted", "recipe: acted\\ntitle: 'Gr\\u00f6\\u00dfe'"))
print(outcome.kind)
print((folder / "state/campaigns" / row.id / "recipe.yaml").read_bytes().count("Gr\\u00f6\\u00dfe".encode()))
"""


def left_to_the_locale(call: ast.Call) -> bool:
    """Whether a call opens text without saying in which encoding."""
    named = {word.arg: word.value for word in call.keywords}
    if "encoding" in named or None in named:
        return False
    if isinstance(call.func, ast.Attribute):
        name, owner, at = call.func.attr, ast.unparse(call.func.value), 0
    else:
        name, owner, at = ast.unparse(call.func), "", 1
    if name in ("read_text", "write_text"):
        return bool(owner)
    if name in ("run", "Popen", "check_output"):
        return any(
            isinstance(word, ast.Constant) and word.value is True for key, word in named.items() if key == "text"
        )
    if name not in ("open", "fdopen") or (owner in ("os", "gzip", "tarfile") and name == "open"):
        return False
    place = 1 if name == "fdopen" else at
    mode = named.get("mode") or (call.args[place] if len(call.args) > place else ast.Constant("r"))
    return isinstance(mode, ast.Constant) and "b" not in str(mode.value)


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_file_is_opened_with_its_encoding(path: Path) -> None:
    found = [f"{path}:{call.lineno}: {ast.unparse(call)}" for call in calls(path) if left_to_the_locale(call)]
    assert not found


def test_a_campaign_runs_in_an_ascii_locale(tmp_path: Path) -> None:
    environ = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", CAMPAIGN, tmp_path],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["culprit", "1"], done.stderr[-2000:]
