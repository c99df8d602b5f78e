# SPDX-License-Identifier: GPL-2.0-only
"""A foreign system from its own disk image, with boot loader, kernel and login: console only, nothing of ours in it."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from booking import needs_image, page

BZIMAGE = os.environ.get("BISECTOR_BOOK_BZIMAGE", "")
TOOLS = ("syslinux", "mcopy", "mkfs.fat", "cpio", "busybox")
pytestmark = [
    *(pytest.mark.vm, pytest.mark.book, needs_image),
    pytest.mark.skipif(not BZIMAGE, reason="BISECTOR_BOOK_BZIMAGE names no kernel that a boot loader takes"),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"one of {', '.join(TOOLS)} is not installed"),
]
FILE_SYSTEM = 24 << 10  # KiB
COUNTER = 30 << 20  # bytes into the disk, behind the file system: where the system counts its boots
INIT = f"""\
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
n=$($bb dd if=/dev/sda bs=512 skip={COUNTER // 512} count=1 2>/dev/null | $bb tr -dc 0-9)
n=$((${{n:-0}} + 1))
echo $n | $bb dd of=/dev/sda bs=512 seek={COUNTER // 512} conv=sync,fsync 2>/dev/null
echo "boot number $n" | $bb dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null
echo "Foreign 1.0, boot number $n"
echo "login:"
while :; do $bb sleep 1000; done
"""
LOADER = """\
SERIAL 0
DEFAULT foreign
LABEL foreign
  LINUX bzimage
  INITRD initrd
  APPEND console=ttyS0 quiet no_timer_check panic=-1
"""
RECIPE = """\
recipe: foreign
target: {kernel: {config: [base, ahci]}}
trials: 1
deadline: 15m
storage:
  disk: {disk: virtio-blk, size: 64M}
guest:
  os: image
  image: os.img
  ready: '^login:'
  drives: {data: {of: disk, device: virtio-blk}}
steps:
  - boot: {start: guest}
  - again: {restart: guest}
  - end: {stop: guest}
  - look: {run: [head, -c, '64', '{disk}']}
bad_when:
  harm: {console: {guest: 'I/O error'}}
good_when:
  wrote: {exit: {boot: 0, again: 0, end: 0, look: 0}, output: {look: 'boot number 2'}}
"""


def system(folder: Path) -> Path:
    """A disk with a system that counts its boots on itself, and writes the count to a second disk."""
    root, image = folder / "root", folder / "os.img"
    for name in ("bin", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True, check=True
    )
    (folder / "initrd").write_bytes(packed.stdout)
    (folder / "syslinux.cfg").write_text(LOADER)
    shutil.copy(BZIMAGE, folder / "bzimage")
    with image.open("wb") as disk:
        disk.truncate(32 << 20)
    subprocess.run(["mkfs.fat", "-F", "16", image, str(FILE_SYSTEM)], check=True, capture_output=True)
    files = [folder / name for name in ("bzimage", "initrd", "syslinux.cfg")]
    subprocess.run(["mcopy", "-i", image, *files, "::"], check=True, capture_output=True)
    subprocess.run(["syslinux", "--install", image], check=True, capture_output=True)
    return image


@pytest.mark.minutes(2)
def test_a_foreign_system_boots_again_keeps_what_it_wrote_and_its_file_is_left_alone(tmp_path: Path) -> None:
    image = system(tmp_path)
    before = hashlib.sha256(image.read_bytes()).hexdigest()
    (tmp_path / "foreign.yaml").write_text(RECIPE)
    seen = page(str(tmp_path / "foreign"))
    assert (seen.verdict(""), seen.condition("")) == ("good", "wrote"), seen.table()
    assert "boot number 2" in seen.step("", "look")["detail"]
    assert hashlib.sha256(image.read_bytes()).hexdigest() == before
