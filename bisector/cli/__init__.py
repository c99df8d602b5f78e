# SPDX-License-Identifier: GPL-2.0-only
"""The command line: parse, call, print. The one place where exceptions become exit codes.

Each module adds its commands; heavy packages are imported inside the commands, so that ``--help`` stays quick.
"""

from bisector.cli.app import main

__all__ = ["main"]
