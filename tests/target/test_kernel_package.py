# SPDX-License-Identifier: GPL-2.0-only
"""Kernels from packages: layouts, dependencies, and every way in which a download or an unpacking can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deb_archive import build_deb, kernel_files, module
from package_archive import NEEDED, REL, VERSION, Place, made, modules_of

from bisector.errors import InfraError, Interrupted, UsageError
from bisector.interfaces import CancelToken, Phase, Progress, ignore
from bisector.model import BuildFailure, Candidate, TargetKind
from bisector.target import modinfo
from bisector.target.kernel_package import FolderSource, KernelPackage

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("apt-get", "dpkg-deb", "gcc")), reason="needs apt, dpkg-deb and gcc"
)


# ---- what comes out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usr", ["", "usr/"], ids=["lib", "usr-lib"])
def test_only_the_needed_modules_and_what_they_depend_on_are_unpacked(place: Place, usr: str) -> None:
    place.mirror.add(place.deb(usr=usr))
    place.mirror.publish()
    image = made(place.target())
    expected = ["9p", "9pnet", "9pnet_virtio", "dm-mod", "dm-raid", "md-mod", "nvme", "raid1"]
    assert modules_of(image) == [f"{name}.ko" for name in expected]
    assert Path(image.kernel).read_bytes() == f"kernel {REL}".encode()
    assert Path(image.config).read_text() == "CONFIG_MD=y\n"
    assert image.release == REL
    dependencies = (Path(image.modules) / f"lib/modules/{REL}/modules.dep").read_text()
    assert "kernel/drivers/dm-raid.ko:" in dependencies


def test_the_split_layout_is_put_together(place: Place) -> None:
    release, version = "7.2.6+deb13-amd64", "7.2.6-1~bpo13+1"
    files = kernel_files(release)
    kernel = files.pop(f"boot/vmlinuz-{release}")
    config = files.pop(f"boot/config-{release}")
    base = f"usr/lib/modules/{release}"
    depends = ", ".join(f"linux-{part}-{release} (= {version})" for part in ("base", "binary", "modules"))
    parts = {
        "image": ({"usr/share/doc/x": b""}, depends),
        "modules": (files, ""),
        "binary": ({f"{base}/vmlinuz": kernel}, ""),
        "base": ({f"{base}/config": config}, ""),
    }
    for part, (content, needs) in parts.items():
        place.mirror.add(build_deb(place.root / "built", f"linux-{part}-{release}", version, content, needs))
    place.mirror.publish()
    image = made(place.target(), "7.2")
    assert "dm-raid.ko" in modules_of(image)
    assert Path(image.kernel).read_bytes() == kernel
    assert Path(image.config).read_bytes() == config


def test_what_is_built_in_needs_no_file(place: Place) -> None:
    place.mirror.add(place.deb(without=("9p",), builtin="kernel/fs/9p/9p.ko\n"))
    place.mirror.publish()
    assert "9p.ko" not in modules_of(made(place.target()))


@pytest.mark.parametrize(
    ("word", "alias"),
    [("crc32c", "crc32c"), ("crypto-crc32c", "crypto-crc32c"), ("crypto_future", "crypto-future")],
    ids=["libcrc32c to 6.13", "ext4 of 6.12.95", "one that nobody listed"],
)
@pytest.mark.parametrize("where", ["crypto", "drivers/odd"])
def test_a_soft_dependency_on_what_several_modules_offer_is_unpacked(
    place: Place, word: str, alias: str, where: str
) -> None:
    files = kernel_files(REL)
    base = f"usr/lib/modules/{REL}/kernel"
    files[f"{base}/lib/md-mod.ko"] = module("md_mod", ["libcrc32c"])
    files[f"{base}/lib/libcrc32c.ko"] = module("libcrc32c", softdep=f"pre: {word} post: radio")
    files[f"{base}/{where}/some_generic.ko"] = module("some_generic", aliases=[alias, "other"])
    files[f"{base}/{where}/some-intel.ko"] = module("some_intel", aliases=[alias])
    files[f"{base}/{where}/unasked.ko"] = module("unasked", aliases=["pci:v*", "other"])
    del files[f"usr/lib/modules/{REL}/kernel/drivers/md-mod.ko.xz"]
    place.mirror.add(build_deb(place.root / "built", f"linux-image-{REL}", VERSION, files))
    place.mirror.publish()
    found = set(modules_of(made(place.target())))
    assert {"libcrc32c.ko", "some_generic.ko", "some-intel.ko", "radio.ko", "tuner.ko"} <= found
    assert "unasked.ko" not in found


def test_what_is_offered_by_something_built_in_needs_no_module() -> None:
    files = {
        "ext4.ko": module("ext4", softdep="pre: crypto-crc32c"),
        "odd.ko": module("odd", aliases=["crypto-crc32c"]),
    }
    paths = {"ext4": "ext4.ko", "odd": "odd.ko"}
    builtin_info = b"crc32c_generic.alias=crypto-crc32c\0crc32c_generic.license=GPL\0"
    for builtin, taken in ((modinfo.builtin("", builtin_info), {"ext4.ko"}), (frozenset(), {"ext4.ko", "odd.ko"})):
        assert modinfo.Modules(paths, files.__getitem__, builtin).closure(["ext4"]).keys() == taken
    assert modinfo.builtin("kernel/fs/9p/9p.ko\nkernel/a-b.ko\n", b"") == {"9p", "a_b"}


def test_an_unpacking_that_is_stopped_leaves_nothing_and_is_done_whole_the_next_time(place: Place) -> None:
    place.deb()
    source, stop = FolderSource((place.root / "built",), place.processes), CancelToken(str(place.root / "stop"))
    target = KernelPackage(source, place.root / "cache", place.processes, NEEDED)

    def stop_at_unpack(progress: Progress) -> None:
        if progress.phase is Phase.UNPACK:
            stop.cancel()

    with pytest.raises(Interrupted):
        target.image(target.candidate("6.18.9"), listener=stop_at_unpack, cancel=stop)
    assert place.images() == []
    stop.forget()
    assert "dm-raid.ko" in modules_of(made(target))


def test_a_folder_of_packages_serves_too(place: Place) -> None:
    place.deb()
    source = FolderSource((place.root / "built",), place.processes)
    target = KernelPackage(source, place.root / "cache", place.processes, NEEDED)
    assert "raid1.ko" in modules_of(made(target))
    assert target.downloaded == 0


def test_a_version_is_found_by_its_upstream_part_and_the_newest_packaging_taken(place: Place) -> None:
    versions = {
        "6.12.90-1~bpo12+1": "6.12.90+deb12-amd64",
        "6.12.90-2~bpo12+1": "6.12.90+deb12.1-amd64",
        "6.12.9-1": "6.12.9-amd64",
    }
    for version, release in versions.items():
        place.mirror.add(place.deb(version, release))
    place.mirror.publish()
    target = place.target()
    assert target.candidate("6.12.90").revision == "6.12.90-2~bpo12+1"
    assert target.candidate("6.12").revision == "6.12.90-2~bpo12+1"
    assert target.candidate("6.12.9").revision == "6.12.9-1"
    assert target.candidate("6.12.90-1").revision == "6.12.90-1~bpo12+1"
    for missing in ("6.13", "6.1"):  # 6.12.90 begins with the letters of 6.1, and is another kernel
        with pytest.raises(UsageError, match=rf"no kernel package {missing}$"):
            target.candidate(missing)


def test_cloud_and_debug_packages_are_no_kernels_here(place: Place) -> None:
    place.mirror.add(place.deb())
    for name in ("linux-image-6.18.9+deb13-cloud-amd64", f"linux-image-{REL}-dbg", "linux-image-amd64"):
        place.mirror.add(build_deb(place.root / "built", name, VERSION, {"usr/share/doc/x": b""}))
    place.mirror.publish()
    assert [one.release for one in place.target().offer.releases] == [REL]


# ---- left out ------------------------------------------------------------------------------------------------------


def test_an_image_whose_modules_are_gone_is_left_out_with_a_word(place: Place) -> None:
    release, version = "7.0.4+deb13-amd64", "7.0.4-1~bpo13+1"
    place.mirror.add(place.deb())
    needs = f"linux-binary-{release}, linux-modules-{release}"
    place.mirror.add(
        build_deb(place.root / "built", f"linux-image-{release}", version, {"usr/share/doc/x": b""}, needs)
    )
    place.mirror.add(build_deb(place.root / "built", f"linux-binary-{release}", version, {"usr/share/doc/y": b""}))
    place.mirror.publish()
    offer = place.target().offer
    assert [one.version for one in offer.releases] == [VERSION]
    assert [str(one) for one in offer.left_out] == [f"{version} left out: linux-modules-{release} is not there"]


def test_a_package_without_modules_is_left_out(place: Place) -> None:
    files = {path: data for path, data in kernel_files(REL).items() if ".ko" not in path}
    place.mirror.add(build_deb(place.root / "built", f"linux-image-{REL}", VERSION, files))
    place.mirror.publish()
    failure = _failure(place.target())
    assert failure.stage == "unpack"
    assert "no modules" in failure.errors[0]
    assert place.images() == []


def test_a_kernel_without_9p_is_left_out(place: Place) -> None:
    place.mirror.add(place.deb(without=("9p", "9pnet_virtio")))
    place.mirror.publish()
    assert "has no 9p" in _failure(place.target()).errors[0]


def test_a_package_that_the_mirror_lost_is_left_out(place: Place) -> None:
    place.mirror.add(place.deb()).unlink()
    place.mirror.publish()
    assert _failure(place.target()).stage == "download"


def _failure(target: KernelPackage) -> BuildFailure:
    failure = target.image(target.candidate("6.18.9"), listener=ignore, cancel=CancelToken())
    assert isinstance(failure, BuildFailure), failure
    return failure


# ---- the harness fails: never a verdict, never a BuildFailure ------------------------------------------------------


def test_an_index_out_of_reach_is_an_error_of_the_harness(place: Place) -> None:
    with pytest.raises(InfraError, match="the lists of planted"):
        _ = place.target().offer


def test_half_a_package_on_the_mirror_is_an_error_of_the_harness(place: Place) -> None:
    deb = place.mirror.add(place.deb())
    place.mirror.publish()
    deb.write_bytes(deb.read_bytes()[: deb.stat().st_size // 2])
    _fails(place, "linux-image")


def test_a_wrong_checksum_is_an_error_of_the_harness(place: Place) -> None:
    deb = place.mirror.add(place.deb())
    place.mirror.publish()
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    _fails(place, "linux-image")


def _fails(place: Place, what: str) -> None:
    target = place.target()
    with pytest.raises(InfraError, match=what) as raised:
        target.image(target.candidate("6.18.9"), listener=ignore, cancel=CancelToken())
    assert raised.value.hint
    assert not list((place.root / "cache/packages").glob("*.deb"))
    assert place.images() == []


def test_a_damaged_file_in_a_folder_is_an_error_of_the_harness(place: Place) -> None:
    deb = place.deb()
    content = bytearray(deb.read_bytes())
    content[len(content) // 2 :] = b"\0" * (len(content) - len(content) // 2)
    deb.write_bytes(content)
    source = FolderSource((deb.parent,), place.processes)
    target = KernelPackage(source, place.root / "cache", place.processes, NEEDED)
    with pytest.raises(InfraError, match="cannot be unpacked"):
        target.image(target.candidate("6.18.9"), listener=ignore, cancel=CancelToken())
    assert place.images() == []


def test_a_full_disk_is_an_error_of_the_harness(place: Place) -> None:
    """The cache lies on a file system of 200 KB, in a mount namespace of its own; the package unpacks to more."""
    try:
        subprocess.run(["unshare", "-rm", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mount namespace to be had here")
    files = kernel_files(REL)
    files[f"boot/vmlinuz-{REL}"] = os.urandom(400_000)
    build_deb(place.root / "built", f"linux-image-{REL}", VERSION, files)
    small = place.root / "small"
    small.mkdir()
    script = f"""
from pathlib import Path
from bisector.errors import InfraError
from bisector.interfaces import CancelToken, ignore
from bisector.system.proc import Processes
from bisector.target import modinfo
from bisector.target.kernel_package import FolderSource, KernelPackage
processes = Processes(Path({str(place.root / "records")!r}))
source = FolderSource((Path({str(place.root / "built")!r}),), processes)
target = KernelPackage(source, Path({str(small)!r}), processes, {NEEDED!r})
try:
    target.image(target.candidate("6.18.9"), listener=ignore, cancel=CancelToken())
except InfraError as error:
    left = sorted(path.name for path in Path({str(small)!r}, "images").iterdir())
    print("harness:", error.what, "|", error.hint, left)
"""
    mount = f'mount -t tmpfs -o size=200k small {small} && exec {sys.executable} -c "$SCRIPT"'
    argv = ["unshare", "-rm", "sh", "-c", mount]
    done = subprocess.run(argv, env={**os.environ, "SCRIPT": script}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("harness: unpacking 6.18.9"), done
    assert "No space left on device" in done.stdout
    assert "bisector cache" in done.stdout
    assert done.stdout.strip().endswith("[]")  # nothing that looks finished


def test_a_candidate_of_another_index_is_refused(place: Place) -> None:
    place.mirror.add(place.deb())
    place.mirror.publish()
    with pytest.raises(UsageError, match="not there any more"):
        place.target().key(Candidate(TargetKind.KERNEL_PACKAGE, "9.9-1"))
