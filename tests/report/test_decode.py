# SPDX-License-Identifier: GPL-2.0-only
"""Traces as lines of the source: a real panic's log, a program with real debug info, a tree's script.

The kernel's own script is found and called as here; BISECTOR_TEST_TREE, a kernel tree, puts it in the place of ours.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bisector.mail.letter import body
from bisector.model import Candidate, Image, Reading, Signal, TargetKind
from bisector.report.decode import decoded
from bisector.report.excerpt import excerpt
from bisector.report.facts import Facts
from bisector.search.gitrepo import History
from bisector.system.proc import Processes, ProcessResult
from bisector.target.debug_info import has_lines
from bisector.target.kernel_file import build_id_of_elf
from tests.mail.test_mail import letter
from tests.report import case

LOG = (Path(__file__).parent.parent / "trial/data/sysrq-crash-6.18.5.log").read_bytes()
TREE = os.environ.get("BISECTOR_TEST_TREE", "")

# What the kernel's script does, in small: name and offset to an address by nm, the address to a line by addr2line.
SCRIPT = r"""#!/usr/bin/env bash
while read -r symbol module; do
	name=${symbol%%+*} offset=${symbol#*+}
	address=$(nm "$1" | awk -v name="$name" '$3 == name {print $1}')
	[[ -z $address ]] && { echo "$symbol${module:+ $module}"; continue; }
	code=$(addr2line -e "$1" "$(printf %x $((0x$address + ${offset%/*})))")
	echo "$name (${code##*/build/../})"
done
"""
# Functions of the trace; their bodies are long enough for the offsets in it.
FUNCTIONS = ("panic", "sysrq_handle_crash", "__handle_sysrq", "write_sysrq_trigger", "proc_reg_write", "vfs_write")

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc, nm and addr2line")


@dataclass
class Tree:
    """A source tree with a build folder in it, and a repository that holds its script."""

    folder: Path
    repository: History
    oid: str

    @property
    def build(self) -> Path:
        return self.folder / "build"

    def image(self) -> Image:
        build_id = build_id_of_elf((self.build / "vmlinux").read_bytes())
        return Image("a" * 64, str(self.build / "kernel"), build_id=build_id)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    folder = tmp_path / "linux"
    (folder / "build").mkdir(parents=True)
    (folder / "scripts").mkdir()
    script = Path(TREE, "scripts/decode_stacktrace.sh").read_text() if TREE else SCRIPT
    (folder / "scripts/decode_stacktrace.sh").write_text(script)
    (folder / "init").mkdir()
    work = "".join(f"\tdepth = depth * {n} + {n};\n" for n in range(3, 120))
    functions = "".join(
        f"__attribute__((noinline)) int {name}(void)\n{{\n{work}\treturn 0;\n}}\n" for name in FUNCTIONS
    )
    calls = " + ".join(f"{name}()" for name in FUNCTIONS)
    text = f"volatile int depth;\n{functions}int kernel_init(void) {{ return {calls}; }}\n"
    (folder / "init/main.c").write_text(text + "int main(void) { return kernel_init(); }\n")
    compile_(folder, "-g")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "scripts"], ["commit", "-qm", "tree"]):
        subprocess.run([*git, *words], check=True)
    oid = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    return Tree(folder, History(folder), oid)


def compile_(folder: Path, *options: str) -> None:
    argv = ["gcc", *options, "-O1", "-Wl,--build-id=sha1", "-fno-builtin", "-o", "vmlinux", "../init/main.c"]
    subprocess.run(argv, cwd=folder / "build", check=True)


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path / "processes")


def crashed(candidate: Candidate, image: Image) -> Facts:
    """The campaign of the case, its bad side a kernel that panicked."""
    facts = case.facts(case.OUTCOMES["culprit"])
    assert facts.bad is not None and facts.bad.trial is not None
    trial = replace(facts.bad.trial, reading=Reading(Signal.REPRODUCED, "panic", "panic"))
    shown = excerpt("kernel.log", LOG, trial)
    bad = replace(facts.bad, judgement=replace(facts.bad.judgement, candidate=candidate), image=image, excerpt=shown)
    return replace(facts, bad=bad)


def lines_of(facts: Facts) -> str:
    assert facts.bad is not None
    return "\n".join(facts.bad.excerpt.lines)


def test_a_trace_leads_to_lines_of_the_source(tree: Tree, processes: Processes) -> None:
    raw = crashed(case.source(tree.oid), tree.image())
    done = decoded(raw, tree.repository, processes)
    assert done.undecoded == ""
    text = lines_of(done)
    assert re.search(r"\]  sysrq_handle_crash \(\S*init/main\.c:\d+\)\n", text)
    assert re.search(r"\]  vfs_write \(\S*init/main\.c:\d+\)\n", text)
    assert "]  vpanic+0x28f/0x2d0\n" in text  # the program has no such function: as the kernel printed it
    assert len(text.splitlines()) == len(lines_of(raw).splitlines()) <= 40
    letter_text = body(replace(letter("culprit"), facts=done))
    assert "sysrq_handle_crash (" in letter_text
    assert "as the kernel printed it" not in letter_text
    assert all(len(line) <= 75 for line in letter_text.splitlines() if not line.startswith("#regzbot"))


def test_a_given_build_is_decoded_by_the_tree_it_was_built_from(tree: Tree, processes: Processes) -> None:
    (tree.build / "source").symlink_to("..")
    image = replace(tree.image(), kernel="/cache/images/aaaa/kernel")
    given = Candidate(TargetKind.GIVEN, str(tree.build / "arch/x86/boot/bzImage"))
    assert "sysrq_handle_crash (" in lines_of(decoded(crashed(given, image), None, processes))


def test_without_debug_info_the_trace_stays_and_it_is_said(tree: Tree, processes: Processes) -> None:
    compile_(tree.folder, "-g0")
    assert not has_lines(tree.build / "vmlinux")
    raw = crashed(Candidate(TargetKind.GIVEN, str(tree.build)), tree.image())
    done = decoded(raw, tree.repository, processes)
    assert lines_of(done) == lines_of(raw)
    letter_text = " ".join(body(replace(letter("culprit"), facts=done)).split())
    assert "it is as the kernel printed it, for its kernel was built without debug info" in letter_text


def test_the_vmlinux_of_another_build_is_not_believed(tree: Tree, processes: Processes) -> None:
    image = replace(tree.image(), build_id="00" * 20)
    done = decoded(crashed(Candidate(TargetKind.GIVEN, str(tree.build)), image), tree.repository, processes)
    assert done.undecoded == "its kernel was built without debug info"


def test_nothing_is_said_where_there_is_no_trace(processes: Processes) -> None:
    facts = case.facts(case.OUTCOMES["culprit"])
    assert decoded(facts, None, processes) == facts


@pytest.mark.parametrize(
    "hostile",
    [
        '" system("touch hit") "+0x1/0x2',
        "a[$(touch hit)]+0x1/0x2",
        "$(touch hit)+0x1/0x2",
        "f+0x1/0x2 [m; touch hit]",
        "f+0x1/0x2 [../../etc]",
        "-h+0x1/0x2",
        "Code: 00 00",
    ],
)
def test_the_script_sees_symbols_and_nothing_else_of_the_log(
    tree: Tree, processes: Processes, hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    run = Processes.run

    def listened(self: Processes, *argv: Any, stdin: str = "", **options: Any) -> ProcessResult:
        seen.extend(stdin.splitlines())
        return run(self, *argv, stdin=stdin, **options)

    monkeypatch.setattr(Processes, "run", listened)
    (tree.build / "source").symlink_to("..")
    raw = crashed(Candidate(TargetKind.GIVEN, str(tree.build)), tree.image())
    assert raw.bad is not None
    shown = replace(raw.bad.excerpt, lines=(hostile, "vfs_write+0xb8/0x430"))
    decoded(replace(raw, bad=replace(raw.bad, excerpt=shown)), None, processes)
    symbol = re.compile(r"[A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+( \[\w+\])?")
    assert seen and all(symbol.fullmatch(line) for line in seen)


@pytest.mark.parametrize("script", ["exit 3", "echo", "cat", "printf 'vfs_write (\\e[31m:1)\\n%.0s' {1..9}"])
def test_a_script_that_fails_leaves_the_trace_as_it_was(tree: Tree, processes: Processes, script: str) -> None:
    (tree.folder / "scripts/decode_stacktrace.sh").write_text(script + "\n")
    (tree.build / "source").symlink_to("..")
    raw = crashed(Candidate(TargetKind.GIVEN, str(tree.build)), tree.image())
    done = decoded(raw, None, processes)
    assert lines_of(done) == lines_of(raw)
    assert "decode_stacktrace.sh" in done.undecoded or "bash" in done.undecoded
