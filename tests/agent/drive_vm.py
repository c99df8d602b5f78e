# SPDX-License-Identifier: GPL-2.0-only
"""Boots one kernel with the agent in it, without the rest of the project: ``drive_vm.py IMAGE PLAN.json FOLDER``.

The trial package does this with a console reader, deadlines and a kill of its own; here a plain timeout is enough.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bisector import codec
from bisector.agent.plan import Layer, Plan, Result
from bisector.trial.workspace import send_agent

DEVICES = {
    "nvme": "nvme,drive={0},serial={0}",
    "virtio-blk": "virtio-blk-pci,drive={0},serial={0}",
    "scsi": "scsi-hd,bus=scsi.0,drive={0},serial={0}",
    "ahci": "ide-hd,bus=ahci.{1},drive={0},serial={0}",
}


@dataclass(frozen=True)
class Drove:
    """What a boot left: the result (None when there is none), the console, how long it took, whether it was killed."""

    result: Result | None
    console: str
    seconds: float
    killed: bool
    shared: Path

    def text(self, name: str) -> str:
        path = self.shared / name
        return path.read_text(errors="replace") if path.exists() else ""


def qemu_options(layers: tuple[Layer, ...], folder: Path) -> str:
    disks = [layer for layer in layers if layer.kind == "disk" and layer.type != "loop"]
    kinds = {layer.type for layer in disks}
    words = ["-device ich9-ahci,id=ahci"] if "ahci" in kinds else []
    words += ["-device virtio-scsi-pci,id=scsi"] if "scsi" in kinds else []
    for index, disk in enumerate(disks):
        image = folder / f"{disk.name}.img"
        with image.open("wb") as file:
            file.truncate(disk.size)
        words.append(f"-drive file={image},if=none,id={disk.name},format=raw,cache=unsafe")
        words.append("-device " + DEVICES[disk.type].format(disk.name, index))
    return " ".join(words)


def prepare(plan: Plan, folder: Path, guest_kernel: Path | None = None) -> Path:
    shared = folder / "shared"
    send_agent(shared)
    (shared / "files").mkdir()
    (shared / "plan.json").write_text(codec.dump(plan))
    for file in plan.files:
        shutil.copy(file.path, shared / "files" / file.name)
    if guest_kernel:
        shutil.copy(guest_kernel, shared / "guest-kernel")
    return shared


def boot(
    image: Path, plan: Plan, folder: Path, *, limit: float = 240, kill_on: str = "", cpu: str = "", cpus: int = 1
) -> Drove:
    """Boot ``image`` and run ``plan``; kill the VM after ``limit`` seconds or at a console line with ``kill_on``.

    It has one processor: emulated, a second one makes it dearer and no faster (docs/performance.md), unless the kernel
    does not let go of the first.
    """
    plan = replace(plan, cpus=cpus)
    linux = plan.guest is not None and plan.guest.os == "linux"
    shared = prepare(plan, folder, image if linux else None)
    script = shared / "start.sh"
    script.write_text(f"#!/bin/sh\nexec /usr/bin/python3 -I -S {shared}/bisector/agent/main.py {shared}\n")
    script.chmod(0o755)
    options = qemu_options(plan.layers, folder) + (f" -cpu {cpu}" if cpu else "")
    argv = ["vng", "--verbose", "--run", str(image), "--disable-kvm", "--force-9p"]
    argv += ["--memory", f"{plan.memory >> 20}M", "--cpus", str(plan.cpus), f"--rwdir={shared}={shared}"]
    argv += [f"--qemu-opts={options}"] if options.strip() else []
    return watch([*argv, "--exec", str(script)], shared, limit, kill_on)


def watch(argv: list[str], shared: Path, limit: float, kill_on: str) -> Drove:
    started = time.monotonic()
    home = shared.parent / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    child = subprocess.Popen(
        ["timeout", str(limit), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    lines: list[str] = []
    killed = False
    assert child.stdout is not None
    for raw in child.stdout:
        line = raw.decode(errors="replace").rstrip()
        lines.append(f"{time.monotonic() - started:7.2f} {line}")
        if kill_on and kill_on in line:
            os.killpg(child.pid, signal.SIGKILL)
            killed = True
            break
    child.wait()
    seconds = time.monotonic() - started
    path = shared / "result.json"
    result = codec.load(Result, path.read_bytes()) if path.exists() else None
    return Drove(result, "\n".join(lines), seconds, killed, shared)


def main(image: str, plan: str, folder: str) -> None:
    drove = boot(Path(image), codec.load(Plan, Path(plan).read_bytes()), Path(folder))
    print(drove.console)
    print(drove.result)
    print(f"{drove.seconds:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
