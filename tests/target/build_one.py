# SPDX-License-Identifier: GPL-2.0-only
"""Builds one fake kernel in a process of its own, to be killed: build_one.py ROOT REVISION. Prints the identity."""

import sys
from pathlib import Path

from fake_kernel import FakeSources
from kernel_setup import KernelSetup

from bisector.model import Candidate, TargetKind

root, revision = Path(sys.argv[1]), sys.argv[2]
sources = FakeSources({tree.name: tree for tree in (root / "upstream").iterdir()})
setup = KernelSetup(root, sources)
print(setup.build(setup.target(), Candidate(TargetKind.KERNEL_SOURCE, revision)).identity)
