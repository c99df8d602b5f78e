# SPDX-License-Identifier: GPL-2.0-only
"""Entry of the agent: ``python3 -I -S FOLDER/bisector/agent/main.py FOLDER``; nothing of ours is installed there."""

import importlib
import os
import sys

if __name__ == "__main__":
    # -I drops the script's own folder from the path; this makes its package and its siblings importable.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.dirname(os.path.dirname(here)))
    raise SystemExit(importlib.import_module("bisector.agent.session").main(sys.argv[1:]))
