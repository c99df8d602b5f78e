# SPDX-License-Identifier: GPL-2.0-only
"""What stopped the harness, in words for the person at the keyboard."""

from __future__ import annotations

import errno
import re

from bisector.errors import BisectorError
from bisector.system.proc import ProgramMissing

FAULTS = (BisectorError, OSError, re.error)
"""What a runner turns into the ending HARNESS; anything else is a mistake of ours and travels on."""


def in_words(error: BaseException) -> str:
    """One line: what failed and what to do next."""
    if isinstance(error, ProgramMissing):
        return f"{error.what}; install virtme-ng"
    if isinstance(error, BisectorError):
        return error.what + (f"; {error.hint}" if error.hint else "")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return f"{where}{error.strerror or error}" + ("; free space, or set TMPDIR to another disk" if full else "")
    return f"a watch of the plan is no regular expression: {error}"
