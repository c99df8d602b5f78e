# SPDX-License-Identifier: GPL-2.0-only
"""A build folder that is new begins with a copy of one whose objects differ by their config alone."""

import os
from pathlib import Path

import pytest
from kernel_setup import KernelSetup

from bisector.errors import Interrupted
from bisector.model import Image
from bisector.system.child import ProcessFailed, ProcessResult
from bisector.target import build_dirs, source
from bisector.target.build_dirs import manifest, take

SAME = "CONFIG_BLOCK=y\nCONFIG_NVME=y # optional\n"  # other settings, and the same .config: the tree has no NVME
OTHER = "CONFIG_BLOCK=y\nCONFIG_NET=y\n"


def objects(setup: KernelSetup, number: int = 0) -> Path:
    return setup.build_dir(number=number) / "objects"


def clean(setup: KernelSetup, fragment: str, revision: str, files: dict[str, str] | None = None) -> Image:
    return setup.build(setup.target(name="clean", fragment=fragment), setup.candidate(revision, files))


def test_what_the_first_one_compiled_is_not_compiled_again(setup: KernelSetup) -> None:
    setup.build(setup.target(), setup.candidate("one"))
    before = manifest(objects(setup))
    changed = {"drivers/disk.c": "disk 2\n"}
    image = setup.build(setup.target(fragment=SAME), setup.candidate("two", changed))
    assert setup.compiled(number=1) == 1
    assert manifest(objects(setup)) == before
    assert image.identity == clean(setup, SAME, "two", changed).identity


def test_what_another_config_changes_is_made_anew(setup: KernelSetup) -> None:
    first = setup.build(setup.target(), setup.candidate("one"))
    second = setup.build(setup.target(fragment=OTHER), setup.candidate("one"))
    assert objects(setup, 1).is_dir()
    assert second.identity == clean(setup, OTHER, "one").identity != first.identity


def test_objects_of_other_options_are_left_alone(setup: KernelSetup) -> None:
    setup.build(setup.target(), setup.candidate("one"))
    image = setup.build(setup.target(make={"KCFLAGS": "-O1"}), setup.candidate("one"))
    assert setup.compiled(number=1) == 2
    assert b"-O1" in Path(image.kernel).read_bytes()


def test_a_folder_that_somebody_builds_in_is_not_copied(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    with take(setup.build_dir().parent, target._fit) as busy:
        assert busy.folder == setup.build_dir()
        setup.build(setup.target(fragment=SAME), setup.candidate("one"))
    assert setup.compiled(number=1) == 2


def test_where_the_copy_fails_all_is_made_anew(setup: KernelSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, target: Path, *_: object) -> None:
        (target / "half").write_text("of an object")
        raise ProcessFailed(ProcessResult(("cp",), 1, "", "cp: No space left on device", 0.1))

    setup.build(setup.target(), setup.candidate("one"))
    monkeypatch.setattr(source, "copy_tree", full)
    image = setup.build(setup.target(fragment=SAME), setup.candidate("one"))
    assert setup.compiled(number=1) == 2
    assert not list(setup.build_dir(number=1).glob("gone-*"))
    assert not (objects(setup, 1) / "half").exists()
    assert image.identity == clean(setup, SAME, "one").identity


def test_a_copy_without_its_notes_is_not_trusted(setup: KernelSetup) -> None:
    """A kill between the copy's last rename and the notes."""
    setup.build(setup.target(), setup.candidate("one"))
    target = setup.target(fragment=SAME)
    setup.build(target, setup.candidate("one"))
    (objects(setup, 1) / "drivers/disk.o").write_text("of another kernel")
    (setup.build_dir(number=1) / "state.json").unlink()
    changed = {"drivers/core.c": "core 2\n"}
    image = setup.build(setup.target(fragment=SAME), setup.candidate("two", changed))
    assert setup.compiled(number=1) == 2
    assert image.identity == clean(setup, SAME, "two", changed).identity


def test_with_no_folder_left_one_changes_its_config(setup: KernelSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_dirs, "MOST_SEATS", 1)
    setup.build(setup.target(), setup.candidate("one"))
    changed = {"drivers/disk.c": "disk 2\n"}
    image = setup.build(setup.target(fragment=SAME), setup.candidate("two", changed))
    assert setup.compiled() == 3
    assert image.identity == clean(setup, SAME, "two", changed).identity


def test_commands_of_the_hosts_programs_name_the_copy_and_no_link_is_followed(setup: KernelSetup) -> None:
    setup.build(setup.target(), setup.candidate("one"))
    tools, outside = objects(setup) / "tools/objtool", setup.root / "outside.cmd"
    tools.mkdir(parents=True)
    trees = [os.path.realpath(setup.build_dir(number=number) / "tree") for number in (0, 1)]
    text = f"cmd_{trees[0]}/.objects/tools/objtool/check.o := gcc -o {trees[0]}/.objects/tools/objtool/check.o\n"
    for file in (tools / ".check.o.cmd", tools / "words", outside):
        file.write_text(text)
        os.utime(file, ns=(10**18, 10**18))
    (tools / ".link.cmd").symlink_to(outside)
    (tools / ".bytes.cmd").write_bytes(b"\xff" + text.encode())
    setup.build(setup.target(fragment=SAME), setup.candidate("one"))
    copied = objects(setup, 1) / "tools/objtool"
    assert (copied / ".check.o.cmd").read_text() == text.replace(trees[0], trees[1])
    assert (copied / ".check.o.cmd").stat().st_mtime_ns == 10**18
    assert (copied / "words").read_text() == outside.read_text() == (tools / ".check.o.cmd").read_text() == text
    assert (copied / ".link.cmd").readlink() == outside
    assert (copied / ".bytes.cmd").read_bytes() == b"\xff" + text.encode()


def test_tools_that_are_a_link_lead_nowhere(setup: KernelSetup) -> None:
    """A hostile tree's build can leave one, and the commands are written outside of the sandbox."""
    setup.build(setup.target(), setup.candidate("one"))
    outside, text = setup.root / "outside", f"cmd_{os.path.realpath(setup.build_dir() / 'tree')}/x := gcc\n"
    outside.mkdir()
    (outside / ".check.o.cmd").write_text(text)
    (objects(setup) / "tools").symlink_to(outside)
    setup.build(setup.target(fragment=SAME), setup.candidate("one"))
    assert (objects(setup, 1) / "tools").readlink() == outside
    assert (outside / ".check.o.cmd").read_text() == text


def test_who_is_stopped_in_the_copy_leaves_nothing_half_done(
    setup: KernelSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(folder: Path, target: Path, *_: object) -> None:
        (target / "vmlinux").write_text("half")
        raise Interrupted("stopped")

    setup.build(setup.target(), setup.candidate("one"))
    with monkeypatch.context() as patch:
        patch.setattr(source, "copy_tree", stopped)
        with pytest.raises(Interrupted):
            setup.build(setup.target(fragment=SAME), setup.candidate("one"))
    assert not list(setup.build_dir(number=1).glob("gone-*"))
    image = setup.build(setup.target(fragment=SAME), setup.candidate("one"))
    assert image.identity == clean(setup, SAME, "one").identity
