# SPDX-License-Identifier: GPL-2.0-only
"""Nothing that an earlier build left in a build folder is ever part of a later image by mistake."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kernel_setup import KernelSetup

from bisector.causes import BuildStage
from bisector.errors import InfraError
from bisector.model import Candidate, Image
from bisector.target import build_dirs
from bisector.target.build_dirs import manifest, take
from bisector.target.make import Make, environment

Waiter = Callable[[Callable[[], bool]], None]
HERE = Path(__file__).parent


def start_build(setup: KernelSetup, candidate: Candidate) -> subprocess.Popen[str]:
    """Build in another process."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return subprocess.Popen(
        [sys.executable, str(HERE / "build_one.py"), str(setup.root), candidate.revision],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_in_the_middle(setup: KernelSetup, candidate: Candidate, wait_for: Waiter) -> None:
    """Kill -9 the builder of ``candidate`` while a compiler has written half of an object.

    make and the compiler die by SIGKILL too, all at once: the guard's SIGTERM lets make delete what it was making.
    """
    build_dir = setup.build_dir()
    build_dir.mkdir(parents=True, exist_ok=True)
    (setup.marks() / "pause").touch()
    builder = start_build(setup, candidate)
    wait_for((setup.marks() / "reached").exists)
    at_work = list(build_dirs._working_below(build_dir))
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in at_work:
            with contextlib.suppress(ProcessLookupError):  # the pause's own sleep ends by itself
                os.kill(pid, number)
    builder.kill()
    builder.wait()
    (setup.marks() / "reached").unlink()


def test_an_object_cut_short_by_a_kill_does_not_survive(setup: KernelSetup, wait_for: Waiter) -> None:
    setup.build(setup.target(), setup.candidate("one"))
    changed = setup.candidate("two", {"drivers/disk.c": "disk 2 PAUSE\n"})
    kill_in_the_middle(setup, changed, wait_for)
    half = setup.build_dir() / "tree" / ".objects" / "drivers" / "disk.o"
    assert half.read_text() == "object of "
    assert half.stat().st_mtime_ns > (setup.build_dir() / "tree" / "drivers" / "disk.c").stat().st_mtime_ns
    (setup.marks() / "pause").unlink()
    assert setup.build(setup.target(), changed).identity == setup.clean(changed).identity


def test_make_alone_would_take_the_object_cut_short(setup: KernelSetup, wait_for: Waiter) -> None:
    """Why the journal is there: the same kill without it gives a kernel with half an object in it."""
    changed = setup.candidate("two", {"drivers/disk.c": "disk 2 PAUSE\n"})
    kill_in_the_middle(setup, changed, wait_for)
    (setup.marks() / "pause").unlink()
    argv = Make(jobs=1).argv(setup.build_dir() / "tree", "bzImage")
    subprocess.run(argv, env=environment(os.environ, setup.root / "ccache"), check=True, capture_output=True)
    kernel = (setup.build_dir() / "tree" / ".objects" / "arch/x86/boot/bzImage").read_text()
    assert "object of CONFIG_BLOCK" in kernel and "disk 2" not in kernel


def test_a_killed_build_compiles_only_what_it_had_not_finished(setup: KernelSetup, wait_for: Waiter) -> None:
    setup.build(setup.target(), setup.candidate("one"))
    changed = setup.candidate("two", {"drivers/disk.c": "disk 2 PAUSE\n"})
    before = setup.compiled()
    kill_in_the_middle(setup, changed, wait_for)
    (setup.marks() / "pause").unlink()
    setup.build(setup.target(), changed)
    assert setup.compiled() == before + 2  # disk, twice


def test_a_kill_while_headers_are_made_throws_the_objects_away(setup: KernelSetup, wait_for: Waiter) -> None:
    setup.build(setup.target(), setup.candidate("one"))
    changed = setup.candidate("two", {"drivers/disk.c": "disk 2 PAUSE\n"}, release="6.1")
    before = setup.compiled()
    kill_in_the_middle(setup, changed, wait_for)
    (setup.marks() / "pause").unlink()
    image = setup.build(setup.target(), changed)
    assert setup.compiled() >= before + 3  # core again as well
    assert image.identity == setup.clean(changed).identity


def test_another_candidate_after_a_kill_is_right_too(setup: KernelSetup, wait_for: Waiter) -> None:
    old = setup.candidate("one")
    first = setup.build(setup.target(), old)
    kill_in_the_middle(setup, setup.candidate("two", {"drivers/disk.c": "disk 2 PAUSE\n"}), wait_for)
    (setup.marks() / "pause").unlink()
    shutil.rmtree(setup.root / "a" / "cache")
    assert setup.build(setup.target(), old).identity == first.identity


def test_no_moment_of_a_kill_leaves_a_wrong_image(setup: KernelSetup) -> None:
    """Kill -9 of the whole builder, later each time, over two sources that take turns."""
    files = [{"drivers/disk.c": f"disk {number}\n", "drivers/core.c": f"core {number}\n"} for number in range(2)]
    candidates = [setup.candidate(f"turn{number}", files[number]) for number in range(2)]
    expected = [setup.clean(candidate).identity for candidate in candidates]
    for step in range(8):
        shutil.rmtree(setup.root / "a" / "cache", ignore_errors=True)
        builder = start_build(setup, candidates[step % 2])
        time.sleep(0.15 + 0.06 * step)
        builder.send_signal(signal.SIGKILL)
        builder.wait()
        other = (step + 1) % 2
        assert setup.build(setup.target(), candidates[other]).identity == expected[other]


def test_an_object_whose_source_is_gone_is_not_linked(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    listed_but_gone = setup.candidate("two")
    (setup.sources.trees["two"] / "drivers" / "disk.c").unlink()
    failure = setup.failure(target, listed_but_gone)
    assert failure.stage is BuildStage.COMPILE
    assert "No rule to make target 'drivers/disk.o'" in failure.errors[0]


def test_make_alone_would_link_it(setup: KernelSetup) -> None:
    """Why leftovers are removed: make takes a target that has no rule for current."""
    setup.build(setup.target(), setup.candidate("one"))
    tree = setup.build_dir() / "tree"
    (setup.build_dir() / "objects").rename(tree / ".objects")
    (tree / "drivers" / "disk.c").unlink()
    argv = Make(jobs=1).argv(tree, "bzImage")
    subprocess.run(argv, env=environment(os.environ, setup.root / "ccache"), check=True, capture_output=True)
    assert "disk 1" in (tree / ".objects" / "arch/x86/boot/bzImage").read_text()


def test_an_object_made_from_a_generated_source_goes_with_its_template(setup: KernelSetup) -> None:
    target = setup.target()
    objects = ("core", "made-table")
    with_template = setup.candidate("one", {"drivers/made-table.tmpl": "table\n"}, objects=objects)
    assert "object of table" in Path(setup.build(target, with_template).kernel).read_text()
    failure = setup.failure(target, setup.candidate("two", objects=objects))
    assert "No rule to make target 'drivers/made-table.o'" in failure.errors[0]


def test_a_source_that_left_the_build_changes_nothing_else(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    less = setup.candidate("two", {"README": "less"}, objects=("core",))
    (setup.sources.trees["two"] / "drivers" / "disk.c").unlink()
    before = setup.compiled()
    assert setup.build(target, less).identity == setup.clean(less).identity
    assert setup.compiled() == before


def test_two_builds_at_once_sit_apart(setup: KernelSetup, wait_for: Waiter) -> None:
    slow, quick = setup.candidate("slow", {"drivers/disk.c": "disk PAUSE\n"}), setup.candidate("quick")
    target = setup.target()
    setup.build_dir().mkdir(parents=True)
    (setup.marks() / "pause").touch()
    done: list[Image] = []
    builder = threading.Thread(target=lambda: done.append(setup.build(target, slow)))
    builder.start()
    wait_for((setup.marks() / "reached").exists)
    image = setup.build(setup.target(), quick)
    assert not done and setup.compiled(number=1) == 2
    (setup.marks() / "pause").unlink()
    builder.join()
    assert done[0].identity == setup.clean(slow).identity
    assert image.identity == setup.clean(quick).identity


def test_a_build_dir_whose_objects_fit_is_preferred(tmp_path: Path) -> None:
    with take(tmp_path, "x") as first:
        first.tree.mkdir()
        with first.at_work("x"):
            pass
        with take(tmp_path, "y") as second:
            assert second.folder != first.folder
            second.tree.mkdir()
            with second.at_work("y"):
                pass
    with take(tmp_path, "y") as again:
        assert again.folder == second.folder


def test_objects_of_other_settings_are_thrown_away(setup: KernelSetup) -> None:
    """With every build folder in use for other settings, one of them is taken over."""
    for number in range(build_dirs.MOST_SEATS):
        setup.build(setup.target(make={"KCFLAGS": str(number)}), setup.candidate())
    image = setup.build(setup.target(make={"KCFLAGS": "last"}), setup.candidate())
    assert sorted(entry.name for entry in (setup.root / "a" / "build-dirs").iterdir()) == ["0", "1", "2", "3"]
    assert setup.compiled(number=0) == 4
    assert "last" in Path(image.kernel).read_text()


def test_objects_from_before_a_reboot_are_thrown_away(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    notes = setup.build_dir() / "state.json"
    notes.write_text(json.dumps(json.loads(notes.read_text()) | {"boot": "an-earlier-boot"}))
    setup.build(target, setup.candidate("two", {"drivers/disk.c": "disk 2\n"}))
    assert setup.compiled() == 4


def test_objects_from_the_future_are_thrown_away(setup: KernelSetup) -> None:
    """The clock stepped back an hour since they were made: no source written now would be newer."""
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    notes = setup.build_dir() / "state.json"
    ahead = time.time_ns() + 3600 * 10**9
    for name in manifest(setup.build_dir() / "objects"):
        os.utime(setup.build_dir() / "objects" / name, ns=(ahead, ahead))
    notes.write_text(json.dumps(json.loads(notes.read_text()) | {"newest": ahead}))
    changed = setup.candidate("two", {"drivers/disk.c": "disk 2\n"})
    assert setup.build(target, changed).identity == setup.clean(changed).identity


def test_a_source_is_newer_than_objects_made_just_before(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    notes = setup.build_dir() / "state.json"
    soon = time.time_ns() + 10**9  # within the patience: wait, and keep the objects
    notes.write_text(json.dumps(json.loads(notes.read_text()) | {"newest": soon}))
    setup.build(target, setup.candidate("two", {"drivers/disk.c": "disk 2\n"}))
    assert (setup.build_dir() / "tree" / "drivers" / "disk.c").stat().st_mtime_ns > soon
    assert setup.compiled() == 3


def test_an_earlier_build_that_does_not_die_is_named(setup: KernelSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_dirs, "PATIENCE", 0.2)
    setup.build(setup.target(), setup.candidate("one"))
    (setup.build_dir() / "journal.json").write_text("{}")
    stubborn = subprocess.Popen(["sleep", "60"], cwd=setup.build_dir() / "objects")
    try:
        with pytest.raises(InfraError, match=f"process {stubborn.pid}") as caught:
            setup.build(setup.target(), setup.candidate("two", {"drivers/disk.c": "disk 2\n"}))
        assert caught.value.hint == f"kill {stubborn.pid}"
    finally:
        stubborn.kill()
        stubborn.wait()


def test_an_object_is_made_anew_where_a_new_file_may_be_found_in_its_place(setup: KernelSetup) -> None:
    """As a header that is added comes before the one that an object lists, which make does not see."""
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    before = setup.compiled()
    setup.build(target, setup.candidate("two", {"include/unlike.h": "1\n"}))
    assert setup.compiled() == before
    setup.build(target, setup.candidate("three", {"include/disk.c": "1\n"}))
    assert setup.compiled() - before == 1


def test_objects_of_a_tree_that_is_not_here_any_more_are_thrown_away(setup: KernelSetup) -> None:
    """Whether a file was added since, that is found in the place of another, nobody can tell."""
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    two = setup.candidate("two", {"include/disk.c": "1\n"})
    del setup.sources.trees["one"]
    before = setup.compiled()
    setup.build(target, two)
    assert setup.compiled() - before == 2


@pytest.mark.parametrize("journal", ["", '{"drivers/core.o": [1,', "[]", '{"drivers/core.o": 1}'])
def test_a_journal_that_was_cut_costs_the_objects_and_no_more(setup: KernelSetup, journal: str) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    (setup.build_dir() / "journal.json").write_text(journal)
    changed = setup.candidate("two", {"drivers/disk.c": "disk 2\n"})
    assert setup.build(target, changed).identity == setup.clean(changed).identity
