# SPDX-License-Identifier: GPL-2.0-only
"""Tiny kernel packages made with dpkg-deb, and an archive of them that apt reads."""

from __future__ import annotations

import email.utils
import hashlib
import lzma
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MODULES: dict[str, tuple[str, ...]] = {
    "9p": ("9pnet",),
    "9pnet": (),
    "9pnet_virtio": ("9pnet",),
    "dm-raid": ("raid1", "dm-mod"),
    "raid1": ("md-mod",),
    "md-mod": (),
    "dm-mod": (),
    "nvme": (),
    "radio": ("tuner",),
    "tuner": (),
}
"""Modules and what they depend on; the last two no recipe needs."""


def module(name: str, depends: Sequence[str] = (), softdep: str = "", aliases: Sequence[str] = ()) -> bytes:
    """An object file with the section that modinfo reads."""
    fields = [f"name={name}", f"depends={','.join(depends)}", *([f"softdep={softdep}"] if softdep else [])]
    fields += [f"alias={alias}" for alias in aliases]
    source = '\t.section .modinfo, "a"\n' + "".join(f'\t.asciz "{line}"\n' for line in fields)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.o")
        subprocess.run(["gcc", "-c", "-x", "assembler", "-", "-o", path], input=source.encode(), check=True)
        return path.read_bytes()


def build_deb(folder: Path, name: str, version: str, files: Mapping[str, bytes], depends: str = "") -> Path:
    """A package of ``files`` (path → content) in ``folder``."""
    with tempfile.TemporaryDirectory() as root:
        for path, content in files.items():
            target = Path(root, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: T <t@example.org>\n"
        control += f"Depends: {depends}\n" * bool(depends) + "Description: a test\n"
        Path(root, "DEBIAN").mkdir()
        Path(root, "DEBIAN/control").write_text(control)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{name}_{version}_amd64.deb"
        argv = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z0", "--build", root, str(target)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        return target


def kernel_files(
    release: str, *, usr: str = "usr/", without: Sequence[str] = (), builtin: str = ""
) -> dict[str, bytes]:
    """Files of an image package as up to 6.18."""
    base = f"{usr}lib/modules/{release}"
    files = {f"boot/vmlinuz-{release}": f"kernel {release}".encode(), f"boot/config-{release}": b"CONFIG_MD=y\n"}
    files[f"{base}/modules.builtin"] = builtin.encode()
    files[f"{base}/modules.order"] = b""
    for name, depends in MODULES.items():
        if name not in without:
            files[f"{base}/kernel/drivers/{name}.ko.xz"] = lzma.compress(module(name, depends), check=lzma.CHECK_CRC32)
    return files


@dataclass
class DebArchive:
    """A mirror on this disk. Trusted, unsigned."""

    root: Path
    suite: str = "planted"
    _records: list[str] = field(default_factory=list)

    def add(self, deb: Path) -> Path:
        """List a package, and put it into the pool. Returns its place there."""
        pool = self.root / "pool"
        pool.mkdir(parents=True, exist_ok=True)
        target = pool / deb.name
        content = deb.read_bytes()
        target.write_bytes(content)
        control = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True).stdout
        self._records.append(
            f"{control.strip()}\nFilename: pool/{deb.name}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
        return target

    def publish(self) -> None:
        """Write the index and the Release file over it."""
        dists = self.root / "dists" / self.suite
        texts = {"main/binary-amd64/Packages": "\n".join(self._records), "main/source/Sources": ""}
        sums = []
        for path, text in texts.items():
            (dists / path).parent.mkdir(parents=True, exist_ok=True)
            (dists / path).write_text(text)
            sums.append(f" {hashlib.sha256(text.encode()).hexdigest()} {len(text.encode())} {path}")
        (dists / "Release").write_text(
            f"Origin: test\nSuite: {self.suite}\nCodename: {self.suite}\nArchitectures: amd64\nComponents: main\n"
            f"Date: {email.utils.formatdate(usegmt=True)}\nSHA256:\n" + "\n".join(sums) + "\n"
        )
