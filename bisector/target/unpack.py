# SPDX-License-Identifier: GPL-2.0-only
"""From the packages of one kernel to the files of an image, with those modules alone that are needed.

A distribution's kernel has 4,000 modules. They are compressed in a way that the busybox of virtme-ng's initramfs cannot
load, so the needed ones are unpacked, and depmod is run over them.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bisector.errors import InfraError, Interrupted
from bisector.interfaces import CancelToken
from bisector.system.distribution import install
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST
from bisector.target import modinfo

ESSENTIAL = ("9p", "9pnet_virtio")
"""Without these virtme-ng cannot mount the VM's root (a cloud flavour has none of them)."""

_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
_MODULE = re.compile(r"(?P<name>[^/]+)\.ko(?P<packed>\.xz|\.gz|\.zst)?")
TIMEOUT = 600.0  # seconds for one package
CHUNK = 1 << 20  # bytes of a package between two looks at the request to stop


class UnusableKernel(Exception):
    """The packages are whole, and no kernel that can be booted is in them."""


@dataclass
class _Contents:
    """Files of the packages by their path, without the leading ./ and with lib/ where merged-/usr packages say usr/.

    What has .. in its path is left out: it would be written where that leads.
    """

    opened: ExitStack
    files: dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]] = field(default_factory=dict)

    def add(self, tar: Path) -> None:
        archive = self.opened.enter_context(tarfile.open(tar, "r:"))  # noqa: SIM115 (the stack closes it)
        for member in archive:
            if member.isfile() and ".." not in PurePosixPath(member.name).parts:
                self.files[member.name.removeprefix("./").removeprefix("usr/")] = (archive, member)

    def read(self, name: str) -> bytes:
        archive, member = self.files[name]
        stream = archive.extractfile(member)
        assert stream is not None  # members that are no files were not taken in
        return stream.read()


def unpack(
    debs: Sequence[Path],
    release: str,
    wanted: Sequence[str],
    staged: Path,
    processes: Processes,
    cancel: CancelToken,
) -> tuple[str, ...]:
    """Put kernel, config, and the modules ``wanted`` with all they depend on into ``staged``.

    Args:
        release: of the kernel, as its uname -r.
        wanted: names of modules, with ``_``. What is built in needs no file; what this kernel has not is left out.

    Returns:
        The names of the modules that were unpacked.

    Raises:
        UnusableKernel: no kernel, no modules, or none that can mount the VM's root.
        InfraError: a package is damaged, or the disk is full.
        Interrupted: by ``cancel``.
    """
    try:
        needed = _unpack(debs, release, wanted, staged, processes, cancel)
    except tarfile.TarError as error:
        names = ", ".join(deb.name for deb in debs)
        raise InfraError(f"{names} cannot be read: {error}", hint="remove it and try again") from error
    depmod(staged / "modules", release, processes)
    return tuple(sorted(_name(path) for path in needed))


def _unpack(
    debs: Sequence[Path],
    release: str,
    wanted: Sequence[str],
    staged: Path,
    processes: Processes,
    cancel: CancelToken,
) -> Mapping[str, bytes]:
    """All but depmod. Returns path → content of the modules."""
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=staged.parent) as scratch, ExitStack() as opened:
        contents = _Contents(opened)
        for number, deb in enumerate(debs):
            tar = Path(scratch, f"{number}.tar")
            _to_tar(deb, tar, processes, cancel)
            contents.add(tar)
        _kernel(contents, release, staged)
        needed = _modules(contents, release, wanted, processes, Path(scratch))
        base = f"lib/modules/{release}"
        for name, data in needed.items():
            _write(staged / "modules" / name, data)
        for name in _LISTS:
            if f"{base}/{name}" in contents.files:
                _write(staged / "modules" / base / name, contents.read(f"{base}/{name}"))
    return needed


def depmod(folder: Path, release: str, processes: Processes) -> None:
    """Make modules.dep and its kin below ``folder``/lib/modules. Raises InfraError.

    depmod looks into lib/ or into usr/lib/, by how it was built; it is shown both.
    """
    program = shutil.which("depmod") or shutil.which("depmod", path="/usr/sbin:/sbin")
    if not program:
        raise InfraError("depmod is missing: modules cannot be loaded without it", hint=install("kmod"))
    with tempfile.TemporaryDirectory(prefix="bisector-depmod-") as root:
        Path(root, "usr").mkdir()
        Path(root, "lib").symlink_to(folder / "lib")
        Path(root, "usr/lib").symlink_to(folder / "lib")
        processes.run([program, "-b", root, release], access=HOST, timeout=TIMEOUT)


def _kernel(contents: _Contents, release: str, staged: Path) -> None:
    for target, names in (("kernel", ("boot/vmlinuz-{}", "lib/modules/{}/vmlinuz")),
                          ("config", ("boot/config-{}", "lib/modules/{}/config"))):  # fmt: skip
        found = next((name.format(release) for name in names if name.format(release) in contents.files), "")
        if found:
            _write(staged / target, contents.read(found))
        elif target == "kernel":
            raise UnusableKernel(f"no kernel image of {release} is in its packages")


def _modules(
    contents: _Contents, release: str, wanted: Sequence[str], processes: Processes, scratch: Path
) -> Mapping[str, bytes]:
    """Path → content of the wanted modules and of all that they depend on."""
    base = f"lib/modules/{release}/"
    there = {_name(path): path for path in contents.files if path.startswith(base) and _MODULE.fullmatch(_base(path))}
    if not there:
        raise UnusableKernel(f"no modules of {release} are in its packages")
    listing, facts = (
        contents.read(base + name) if base + name in contents.files else b""
        for name in ("modules.builtin", "modules.builtin.modinfo")
    )
    builtin = modinfo.builtin(listing.decode(errors="replace"), facts)
    for name in ESSENTIAL:
        if name not in there and name not in builtin:
            raise UnusableKernel(f"{release} has no {name}, so it cannot mount the VM's root")
    modules = modinfo.Modules(there, lambda path: _unpacked(path, contents.read(path), processes, scratch), builtin)
    return {re.sub(r"\.ko\..*$", ".ko", path): data for path, data in modules.closure(wanted).items()}


def _unpacked(path: str, data: bytes, processes: Processes, scratch: Path) -> bytes:
    try:
        if path.endswith(".xz"):
            return lzma.decompress(data)
        if path.endswith(".gz"):
            return gzip.decompress(data)
    except (lzma.LZMAError, OSError, EOFError, zlib.error) as error:
        raise InfraError(f"the module {path} cannot be unpacked: {error}", hint="fetch the package again") from error
    if not path.endswith(".zst"):
        return data
    packed, plain = scratch / "module.zst", scratch / "module"
    _write(packed, data)
    processes.run(["zstd", "-d", "-q", "-f", "-o", os.fspath(plain), os.fspath(packed)], access=HOST, timeout=60)
    return plain.read_bytes()


def _to_tar(deb: Path, tar: Path, processes: Processes, cancel: CancelToken) -> None:
    """The package's files as one plain tar, in which each can be found without reading what is before it."""
    with processes.start(["dpkg-deb", "--fsys-tarfile", os.fspath(deb)], access=HOST) as child, tar.open("wb") as out:
        with os.fdopen(os.dup(child.fd), "rb") as stream:
            while data := stream.read(CHUNK):
                out.write(data)
                if cancel.cancelled():
                    raise Interrupted(f"stopped while {deb.name} was unpacked")
        code = child.wait(TIMEOUT)
    if code != 0 or not tarfile.is_tarfile(tar):
        tail = tar.read_bytes()[-300:].decode(errors="replace").strip("\0\n").splitlines()[-1:]
        reason = tail[0] if tail and tail[0].isprintable() else f"dpkg-deb ended with {code}"
        raise InfraError(f"{deb.name} cannot be unpacked: {reason}", hint=f"remove {deb} and try again")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _name(path: str) -> str:
    found = _MODULE.fullmatch(_base(path))
    return modinfo.plain(found["name"]) if found else ""
