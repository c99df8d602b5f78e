# SPDX-License-Identifier: GPL-2.0-only
"""Entry of the agent: ``python3 -I -S FOLDER/agent/main.py FOLDER``, with nothing of ours installed where it runs."""

import importlib
import os
import sys

if __name__ == "__main__":
    # -I drops the script's own folder from the path; its parent makes the siblings a package called "agent".
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    raise SystemExit(importlib.import_module("agent.session").main(sys.argv[1:]))
