# SPDX-License-Identifier: GPL-2.0-only
"""A folder goes away whatever somebody made in it, and nothing else does."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from bisector.system.trees import remove_tree, walk

ROOT = Path(__file__).parents[2]
DEPTH = 1400


def deep(folder: Path, levels: int = DEPTH, name: str = "d") -> None:
    """Folders in folders, deeper than Python's recursion and than the longest path."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=handle)
        lower = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
        os.close(handle)
        handle = lower
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)


@pytest.fixture(autouse=True)
def clean(tmp_path: Path) -> Iterator[None]:
    """Leave nothing that pytest itself cannot remove."""
    yield
    subprocess.run(["rm", "-rf", tmp_path / "work"], check=True)


@pytest.mark.parametrize(("levels", "name"), [(DEPTH, "d"), (5000, "x" * 200)])
def test_a_folder_of_any_depth_goes(tmp_path: Path, levels: int, name: str) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    deep(folder, levels, name)
    remove_tree(folder)
    assert not folder.exists()


def test_two_open_folders_are_enough(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    deep(folder)
    code = (
        "import resource, sys; from pathlib import Path; from bisector.system.trees import remove_tree\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)); remove_tree(Path(sys.argv[1]))"
    )
    # In a process of its own: a long run of tests has more files open than that.
    subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, check=True)
    assert not folder.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    folder = tmp_path / "work"
    (folder / "inside/more").mkdir(parents=True)
    for place in (folder, folder / "inside", folder / "inside/more"):
        (place / "to-folder").symlink_to(outside)
        (place / "to-file").symlink_to(outside / "file")
        (place / "to-nothing").symlink_to("/nothing")
        os.mkfifo(place / "fifo")
        os.link(outside / "file", place / "hard")
    remove_tree(folder)
    assert not folder.exists()
    assert (outside / "file").read_text() == "kept"
    assert outside.stat().st_nlink == 2


def test_a_link_itself_is_no_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(OSError, match="Not a directory"):
        remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "link", ignore_errors=True)
    assert outside.is_dir()


def test_names_of_any_kind_go(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    for raw in (b"\n", b"\x1b[2J", b"\xff\xfe", b"-rf", b" ", b".gone-", "ü".encode()):
        name = os.fsdecode(raw)
        (folder / name / name).mkdir(parents=True)
        (folder / name / "file").touch()
    remove_tree(folder)
    assert not folder.exists()


AS_NOBODY = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bisector.system.trees import remove_tree
os.setgroups([]); os.setgid(65534); os.setuid(65534)
folder = Path(sys.argv[2], "work")
(folder / "a/b/c").mkdir(parents=True)
(folder / "a/b/file").touch()
os.chmod(folder / "a/b/c", 0)
os.chmod(folder / "a/b", 0o500)
os.chmod(folder / "a", 0)
remove_tree(folder)
assert not folder.exists()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_folders_that_nobody_may_enter_go(tmp_path: Path) -> None:
    ours = [each for each in (tmp_path, *tmp_path.parents) if each.stat().st_uid == os.getuid()]
    for folder in itertools.takewhile(lambda each: each.name.startswith(("test_", "popen-", "pytest-")), ours):
        folder.chmod(0o777)
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, root, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_hundred_thousand_files_take_little_memory(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    (folder / "many").mkdir(parents=True)
    handle = os.open(folder / "many", os.O_RDONLY)
    for number in range(100_000):
        os.mknod(f"{number}", dir_fd=handle)
    os.close(handle)
    tracemalloc.start()
    remove_tree(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not folder.exists()
    assert peak < 8 << 20


def test_what_stays_is_said_and_all_else_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    (folder / "a").mkdir(parents=True)
    for name in ("one", "two", "a/three"):
        (folder / name).touch()
    unlink = os.unlink

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        if path == "two":
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError, match="two"):
        remove_tree(folder)
    assert [path.name for path in folder.iterdir()] == ["two"]


def test_a_folder_is_walked_at_any_depth_that_has_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    deep(folder)
    (folder / "link").symlink_to("/")
    found = list(walk(folder))
    assert len(found) == DEPTH + 1
    assert found[0] == (folder, ["d"], ["link"])
    assert found[-1][2] == ["file"]
    deep(folder, 50, "x" * 200)
    assert len(list(walk(folder))) < DEPTH + 52  # what lies beyond the longest path has none


def test_a_folder_taken_out_is_not_entered(tmp_path: Path) -> None:
    for name in ("a/b", "c/d"):
        (tmp_path / name).mkdir(parents=True)
    seen = []
    for folder, folders, _ in walk(tmp_path):
        seen.append(folder.name)
        if "a" in folders:
            folders.remove("a")
    assert seen == [tmp_path.name, "c", "d"]
