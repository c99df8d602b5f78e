# SPDX-License-Identifier: GPL-2.0-only
"""Files that are written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bisector.errors import InfraError
from bisector.system.files import write_whole


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "old")
    write_whole(tmp_path / "file", b"new\n")
    assert (tmp_path / "file").read_bytes() == b"new\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_no_utf8_has_is_replaced(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "a\udc80b")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "a?b"


def test_a_disk_that_is_full_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "file", "old")

    def full(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InfraError, match="file cannot be written: No space left"):
        write_whole(tmp_path / "file", "newer")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_reader_sees_a_whole_file_however_often_it_is_written(tmp_path: Path) -> None:
    path, sizes = tmp_path / "file", set[int]()
    script = (
        "import sys\nfrom pathlib import Path\nfrom bisector.system.files import write_whole\n"
        "for n in range(200): write_whole(Path(sys.argv[1]), 'x' * (1 << 20))\n"
    )
    write_whole(path, "x" * (1 << 20))
    with subprocess.Popen([sys.executable, "-c", script, str(path)]) as writer:
        while writer.poll() is None:
            sizes.add(len(path.read_bytes()))
    assert writer.returncode == 0
    assert sizes == {1 << 20}
