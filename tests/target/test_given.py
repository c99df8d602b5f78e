# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that somebody else built is known by its content, and says who it is where it can."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bisector.errors import InfraError, UsageError
from bisector.interfaces import CancelToken, ignore
from bisector.model import Candidate, Image, TargetKind
from bisector.system.proc import Processes
from bisector.target.given import GivenKernel
from bisector.target.kernel_file import build_id_of_elf, build_id_of_image, build_id_of_notes, release_of_image


@pytest.fixture(scope="module")
def vmlinux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ELF file with a build id, and another note before it."""
    folder = tmp_path_factory.mktemp("elf")
    note = '.section .note.other,"a",@note\n.long 4,4,1\n.asciz "Xen"\n.long 7\n.text\nnop\n'
    subprocess.run(["as", "-o", folder / "a.o"], input=note, text=True, check=True)
    subprocess.run(["ld", "-shared", "--build-id=sha1", folder / "a.o", "-o", folder / "vmlinux"], check=True)
    return folder / "vmlinux"


def bz_image(path: Path, payload: bytes, release: str = "6.18.5") -> Path:
    """The parts of a bzImage that say who it is; offsets as in the kernel's boot documentation."""
    head = bytearray(2 * 512)
    head[0x1F1] = 1  # setup sectors after the first
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x20F)
    struct.pack_into("<H", head, 0x20E, 0x300 - 0x200)
    text = f"{release} (bisector@bisector) #1\0".encode()
    head[0x300 : 0x300 + len(text)] = text
    struct.pack_into("<II", head, 0x248, 64, len(payload))
    path.write_bytes(bytes(head) + bytes(64) + payload + b"the rest")
    return path


def sized(data: bytes, packed: bytes) -> bytes:
    return packed + struct.pack("<I", len(data))  # as scripts/Makefile.lib's size_append does


def taken(cache: Path, path: Path) -> Image:
    candidate = Candidate(TargetKind.GIVEN, str(path))
    image = GivenKernel(cache, Processes(cache / "processes")).image(candidate, listener=ignore, cancel=CancelToken())
    assert isinstance(image, Image)
    return image


def expected_build_id(vmlinux: Path) -> str:
    shown = subprocess.run(["readelf", "-n", vmlinux], capture_output=True, text=True, check=True).stdout
    return shown.partition("Build ID: ")[2].split()[0]


def test_the_build_id_is_the_one_that_readelf_shows(vmlinux: Path) -> None:
    assert build_id_of_elf(vmlinux.read_bytes()) == expected_build_id(vmlinux)


def test_what_is_no_elf_or_is_cut_short_has_no_build_id(vmlinux: Path) -> None:
    assert build_id_of_elf(b"") == build_id_of_elf(b"MZ" * 100) == ""
    whole = vmlinux.read_bytes()
    for length in (10, 63, 64, 100, 200):
        assert build_id_of_elf(whole[:length]) in ("", expected_build_id(vmlinux))


def test_notes_as_sysfs_shows_them_are_read_too() -> None:
    other = struct.pack("<III", 4, 5, 1) + b"Xen\0" + b"12345\0\0\0"
    ours = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(range(20))
    assert build_id_of_notes(other + ours) == bytes(range(20)).hex()
    assert build_id_of_notes(other) == ""


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, lzma.compress, lambda data: lzma.compress(data, lzma.FORMAT_ALONE), bz2.compress],
    ids=["gzip", "xz", "lzma", "bzip2"],
)
def test_the_build_id_is_read_through_the_compression(
    tmp_path: Path, vmlinux: Path, pack: Callable[[bytes], bytes]
) -> None:
    data = vmlinux.read_bytes()
    image = bz_image(tmp_path / "bzImage", sized(data, pack(data)))
    assert build_id_of_image(image) == expected_build_id(vmlinux)


@pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")
def test_the_build_id_is_read_through_zstd(tmp_path: Path, vmlinux: Path) -> None:
    packed = subprocess.run(["zstd", "-q", "-c", vmlinux], capture_output=True, check=True).stdout
    image = bz_image(tmp_path / "bzImage", sized(vmlinux.read_bytes(), packed))
    assert build_id_of_image(image, Processes(tmp_path / "processes")) == expected_build_id(vmlinux)
    assert build_id_of_image(image) == ""


def test_a_kernel_that_is_written_while_it_is_copied_is_not_kept_for_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, copyfile = bz_image(tmp_path / "bzImage", b"one"), shutil.copyfile

    def late(source: Path, target: Path) -> Path:
        bz_image(given, b"two")
        return copyfile(source, target)

    monkeypatch.setattr("bisector.target.given.shutil.copyfile", late)
    with pytest.raises(InfraError, match=r"bzImage changed while it was copied"):
        taken(tmp_path / "cache", given)
    monkeypatch.undo()
    bz_image(given, b"one")
    assert Path(taken(tmp_path / "cache", given).kernel).read_bytes() == given.read_bytes()


def test_a_damaged_payload_has_no_build_id(tmp_path: Path, vmlinux: Path) -> None:
    damaged = gzip.compress(vmlinux.read_bytes())[:12] + b"\xff" * 500
    assert build_id_of_image(bz_image(tmp_path / "bzImage", damaged)) == ""


def test_the_release_of_an_elf_kernel_is_that_of_its_banner(tmp_path: Path, vmlinux: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(vmlinux.read_bytes() + b"\0Linux version %s (%s)\0Linux version 6.18.5-mine (me@here) #1 SMP\0")
    image = taken(tmp_path / "cache", kernel)
    assert (image.release, image.build_id) == ("6.18.5-mine", expected_build_id(vmlinux))


def test_an_image_file_is_copied_and_known_by_its_content(tmp_path: Path, vmlinux: Path) -> None:
    data = vmlinux.read_bytes()
    path = bz_image(tmp_path / "bzImage", sized(data, gzip.compress(data)))
    image = taken(tmp_path / "cache", path)
    assert (image.release, image.build_id) == ("6.18.5", expected_build_id(vmlinux))
    assert Path(image.kernel).read_bytes() == path.read_bytes()
    path.rename(tmp_path / "elsewhere")
    assert taken(tmp_path / "cache", tmp_path / "elsewhere") == image
    bz_image(path, b"", "6.17.8")
    other = taken(tmp_path / "cache", path)
    assert other.identity != image.identity and other.release == "6.17.8"


def test_a_build_folder_gives_kernel_config_modules_and_build_id(tmp_path: Path, vmlinux: Path) -> None:
    build = tmp_path / "build"
    for folder in ("arch/x86/boot", "include/config", "drivers/md"):
        (build / folder).mkdir(parents=True)
    bz_image(build / "arch/x86/boot/bzImage", b"packed in a way that nobody knows")
    shutil.copy(vmlinux, build / "vmlinux")
    (build / ".config").write_text("CONFIG_MODULES=y\n")
    (build / "include/config/kernel.release").write_text("6.18.5-mine\n")
    shutil.copy(vmlinux, build / "drivers/md/dm-mod.ko")
    (build / "modules.order").write_text("drivers/md/dm-mod.o\n")
    (build / "modules.builtin").write_text("")
    image = taken(tmp_path / "cache", build)
    assert image.build_id == expected_build_id(vmlinux)
    assert image.release == "6.18.5-mine"
    assert Path(image.config).read_text() == "CONFIG_MODULES=y\n"
    installed = Path(image.modules) / "lib/modules/6.18.5-mine"
    assert (installed / "kernel/drivers/md/dm-mod.ko").read_bytes() == vmlinux.read_bytes()
    assert "kernel/drivers/md/dm-mod.ko:" in (installed / "modules.dep").read_text()


@pytest.mark.parametrize(
    ("release", "module"),
    [
        ("6.18.5", "../out.o"),
        ("6.18.5", " /out.o"),
        ("6.18.5", "kernel//out.o"),
        ("../../../../..", "in.o"),
        ("..", "in.o"),
    ],
)
def test_a_build_folder_puts_nothing_outside_of_the_image(
    tmp_path: Path, vmlinux: Path, release: str, module: str
) -> None:
    build = tmp_path / "given/build"
    for folder in ("arch/x86/boot", "include/config"):
        (build / folder).mkdir(parents=True)
    bz_image(build / "arch/x86/boot/bzImage", b"packed in a way that nobody knows")
    (build / "include/config/kernel.release").write_text(f"{release}\n")
    for place in (build / "in.ko", build.parent / "out.ko"):
        shutil.copy(vmlinux, place)
    (build / "modules.order").write_text(f"{module}\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"outside of that folder|is no release"):
        taken(tmp_path / "cache", build)
    assert [path for path in sorted(tmp_path.rglob("*")) if not path.is_relative_to(tmp_path / "cache")] == before
    assert not list((tmp_path / "cache").rglob("*.ko"))


def test_what_is_no_kernel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words")
    for path in ("text", "none", "."):
        with pytest.raises(UsageError):
            taken(tmp_path / "cache", tmp_path / path)
    assert release_of_image(tmp_path / "text") == ""
