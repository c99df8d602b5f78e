# SPDX-License-Identifier: GPL-2.0-only
"""The archive, against a small one on this disk and the real apt."""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import shutil
from pathlib import Path

import pytest

from bisector.errors import InfraError
from bisector.system.apt import Archive, FileGone, Mirror, host_mirror, parse_sources, upstream_of
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="this host has no apt")

DEBIAN = 'ID=debian\nVERSION_CODENAME="bookworm"\nPRETTY_NAME="Debian GNU/Linux 12"\n'


class LocalArchive:
    """Writes the files that a mirror has: dists/SUITE with Release and Sources, and the pool."""

    def __init__(self, root: Path, suite: str) -> None:
        self.root = root
        self.suite = suite
        self._sources: list[str] = []

    def add(self, package: str, version: str, content: bytes, *, origin: str = "") -> Path:
        """List one version with its tarball; returns the tarball in the pool."""
        pool = self.root / "pool" / package
        pool.mkdir(parents=True, exist_ok=True)
        name = origin or f"{package}_{version.split('-')[0]}.orig.tar.xz"
        tarball = pool / name
        tarball.write_bytes(content)
        dsc = f"{package}_{version}.dsc"  # listed and not there, as on a real mirror
        lines = [f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}", f" {'0' * 64} 10 {dsc}"]
        self._sources.append(
            f"Package: {package}\nBinary: {package}\nVersion: {version}\nArchitecture: all\nFormat: 3.0 (quilt)\n"
            f"Directory: pool/{package}\nChecksums-Sha256:\n" + "\n".join(lines) + "\n"
        )
        return tarball

    def publish(self) -> None:
        """Write the indexes and the Release file over them."""
        dists = self.root / "dists" / self.suite
        package = "Package: nothing\nVersion: 1\nArchitecture: amd64\nFilename: none.deb\nSize: 1\n"
        indexes = {"main/source/Sources": "\n".join(self._sources), "main/binary-amd64/Packages": package}
        sums = []
        for path, text in indexes.items():
            target = dists / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            sums.append(f" {hashlib.sha256(text.encode()).hexdigest()} {len(text.encode())} {path}")
        (dists / "Release").write_text(
            f"Origin: test\nSuite: {self.suite}\nCodename: {self.suite}\nArchitectures: amd64\nComponents: main\n"
            f"Date: {email.utils.formatdate(usegmt=True)}\nSHA256:\n" + "\n".join(sums) + "\n"
        )


@pytest.fixture
def local(tmp_path: Path) -> LocalArchive:
    return LocalArchive(tmp_path / "mirror", "planted")


@pytest.fixture
def archive(tmp_path: Path, local: LocalArchive) -> Archive:
    mirror = Mirror(f"file:{local.root}", "Trusted: yes")
    return Archive(Processes(tmp_path / "records"), tmp_path / "apt", ("planted",), mirror, pause=0.01)


def test_versions_come_oldest_upstream_first(archive: Archive, local: LocalArchive) -> None:
    for version in ("6.18.12-1~bpo13+1", "6.18.5-1~bpo13+1", "6.9.1-1"):
        local.add("linux", version, version.encode())
    local.add("linux-signed", "6.18.5+1", b"another package")
    local.publish()
    archive.update()
    versions = archive.source_versions("linux")
    assert [version.version for version in versions] == ["6.9.1-1", "6.18.5-1~bpo13+1", "6.18.12-1~bpo13+1"]
    tarball = versions[1].tarball
    assert tarball is not None
    assert tarball.name == "linux_6.18.5.orig.tar.xz"
    assert tarball.size == len("6.18.5-1~bpo13+1")


def test_tarball_is_fetched_although_its_packaging_is_gone(
    archive: Archive, local: LocalArchive, tmp_path: Path
) -> None:
    local.add("linux", "6.18.5-1", b"the tree")
    local.publish()
    archive.update()
    taken, path = archive.download_source_between("linux", (6, 18, 0), (6, 18, 32), tmp_path / "sources")
    assert taken.version == "6.18.5-1"
    assert path.read_bytes() == b"the tree"
    assert [found.name for found in (tmp_path / "sources").iterdir()] == ["linux_6.18.5.orig.tar.xz"]


def test_a_second_download_needs_no_mirror(archive: Archive, local: LocalArchive, tmp_path: Path) -> None:
    tarball = local.add("linux", "6.18.5-1", b"the tree")
    local.publish()
    archive.update()
    version = archive.source_versions("linux")[0]
    first = archive.download_source_tarball(version, tmp_path)
    tarball.unlink()
    assert archive.download_source_tarball(version, tmp_path) == first


def test_a_damaged_copy_is_fetched_again(archive: Archive, local: LocalArchive, tmp_path: Path) -> None:
    local.add("linux", "6.18.5-1", b"the tree")
    local.publish()
    archive.update()
    (tmp_path / "linux_6.18.5.orig.tar.xz").write_bytes(b"the tr")
    path = archive.download_source_tarball(archive.source_versions("linux")[0], tmp_path)
    assert path.read_bytes() == b"the tree"


def test_a_file_with_another_checksum_is_refused(archive: Archive, local: LocalArchive, tmp_path: Path) -> None:
    tarball = local.add("linux", "6.18.5-1", b"the tree")
    local.publish()
    archive.update()
    tarball.write_bytes(b"the trap")
    with pytest.raises(InfraError) as caught:
        archive.download_source_tarball(archive.source_versions("linux")[0], tmp_path / "sources")
    assert not isinstance(caught.value, FileGone)
    assert "linux_6.18.5.orig.tar.xz" in caught.value.what
    assert list((tmp_path / "sources").iterdir()) == []


@pytest.mark.parametrize(("newest_first", "taken"), [(False, "6.18.9-1"), (True, "6.18.12-1")])
def test_a_tarball_that_is_gone_is_passed_over(
    archive: Archive, local: LocalArchive, tmp_path: Path, newest_first: bool, taken: str
) -> None:
    gone = [local.add("linux", version, b"x") for version in ("6.18.5-1", "6.18.15-1")]
    for version in ("6.18.9-1", "6.18.12-1", "6.18.33-1"):
        local.add("linux", version, version.encode())
    local.publish()
    archive.update()
    for tarball in gone:
        tarball.unlink()
    version, _ = archive.download_source_between(
        "linux", (6, 18, 0), (6, 18, 32), tmp_path / "sources", newest_first=newest_first
    )
    assert version.version == taken


def test_every_candidate_gone_names_range_and_index(archive: Archive, local: LocalArchive, tmp_path: Path) -> None:
    local.add("linux", "6.18.5-1", b"x").unlink()
    local.add("linux", "7.0.4-1", b"y")
    local.publish()
    archive.update()
    with pytest.raises(InfraError) as caught:
        archive.download_source_between("linux", (6, 18, 0), (6, 18, 32), tmp_path)
    assert "6.18.0 to 6.18.32" in caught.value.what
    assert "gone: linux_6.18.5.orig.tar.xz" in caught.value.what
    assert "7.0.4-1" in caught.value.hint


def test_nothing_in_range_names_range_and_index(archive: Archive, local: LocalArchive, tmp_path: Path) -> None:
    local.add("linux", "6.17.8-1~bpo13+1", b"x")
    local.publish()
    archive.update()
    with pytest.raises(InfraError) as caught:
        archive.download_source_between("linux", (6, 18, 0), (6, 18, 32), tmp_path)
    assert "6.18.0 to 6.18.32 in planted" in caught.value.what
    assert "none is listed" in caught.value.what
    assert "6.17.8-1~bpo13+1" in caught.value.hint


def test_a_package_that_nobody_has(archive: Archive, local: LocalArchive) -> None:
    local.add("linux", "6.18.5-1", b"x")
    local.publish()
    archive.update()
    with pytest.raises(InfraError, match="no source package minix in planted"):
        archive.source_versions("minix")


def test_a_suite_that_the_mirror_lacks(archive: Archive, local: LocalArchive) -> None:
    local.publish()
    with pytest.raises(InfraError, match="the lists of trixie"):
        dataclasses.replace(archive, suites=("trixie",)).update()


def test_unsigned_lists_are_refused(archive: Archive, local: LocalArchive, tmp_path: Path) -> None:
    local.add("linux", "6.18.5-1", b"x")
    local.publish()
    keyring = tmp_path / "empty.gpg"
    keyring.touch()
    mirror = Mirror(archive.mirror.uri, f"Signed-By: {keyring}")
    with pytest.raises(InfraError, match="not signed"):
        dataclasses.replace(archive, mirror=mirror).update()


def test_the_hosts_own_lists_stay_as_they_are(archive: Archive, local: LocalArchive) -> None:
    lists = Path("/var/lib/apt/lists")
    before = {path.name: path.stat().st_mtime_ns for path in lists.iterdir()}
    local.publish()
    archive.update()
    assert {path.name: path.stat().st_mtime_ns for path in lists.iterdir()} == before


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("6.18.5-1~bpo13+1", (6, 18, 5)),
        ("1:6.18.12-2", (6, 18, 12)),
        ("6.18~rc4-1~exp1", (6, 18)),
        ("6.18.5+dfsg-1", (6, 18, 5)),
        ("unstable", ()),
    ],
)
def test_upstream_part_of_a_version(version: str, upstream: tuple[int, ...]) -> None:
    assert upstream_of(version) == upstream


def test_a_paragraph_without_a_version_is_no_version() -> None:
    assert parse_sources("Package: linux\n\nN: not a paragraph\n") == ()


def test_another_distribution_is_distinguished(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('ID=fedora\nVERSION_CODENAME=""\nPRETTY_NAME="Fedora Linux 43"\n')
    with pytest.raises(InfraError, match=r"not Debian \(Fedora Linux 43\)"):
        host_mirror(Processes(tmp_path / "records"), release)


def test_a_host_without_apt_gets_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "os-release"
    release.write_text(DEBIAN)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfraError, match="no apt-get") as caught:
        host_mirror(Processes(tmp_path / "records"), release)
    assert "give the source yourself" in caught.value.hint


def settings_of_a_host(tmp_path: Path, local: LocalArchive) -> Path:
    """An apt.conf of a host of its own, whose main suite comes after others that look like it."""
    parts = tmp_path / "sources"
    parts.mkdir()
    source = "Types: deb\nURIs: file:{}\nSuites: {}\nComponents: main\nTrusted: yes\n"
    entries = (("/elsewhere", "bookworm-security"), (local.root, "bookworm-updates bookworm"))
    (parts / "all.sources").write_text("\n".join(source.format(*entry) for entry in entries))
    settings = tmp_path / "host.conf"
    settings.write_text(
        f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{parts}";\nDir::State::Lists "{tmp_path}/lists";\n'
        f'Dir::Cache "{tmp_path}/cache";\nAPT::Sandbox::User "root";\n'
    )
    return settings


def test_the_mirror_is_the_one_of_the_main_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Archive, local: LocalArchive
) -> None:
    local.publish()
    archive.update()
    monkeypatch.setenv("APT_CONFIG", str(archive.folder / "apt.conf"))
    release = tmp_path / "os-release"
    release.write_text(DEBIAN.replace("bookworm", "planted"))
    assert (
        archive.processes.run(["apt-get", "indextargets", "--format", "$(RELEASE)"], access=HOST).stdout == "planted\n"
    )
    mirror = host_mirror(archive.processes, release)
    assert mirror.uri == f"file:{local.root}/"
    assert mirror.trust.startswith("Signed-By: /usr/share/keyrings/debian-archive-keyring.")


def test_the_mirror_is_known_before_any_list_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: LocalArchive
) -> None:
    """A fresh container has no lists, and then apt names no index target."""
    monkeypatch.setenv("APT_CONFIG", str(settings_of_a_host(tmp_path, local)))
    release = tmp_path / "os-release"
    release.write_text(DEBIAN)
    assert host_mirror(Processes(tmp_path / "records"), release).uri == f"file:{local.root}/"


def test_a_host_without_its_main_suite_gets_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: LocalArchive
) -> None:
    monkeypatch.setenv("APT_CONFIG", str(settings_of_a_host(tmp_path, local)))
    release = tmp_path / "os-release"
    release.write_text(DEBIAN.replace("bookworm", "trixie"))
    with pytest.raises(InfraError, match="no mirror of trixie"):
        host_mirror(Processes(tmp_path / "records"), release)


@pytest.mark.parametrize("suite", ["a\nTrusted: yes", "a\n\nTypes: deb", "a b", "", "-x", "a\x0bTrusted: yes"])
def test_a_suite_that_would_be_more_than_a_word_is_not_written(archive: Archive, suite: str) -> None:
    with pytest.raises(InfraError, match="apt cannot be given the suite"):
        dataclasses.replace(archive, suites=("planted", suite)).update()
    assert not (archive.folder / "sources/bisector.sources").exists()
