# SPDX-License-Identifier: GPL-2.0-only
"""What is taken out of a package stays where it is put."""

from __future__ import annotations

import io
import tarfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from bisector.target.unpack import _Contents

INSIDE = "lib/modules/6.1/kernel/dm-mod.ko"


@pytest.mark.parametrize("name", ["./lib/modules/6.1/../../../../out.ko", "lib/modules/6.1/kernel/..", "../out.ko"])
def test_a_path_that_leads_out_of_a_package_is_left_out(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        for each in (name, f"./usr/{INSIDE}"):
            member = tarfile.TarInfo(each)
            member.size = 6
            tar.addfile(member, io.BytesIO(b"module"))
    with ExitStack() as opened:
        contents = _Contents(opened)
        contents.add(tmp_path / "data.tar")
        assert list(contents.files) == [INSIDE]
