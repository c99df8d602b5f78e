# SPDX-License-Identifier: GPL-2.0-only
"""The files of one trial: made in a work folder of its own, the ones worth keeping copied out, the folder removed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bisector.agent.plan import Guest, Plan, Result
from bisector.codec import DecodeError, dump, load
from bisector.errors import InfraError
from bisector.layers.drive import image_bytes, image_command
from bisector.model import Image
from bisector.system.distribution import install
from bisector.system.proc import Processes
from bisector.system.records import start_time
from bisector.system.sandbox import HOST
from bisector.system.trees import remove_tree
from bisector.trial import bundle, vng
from bisector.trial.kernels import Kernels, other_boots, recorder_script

PREFIX = "bisector-"
RESULT = 4 << 20  # bytes of a result; one that is larger is none of the agent's
KEPT = 1 << 20  # bytes of each log that the agent left
LEFT = ("result.json", "agent.log", "kernel.log", "qemu.log", "guest-console.log", "stamps.log")
"""What the agent leaves: nothing else in the shared folder is kept, which the VM may fill as it likes."""

GUEST = "guest"  # folder of a stored trial that holds it; beside it lies what this side of the wall wrote
GUEST_KERNEL, GUEST_MODULES = "guest-kernel", "guest-modules"
"""In the shared folder: what an inner Linux guest boots, and (without a VM) the folder of its modules by release."""
RESERVE = 32 << 20  # bytes below which a disk counts as full: QEMU would stop, or hand the VM an error of ours


PACKING = 60.0  # seconds that the VM's Python may take to pack the agent
_BUNDLES: dict[str, dict[str, bytes]] = {}
"""The VM's Python → the files that it has packed the agent into."""


class ResultBroken(InfraError):
    """The result file cannot be read or is not a result."""


class Workspace:
    """Work folder of one trial, for ``with``. ``places`` says where things lie."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.places = vng.Places(Path())

    def __enter__(self) -> Workspace:
        base = scratch(self._environ)
        sweep(base)
        owner = f"{os.getuid()}-{os.getpid()}-{start_time(os.getpid())}"
        self.places = vng.Places(Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner}-", dir=base)))
        return self

    def __exit__(self, *_: object) -> None:
        remove_tree(self.places.root, ignore_errors=True)

    def fill(self, plan: Plan, programs: Mapping[str, str]) -> None:
        """Put plan and the recipe's own files into the shared folder. Raises OSError, InfraError.

        ``programs``: whose → the folder of programs of QEMU that do some of the steps, beside those under test.
        """
        shared = self.places.shared
        (shared / "files").mkdir(parents=True)
        for file in plan.files:
            copy = shared / "files" / file.name
            if not copy.resolve().is_relative_to((shared / "files").resolve()):
                raise InfraError(f"{file.name} is outside the recipe's folder")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, copy)  # a guest's disk image may be larger than memory
            with copy.open("rb") as content:
                if file.sha256 and hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                    raise InfraError(f"{file.path} changed since the recipe was read", hint="start again")
            copy.chmod(0o755)
        for whose, folder in programs.items():
            (shared / "programs").mkdir(exist_ok=True)
            (shared / "programs" / whose).symlink_to(Path(folder).resolve(strict=True))
        (shared / "plan.json").write_text(dump(plan), encoding="utf-8")

    def fill_for_vm(self, kernels: Kernels, plan: Plan, processes: Processes, programs: str = "") -> None:
        """Put in what the VM needs beside the agent: kernels, disks, its script. Raises OSError, InfraError.

        ``programs``: a folder that comes first in the VM's PATH.
        """
        places = self.places
        for folder in (places.home / ".config/virtme-ng", places.temporary):
            folder.mkdir(parents=True)
        (places.home / ".config/virtme-ng/virtme-ng.conf").write_text(vng.CONFIGURATION, encoding="utf-8")
        self._link(kernels.first, "")
        for whose, image in kernels.others.items():
            self._link(image, whose)
        if plan.guest is not None and plan.guest.os == "linux":
            self._copy_for_guest(plan.guest, kernels)
        for layer in vng.disks(plan):
            places.disk(layer).parent.mkdir(exist_ok=True)
            if make := image_command(str(places.disk(layer)), layer.size, dict(layer.options)):
                if not shutil.which(make[0]):
                    raise InfraError(f"{make[0]} is missing: it makes volatile disks", hint=install("qemu-utils"))
                processes.run(make, access=HOST, timeout=PACKING)
                continue
            with places.disk(layer).open("wb") as disk:
                disk.truncate(image_bytes(layer.size, dict(layer.options)))
        _script(places.start, vng.start_script(guest_python(), self._agent(processes), places, programs))

    def fill_for_guest(self, kernel: Image | None) -> tuple[Path, ...]:
        """Put in what the guest boots where there is no VM around it; the folders of modules that it must be able to
        see. Raises OSError."""
        if kernel is None:
            return ()
        shared = self.places.shared
        shutil.copyfile(Path(kernel.kernel).resolve(strict=True), shared / GUEST_KERNEL)
        if not kernel.modules:
            return ()
        modules = (Path(kernel.modules) / "lib/modules").resolve(strict=True)
        (shared / GUEST_MODULES).symlink_to(modules)
        return (modules,)

    def fill_for_qemu(self, argv: Sequence[str], kernels: Kernels, plan: Plan, qemu: str) -> None:
        """Put in what stands in for QEMU; ``argv``: what vng is called with. Raises OSError."""
        boots = other_boots(argv, self.places, kernels, plan)
        _script(self.places.qemu, vng.qemu_script(qemu, self.places, plan.boots(), boots))
        for whose in kernels.others:
            _script(self.places.recorder(whose), recorder_script(qemu, self.places, whose))

    def _link(self, image: Image, whose: str) -> None:
        kernel, modules = self.places.kernel(whose), self.places.modules(whose)
        kernel.parent.mkdir(parents=True)
        kernel.symlink_to(Path(image.kernel).resolve(strict=True))
        modules.parent.mkdir()
        if image.modules:
            modules.symlink_to((Path(image.modules) / "lib/modules").resolve(strict=True))
        else:
            modules.mkdir()

    def _copy_for_guest(self, guest: Guest, kernels: Kernels) -> None:
        """Copies: the VM does not see every folder of the host."""
        shared = self.places.shared
        own = shared / "files" / guest.kernel if guest.kernel else Path(kernels.first.kernel)
        shutil.copyfile(own, shared / GUEST_KERNEL)
        if kernels.others and not guest.kernel:
            for whose, image in kernels.by_name.items():
                shutil.copyfile(image.kernel, shared / f"{GUEST_KERNEL}.{whose}")

    def _agent(self, processes: Processes) -> Path:
        """Put the agent in, as one file that the VM's Python has made here, once for all trials; its entry."""
        python, shared = guest_python(), self.places.shared
        if python not in _BUNDLES:
            processes.run([python, "-I", "-S", bundle.__file__, str(shared)], access=HOST, timeout=PACKING)
            _BUNDLES[python] = {name: (shared / name).read_bytes() for name in (bundle.ENTRY, bundle.BUNDLE)}
        for name, content in _BUNDLES[python].items():
            (shared / name).write_bytes(content)
        return shared / bundle.ENTRY

    def result(self, token: str) -> Result | None:
        """The result as far as the agent wrote it, None when there is none. Raises ResultBroken."""
        path = self.places.shared / "result.json"
        try:
            data = _read_regular(path, RESULT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ResultBroken(f"the agent's result cannot be read: {error.strerror}") from error
        try:
            result = load(Result, data, limit=RESULT)
        except DecodeError as error:
            raise ResultBroken(f"the agent's result is malformed: {error}") from None
        if result.token != token and not (result.fault and not result.token):
            raise ResultBroken("the agent's result is of another trial")
        return result

    def keep(self, folder: Path) -> None:
        """Copy result and logs into a folder of their own in the trial's stored one, within bounds. Raises OSError."""
        for name in LEFT:
            try:
                data = _read_regular(self.places.shared / name, KEPT if name.endswith(".log") else RESULT)
            except OSError:  # not there, or not a file: the VM may have made anything of it
                continue
            (folder / GUEST).mkdir(exist_ok=True)
            (folder / GUEST / name).write_bytes(data)

    def qemu_exit(self) -> int | None:
        """QEMU's exit code as a shell gives it; None when it has not ended, or never began."""
        try:
            return int(_read_regular(self.places.qemu_exit, 16))
        except (OSError, ValueError):
            return None

    def full(self) -> bool:
        """Whether the disk below the work folder has no space left."""
        space = os.statvfs(self.places.root)
        return space.f_bavail * space.f_frsize < RESERVE


def scratch(environ: Mapping[str, str]) -> Path:
    """Where work folders go: TMPDIR if vng can use it, else /var/tmp; not /run, where disks would eat memory."""
    given = environ.get("TMPDIR", "")
    return Path(given) if given.startswith("/") and vng.SAFE.fullmatch(given) else Path("/var/tmp")


def sweep(base: Path) -> None:
    """Remove work folders of our own whose owner was killed before it could."""
    for folder in base.glob(f"{PREFIX}{os.getuid()}-*"):
        owner = re.fullmatch(rf"{PREFIX}\d+-(\d+)-(\d+)-\w+", folder.name)
        if owner and start_time(int(owner[1])) != int(owner[2]) and _is_ours(folder):
            remove_tree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder of this user's: any user of this host may make one of that name in /var/tmp."""
    with suppress(OSError):
        entry = folder.lstat()
        return stat.S_ISDIR(entry.st_mode) and entry.st_uid == os.getuid()
    return False


def guest_python() -> str:
    """The Python that the VM, which sees this host's root, runs the agent with: 3.11 or later."""
    host = Path("/usr/bin/python3").resolve()
    version = re.fullmatch(r"python3\.(\d+)", host.name)
    if version and int(version[1]) >= 11 and host.exists():
        return "/usr/bin/python3"
    return str(Path(sys.executable).resolve())


def send_agent(shared: Path) -> Path:
    """Copy the agent into a trial's shared folder, as a package of the name that it has here; its entry.

    Raises OSError.
    """
    (shared / "bisector").mkdir(parents=True)
    (shared / "bisector/__init__.py").touch()
    for package in bundle.PACKAGES:
        (shared / "bisector" / package.name).mkdir()
        for source in package.glob("*.py"):
            shutil.copyfile(source, shared / "bisector" / package.name / source.name)
    return shared / "bisector/agent/main.py"


def _script(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _read_regular(path: Path, limit: int) -> bytes:
    """At most ``limit`` bytes of a file that the VM may have made into anything.

    A device that it made is not even opened: that alone may do something.
    """
    handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with Path(f"/proc/self/fd/{handle}").open("rb") as file:
            return file.read(limit)
    finally:
        os.close(handle)
