# SPDX-License-Identifier: GPL-2.0-only
"""Programs that somebody else built are known by their content, and kept as they were."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bisector.errors import UsageError
from bisector.interfaces import CancelToken, ignore
from bisector.model import Candidate, Image, TargetKind
from bisector.system.proc import Processes
from bisector.target.programs import Programs, installed, missing_libraries


class Host:
    """A folder in PATH with programs, and a cache."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()

    def program(self, name: str, version: str, folder: str = "bin") -> Path:
        path = self.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{name} version {version} (Distribution)'\n")
        path.chmod(0o755)
        return path

    def take(self, *names: str, candidate: Candidate | None = None) -> Image:
        target = self.target(*names)
        image = target.image(candidate or installed(), listener=ignore, cancel=CancelToken())
        assert isinstance(image, Image)
        return image

    def target(self, *names: str) -> Programs:
        environ = {"PATH": f"{self.bin}:/usr/bin:/bin"}
        return Programs(self.root / "cache", names, environ, Processes(self.root / "processes"))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_installed_programs_are_copied_with_their_version(host: Host) -> None:
    host.program("qemu-img", "9.1.0")
    host.program("qemu-io", "9.1.0")
    image = host.take("qemu-img", "qemu-io")
    assert sorted(path.name for path in Path(image.programs).iterdir()) == ["qemu-img", "qemu-io"]
    assert (image.release, image.kernel) == ("QEMU 9.1.0", "")


def test_an_update_of_the_host_is_another_image_and_leaves_the_old_one(host: Host) -> None:
    host.program("qemu-img", "9.1.0")
    before = host.take("qemu-img")
    host.program("qemu-img", "9.2.0")
    after = host.take("qemu-img")
    assert after.identity != before.identity and after.release == "QEMU 9.2.0"
    assert "9.1.0" in (Path(before.programs) / "qemu-img").read_text()


def test_the_same_content_is_the_same_image_wherever_it_lies(host: Host) -> None:
    host.program("qemu-img", "9.1.0")
    host.program("qemu-img", "9.1.0", "build")
    folder = Candidate(TargetKind.GIVEN, str(host.root / "build"))
    assert host.take("qemu-img").identity == host.take("qemu-img", candidate=folder).identity


def test_a_build_folder_has_the_storage_daemon_in_a_folder_of_its_own(host: Host) -> None:
    host.program("qemu-storage-daemon", "9.1.0", "build/storage-daemon")
    image = host.take("qemu-storage-daemon", candidate=Candidate(TargetKind.GIVEN, str(host.root / "build")))
    assert (Path(image.programs) / "qemu-storage-daemon").is_file()


def test_the_emulator_stays_where_its_firmware_is(host: Host) -> None:
    emulator = host.program("qemu-system-x86_64", "9.1.0")
    before = host.take("qemu-system-x86_64")
    assert (Path(before.programs) / "qemu-system-x86_64").resolve() == emulator.resolve()
    host.program("qemu-system-x86_64", "9.2.0")
    assert host.take("qemu-system-x86_64").identity != before.identity


def test_a_program_that_is_not_installed_is_named_with_its_package(host: Host) -> None:
    with pytest.raises(UsageError) as caught:
        host.target("qemu-tea").key(installed())
    assert "qemu-tea is not installed" in caught.value.what and "--repo" in caught.value.hint


def test_a_folder_without_the_program_is_named(host: Host) -> None:
    with pytest.raises(UsageError, match="holds no qemu-img"):
        host.target("qemu-img").key(Candidate(TargetKind.GIVEN, str(host.bin)))


def test_libraries_that_a_program_does_not_find_are_named(tmp_path: Path) -> None:
    """One that is gone, and one that is older than what the program was linked with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "lib.c").write_text("int one(void) { return 1; }\n")
    (tmp_path / "main.c").write_text("int one(void);\nint main(void) { return one(); }\n")
    (tmp_path / "versions").write_text("NEW_2 { one; };\n")

    def gcc(*words: str) -> None:
        subprocess.run(["gcc", f"-L{folder}", "-Wl,-rpath,$ORIGIN", *words], cwd=tmp_path, check=True)

    for name in ("gone", "older"):
        gcc("-shared", "-fPIC", "-o", f"bin/lib{name}.so", "lib.c", "-Wl,--version-script=versions")
        gcc("-o", f"bin/uses-{name}", "main.c", f"-l{name}")
    gcc("-o", "bin/sound", "main.c", "lib.c")
    (folder / "script").write_text("#!/bin/sh\n")
    assert missing_libraries(folder, Processes(tmp_path / "processes")) == ()
    (folder / "libgone.so").unlink()
    (tmp_path / "versions").write_text("OLD_1 { one; };\n")
    gcc("-shared", "-fPIC", "-o", "bin/libolder.so", "lib.c", "-Wl,--version-script=versions")
    assert missing_libraries(folder, Processes(tmp_path / "processes")) == ("libgone.so", "NEW_2")
