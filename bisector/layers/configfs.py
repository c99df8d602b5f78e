# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel makes by folders and files: below configfs, and attributes of sysfs."""

from __future__ import annotations

import os

from .machine import Machine

ROOT = "/sys/kernel/config"


def mount(machine: Machine, folder: str) -> None:
    """Mount configfs where the driver's ``folder`` below it is not to be seen. Ends the build when that fails."""
    if not os.path.isdir(f"{ROOT}/{folder}"):
        machine.run(["mount", "-t", "configfs", "none", ROOT])


def write(path: str, value: object) -> None:
    """Set an attribute. Raises OSError."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(str(value))
