# SPDX-License-Identifier: GPL-2.0-only
"""Builds one fake QEMU in a process of its own, to be killed: build_one_qemu.py ROOT REVISION. Prints the identity."""

import sys
from pathlib import Path

from fake_qemu import QemuSetup, QemuSources

from bisector.model import Candidate, TargetKind

root, revision = Path(sys.argv[1]), sys.argv[2]
setup = QemuSetup(root, QemuSources({tree.name: tree for tree in (root / "upstream").iterdir()}))
print(setup.build(setup.target(), Candidate(TargetKind.QEMU_SOURCE, revision)).identity)
