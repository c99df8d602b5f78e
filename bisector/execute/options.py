# SPDX-License-Identifier: GPL-2.0-only
"""How the programs of a cluster that we start are started, on this host and on others. Imports nothing of Dask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s",  # after which a silent worker is gone
    "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
    "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
}
NO_TASK_LIMIT = ("--memory-limit", "0", "--no-dashboard")


def worker_options(name: str, *, trials: int, builds: int) -> list[str]:
    """How a worker of ours is started: its slots, and a thread for each, one more for questions."""
    slots = ["--resources", f"build={builds} trial={trials}", "--nthreads", str(builds + trials + 1)]
    return ["--no-nanny", "--name", name, *slots, *NO_TASK_LIMIT, "--death-timeout", "60"]


def key_options(folder: Path, role: str, keys: Mapping[str, str]) -> list[str]:
    """Options with files of a role's keys, which are written here. ``keys``: PEM text by name (ca_file, cert, key)."""
    options = []
    for name, text in keys.items():
        place = folder / f"{role}-{name}.pem"
        if not place.exists():
            place.touch(mode=0o600)
            place.write_text(text, encoding="utf-8")
        options += [f"--tls-{name.replace('_', '-')}", str(place)]
    return options
