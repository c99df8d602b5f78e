# SPDX-License-Identifier: GPL-2.0-only
"""``python -m bisector``: the command line of this very interpreter, whatever PATH says."""

from bisector.cli import main

raise SystemExit(main())
