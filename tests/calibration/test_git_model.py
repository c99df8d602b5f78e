# SPDX-License-Identifier: GPL-2.0-only
"""The bench's model of git asks for the same commits in the same order, and finds the same, as git itself."""

import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench.calibration.git_model import bisect
from bench.calibration.history import History, graph, import_stream, linear

GRAPHS = int(os.environ.get("BISECTOR_GIT_GRAPHS", "40"))
"""Generated histories that are held against git; the bench holds 300."""

CLEAN = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull
}  # fmt: skip


def git(folder: Path, *argv: str, stdin: bytes = b"") -> str:
    done = subprocess.run(["git", *argv], cwd=folder, env=CLEAN, input=stdin, capture_output=True, check=False)
    assert done.returncode in (0, 2), done.stderr.decode()
    return done.stdout.decode()


def real(history: History, folder: Path) -> History:
    """Make the history in a repository; the same history with git's own ids."""
    git(folder, "init", "-q", "--bare", "-b", "main")
    git(folder, "fast-import", "--quiet", "--export-marks=marks", stdin=import_stream(history))
    marks = dict(line.split() for line in (folder / "marks").read_text().splitlines())
    return replace(history, oids=tuple(marks[f":{commit + 1}"] for commit in range(len(history))))


def asked_by_git(history: History, folder: Path, verdicts: dict[str, str]) -> tuple[list[str], set[str]]:
    """(commits in the order in which git tried them, suspects)."""
    codes = {"good": 0, "bad": 1, "skip": 125}
    table = "".join(f"{oid} {codes[verdict]}\n" for oid, verdict in verdicts.items())
    (folder / "verdicts").write_text(table)
    script = folder / "answer"
    script.write_text(
        "#!/bin/sh\nread oid < BISECT_HEAD\n"
        'while read id code; do [ "$id" = "$oid" ] && exit "$code"; done < verdicts\nexit 128\n'
    )
    script.chmod(0o755)
    git(folder, "bisect", "start", "--no-checkout", history.oids[-1], history.oids[0])
    log_file = folder / "BISECT_LOG"
    if "first bad commit" not in log_file.read_text():  # neighbours: git ends before anything is tried
        git(folder, "bisect", "run", str(script))
    log = log_file.read_text().splitlines()
    tried = [line.split()[3] for line in log if line.startswith("git bisect") and "start" not in line]
    found = [line.split("[")[1][:40] for line in log if "first bad commit: [" in line]
    possible = [line.split("[")[1][:40] for line in log if line.startswith("# possible first bad commit")]
    return tried, set(found or possible)


@pytest.mark.parametrize("seed", range(GRAPHS))
def test_the_model_walks_as_git_does(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    size = chance.randrange(2, 12) if seed % 5 == 0 else chance.randrange(12, 250)
    history = real(linear(size, chance) if seed % 10 == 1 else graph(size, chance), tmp_path)
    culprit = chance.randrange(1, len(history))
    unbuildable = chance.choice((0.0, 0.05, 0.1, 0.4))
    untestable = {c for c in range(1, len(history) - 1) if chance.random() < unbuildable}

    def judged(commit: int) -> str:
        if commit in untestable:
            return "skip"
        return "bad" if history.is_ancestor(culprit, commit) else "good"

    tried, found = bisect(history, 0, len(history) - 1, judged)
    verdicts = {oid: judged(commit) for commit, oid in enumerate(history.oids)}
    by_git, suspects = asked_by_git(history, tmp_path, verdicts)
    assert [history.oids[commit] for commit, _ in tried] == by_git
    assert {history.oids[commit] for commit in found.suspects} == suspects
