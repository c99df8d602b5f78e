# SPDX-License-Identifier: GPL-2.0-only
"""What tests in VMs build storage with is installed by the project's own set-up."""

import re
from pathlib import Path

import pytest

from bisector.layers.table import ROWS

ROOT = Path(__file__).parents[2]


def fragments(name: str) -> set[str]:
    """Those of a variable of the Makefile."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (value,) = re.findall(rf"^{name} \?= (.*)$", text, re.M)
    return set(value.split())


@pytest.mark.parametrize("name", ["IMAGE_FRAGMENTS", "BOOK_FRAGMENTS"])
def test_the_set_up_installs_the_programs_of_what_an_image_of_the_tests_carries(name: str) -> None:
    wanted = {
        program.package for row in ROWS.values() if set(row.fragments) & fragments(name) for program in row.programs
    }
    installed = set(re.findall(r"[a-z0-9.+-]+", (ROOT / ".ci/setup-host").read_text()))
    assert wanted and not wanted - installed
