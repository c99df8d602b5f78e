# SPDX-License-Identifier: GPL-2.0-only
"""Where the files that come with the package lie: beside it in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def recipes() -> Path:
    """The folder of the shipped recipes (``NAME.yaml``)."""
    return _folder("recipes")


def kconfigs() -> Path:
    """The folder of the shipped kernel config fragments (``NAME.config``)."""
    return _folder("kconfigs")


def _folder(name: str) -> Path:
    in_wheel = _PACKAGE / "data" / name
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / name
