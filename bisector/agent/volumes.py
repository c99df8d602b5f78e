# SPDX-License-Identifier: GPL-2.0-only
"""LVM and md over legs, private to the VM and fully synced before use."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

from ..layers import lvm, md, table
from . import health
from .command import Halt, demand
from .plan import Layer

SYNC_POLL = 0.2
RESYNC_SPEED = "2000000"  # KiB/s; the kernel's default would hold a resync back for other I/O
# The agent ended the VM's udev, so LVM scans /dev itself, makes its own nodes and waits for nobody; use_devicesfile
# came with 2.03.12, and before that it is an unknown setting, which is only a warning.
LVM_CONF = """\
devices {{ dir="/dev" scan=["/dev"] obtain_device_list_from_udev=0 external_device_info_source="none" hints="none"
  use_devicesfile=0 filter=[{filter}] multipath_component_detection=0 }}
activation {{ monitoring=0 udev_sync=0 udev_rules=0 verify_udev_operations=0 }}
backup {{ backup=0 archive=0 }}
global {{ use_lvmpolld=0 use_lvmlockd=0 locking_dir="{folder}/lock" system_id_source="none" notify_dbus=0 }}
"""


def environment_of_steps(folder: str) -> dict[str, str]:
    """Variables with which a recipe's own program uses LVM, device-mapper and md in a VM without udev.

    Without them each lvcreate, lvconvert or dmsetup waits for ever for a udev that confirms its nodes (udev_sync). All
    disks are the program's to use; ``folder`` is that of the agent's own volumes, whose locks it shares.

    Raises OSError.
    """
    own = f"{folder}/lvm/steps"
    os.makedirs(own, exist_ok=True)
    os.makedirs(f"{folder}/lvm/lock", exist_ok=True)
    with open(f"{own}/lvm.conf", "w", encoding="utf-8") as conf:
        conf.write(LVM_CONF.format(filter='"a|.*|"', folder=f"{folder}/lvm"))
    return {
        "LVM_SYSTEM_DIR": own,
        "LVM_SUPPRESS_FD_WARNINGS": "1",
        "DM_DISABLE_UDEV": "1",  # libdevmapper makes the nodes itself (libdm/libdm-common.c)
        "MDADM_NO_UDEV": "1",
    }


class Volumes:
    """Makes volume groups and arrays; ``folder`` is a private folder on a tmpfs, times are bounded by ``limit``."""

    def __init__(self, folder: str, limit: float) -> None:
        self._folder = f"{folder}/lvm"
        self._limit = limit
        self._groups: dict[str, str] = {}  # node of a physical volume → its volume group
        self._arrays = 0
        self._fast_resync = False

    def logical_volume(self, layer: Layer, legs: Sequence[str]) -> str:
        """Make a volume group over the nodes ``legs`` (or use theirs) and a volume in it; its device-mapper name.

        Raises Halt(storage) or Halt(plan).
        """
        commands = []
        group = self._group_of(legs)
        if not group:
            group = f"bisector{len(set(self._groups.values()))}"
            self._groups.update(dict.fromkeys(legs, group))
            commands.append(["vgcreate", "-q", "-y", group, *legs])
        name = layer.name.replace("-", "_")
        given = lvm.create_options(layer.type, layer.size, len(legs), dict(layer.options))
        commands.append(["lvcreate", "-q", "-y", *given, "-n", name, group, *legs])
        self._lvm(commands)
        return f"{group}-{name}"

    def _group_of(self, legs: Sequence[str]) -> str:
        groups = {self._groups.get(leg, "") for leg in legs}
        if len(groups) > 1:
            raise Halt("plan", f"the legs {', '.join(legs)} are not all in one volume group with the same legs")
        return groups.pop()

    def _lvm(self, commands: list[list[str]]) -> None:
        os.makedirs(f"{self._folder}/lock", exist_ok=True)
        accept = "".join(f'"a|^{node}$|",' for node in self._groups)
        with open(f"{self._folder}/lvm.conf", "w", encoding="utf-8") as conf:
            conf.write(LVM_CONF.format(filter=f'{accept}"r|.*|"', folder=self._folder))
        env = {**os.environ, "LVM_SYSTEM_DIR": self._folder, "LVM_SUPPRESS_FD_WARNINGS": "1"}
        for command in commands:
            demand(["lvm", *command], stage="storage", timeout=self._limit, env=env)

    def array(self, layer: Layer, legs: Sequence[str]) -> str:
        """Make an md array over the nodes ``legs``; its name (``md0``). Raises Halt(storage)."""
        self._hurry_resync()
        device = f"md{self._arrays}"
        self._arrays += 1
        row = table.row(layer.kind, layer.type)
        share = row.share(layer.size, len(legs)) if row and layer.size else 0
        argv = md.create(f"/dev/{device}", layer.type, legs, share=share)
        demand(argv, stage="storage", timeout=self._limit, env={**os.environ, "MDADM_NO_UDEV": "1"})
        return device

    def _hurry_resync(self) -> None:
        for name in ("min", "max"):
            # Where md is not loaded yet its default stays: slower, and as good.
            with (
                contextlib.suppress(OSError),
                open(f"/proc/sys/dev/raid/speed_limit_{name}", "w", encoding="utf-8") as knob,
            ):
                knob.write(RESYNC_SPEED)

    def wait_synced(self, layers: Sequence[tuple[str, str, str]]) -> None:
        """Wait until every (kind, name, layer) is healthy. Raises Halt(storage): degraded, or still syncing."""
        until = time.monotonic() + self._limit
        for kind, device, name in layers:
            while (found := volume_health(kind, device))[0] == "syncing":
                if time.monotonic() > until:
                    raise Halt("storage", f"{name} did not become synced: {found[1]}")
                time.sleep(SYNC_POLL)
            if found[0] == "degraded":
                raise Halt("storage", f"{name} was degraded before its first use: {found[1]}")


def volume_health(kind: str, device: str) -> tuple[str, str]:
    """Health and raw status of a logical volume (by its device-mapper name) or an array (``md0``)."""
    if kind == "md":
        return health.md_status(device)
    try:
        status = health.dm_status(device)
    except OSError as error:
        return "", f"no status: {error}"
    return lvm.health(status), status
