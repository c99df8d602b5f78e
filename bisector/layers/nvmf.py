# SPDX-License-Identifier: GPL-2.0-only
"""NVMe over Fabrics within one VM: its kernel serves a block device, and is the host that connects to it.

Served through configfs (drivers/nvme/target/configfs.c), connected through a device file (drivers/nvme/host/fabrics.c).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping

from . import configfs
from .machine import Machine, StorageError, read_text

TARGET = f"{configfs.ROOT}/nvmet"
FABRICS = "/dev/nvme-fabrics"
HOSTS = "/sys/class/nvme"
ADDRESS, SERVICE = "127.0.0.1", "4420"
APPEAR = 20.0  # seconds that a namespace may take to appear
_WORDS = {"queues": "nr_io_queues", "queue_size": "queue_size"}  # of a connection

SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914  # include/uapi/linux/sockios.h
IFF_UP = 1


def make(machine: Machine, name: str, node: str, given: Mapping[str, str]) -> str:
    """Serve the block device ``node`` and connect to it; the disk's name in /sys/block. Raises StorageError, OSError.

    Args:
        name: of the layer; its subsystem is called by it.
        given: ``transport`` (loop or tcp), ``queues``, ``queue_size``.
    """
    configfs.mount(machine, "nvmet")
    if not os.path.isdir(TARGET):
        raise StorageError(f"{name}: the kernel has no NVMe target (CONFIG_NVME_TARGET)")
    transport = given.get("transport", "loop")
    _serve(_subsystem(name), node, _port(transport))
    options = {"transport": transport, "nqn": _nqn(name)}
    options |= {"traddr": ADDRESS, "trsvcid": SERVICE} if transport == "tcp" else {}
    options |= {option: given[word] for word, option in _WORDS.items() if word in given}
    with open(FABRICS, "r+b", buffering=0) as fabrics:
        fabrics.write(",".join(f"{option}={value}" for option, value in options.items()).encode())
    return _appeared(name)


def leave(name: str) -> None:
    """Disconnect, and let go of what was served. Raises OSError."""
    for controller in os.listdir(HOSTS):
        if read_text(f"{HOSTS}/{controller}/subsysnqn") == _nqn(name):
            configfs.write(f"{HOSTS}/{controller}/delete_controller", 1)
    configfs.write(f"{_subsystem(name)}/namespaces/1/enable", 0)


def _nqn(name: str) -> str:
    return f"bisector-{name}"


def _subsystem(name: str) -> str:
    return f"{TARGET}/subsystems/{_nqn(name)}"


def _serve(subsystem: str, node: str, port: str) -> None:
    namespace = f"{subsystem}/namespaces/1"
    os.mkdir(subsystem)
    configfs.write(f"{subsystem}/attr_allow_any_host", 1)
    os.mkdir(namespace)
    configfs.write(f"{namespace}/device_path", os.path.realpath(node))
    configfs.write(f"{namespace}/enable", 1)
    os.symlink(subsystem, f"{port}/subsystems/{os.path.basename(subsystem)}")


def _port(transport: str) -> str:
    """The port of a transport, which all its disks share."""
    number = {"loop": 1, "tcp": 2}[transport]
    port = f"{TARGET}/ports/{number}"
    if os.path.isdir(port):
        return port
    os.mkdir(port)
    configfs.write(f"{port}/addr_trtype", transport)
    if transport == "tcp":
        _loopback_up()
        for attribute, value in (("addr_adrfam", "ipv4"), ("addr_traddr", ADDRESS), ("addr_trsvcid", SERVICE)):
            configfs.write(f"{port}/{attribute}", value)
    return port


def _loopback_up() -> None:
    """The VM has no network otherwise; lo has its address once it is up (netdevice(7))."""
    import fcntl  # here: every start of the agent would pay for them
    import socket
    import struct

    request = struct.Struct("16sh22x")
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as control:
        _, flags = request.unpack(fcntl.ioctl(control, SIOCGIFFLAGS, request.pack(b"lo", 0)))
        fcntl.ioctl(control, SIOCSIFFLAGS, request.pack(b"lo", flags | IFF_UP))


def _appeared(name: str) -> str:
    """The disk of the subsystem, once its namespace was scanned. Raises StorageError."""
    until = time.monotonic() + APPEAR
    while True:
        if found := next(_disks(name), None):
            return found
        if time.monotonic() > until:
            raise StorageError(f"{name}: connected, and no disk appeared")
        time.sleep(0.05)


def _disks(name: str) -> Iterator[str]:
    """Disks of the subsystem: of its only controller, or of all its paths (CONFIG_NVME_MULTIPATH)."""
    for disk in os.listdir("/sys/block"):
        whole = re.fullmatch(r"nvme\d+n\d+", disk)
        if whole and read_text(f"/sys/block/{disk}/device/subsysnqn") == _nqn(name) and os.path.exists(f"/dev/{disk}"):
            yield disk
