# SPDX-License-Identifier: GPL-2.0-only
"""Exit codes of the command line, and the codes git's bisect machinery reads. Each number stands here once."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What ``bisector`` returns to the shell."""

    OK = 0  # run: culprit or range; test: good
    BAD = 1  # test: bad; nightly: new regression
    USAGE = 2
    INFRA = 3  # the harness failed, or an unexpected error
    UNDECIDED = 4  # run: every other outcome; test: skip or weak; nightly: nothing new, and a recipe without verdict
    INVALID = 5  # recipe or config invalid
    INTERRUPTED = 130


class GitCode(IntEnum):
    """What a step returns to ``git bisect run``: 1-124, 126 and 127 mean bad, 128 and above abort (git-bisect(1))."""

    GOOD = 0
    BAD = 1
    SKIP = 125
    ABORT = 128
