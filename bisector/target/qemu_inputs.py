# SPDX-License-Identifier: GPL-2.0-only
"""What a build of QEMU read, from ninja's records.

ninja keeps the headers that the compiler listed for each object (`ninja -t deps`), and knows from build.ninja what
else goes into a program (`ninja -t inputs`): sources, and what generators are given. meson and configure keep no list
of what they read, so every file of another kind counts as read, and so does each name that is added or gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bisector.target.commands import Commands
from bisector.target.inputs import Inputs, Places
from bisector.target.make import OBJECTS

KINDS = frozenset((".c", ".h", ".inc", ".S", ".rst"))  # no documentation is built, so nothing reads .rst
WHOLE = ("scripts", "python", "subprojects", "pc-bios", "roms")
UNREAD = ("*/MAINTAINERS", "*/.gitignore", "*/.mailmap", ".gitlab-ci.d", ".github")
TOOL_TIMEOUT = 120.0  # seconds


def qemu_inputs(
    commands: Commands, objects: Path, tree: Path, files: Sequence[str], about: tuple[str, str, str]
) -> Inputs | None:
    """What the build of ``files`` in the object folder read; None where ninja does not say it.

    Args:
        about: the tree's id, the name of the settings, and what was built.
    """
    places, headers = Places(tree, OBJECTS), 0
    for tool in (("deps",), ("inputs", *files)):
        finished = commands.processes.run(
            ["ninja", "-t", *tool],
            access=commands.access, cwd=objects, env=commands.environment, timeout=TOOL_TIMEOUT, check=False,
        )  # fmt: skip
        if finished.returncode:
            return None
        for line in finished.stdout.splitlines():
            places.take(line.strip())
            headers += tool == ("deps",) and line.startswith("    ")
    if not headers:
        return None
    return Inputs(*about, frozenset(places.read), frozenset(places.names), KINDS, WHOLE, UNREAD)
