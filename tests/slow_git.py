# SPDX-License-Identifier: GPL-2.0-only
"""A git that stands still where a test wants it to, as one does that has much to do."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """#!/bin/sh
if [ -e {folder}/slow ]; then
  words=$(cat {folder}/slow)
  case " $* " in *"$words"*) exec sleep {number} ;; esac
fi
exec {git} "$@"
"""


@dataclass(frozen=True)
class SlowGit:
    """The folder of the program, which belongs first into PATH. ``number``: seconds, by which its process is known."""

    folder: Path
    number: int

    @classmethod
    def make(cls, folder: Path) -> SlowGit:
        """The program, in a new folder."""
        made = cls(folder, 1_000_000 + secrets.randbelow(1_000_000))
        folder.mkdir()
        program = folder / "git"
        program.write_text(SCRIPT.format(folder=folder, number=made.number, git=shutil.which("git")))
        program.chmod(0o755)
        return made

    @property
    def path(self) -> str:
        """PATH with it."""
        return f"{self.folder}:{os.environ['PATH']}"

    @contextmanager
    def at(self, words: str) -> Iterator[None]:
        """Meanwhile it stands still where its arguments have these words."""
        (self.folder / "slow").write_text(words)
        try:
            yield
        finally:
            (self.folder / "slow").unlink()

    def stands(self) -> bool:
        """Whether one stands still now."""
        wanted = f"sleep\0{self.number}\0".encode()
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (place / "cmdline").read_bytes() == wanted:
                    return True
        return False
