# SPDX-License-Identifier: GPL-2.0-only
"""An export comes from somebody else: it is whole and as it says, or it is refused in words, and nothing gets out."""

import gzip
import io
import json
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisector.errors import InfraError, UsageError
from bisector.pack import archive
from bisector.pack.archive import MANIFEST, PackBroken, unpack, write

CONTENTS = {
    "campaign.json": b"{}",
    "trials/ends-0/console.log": b"line\n" * 1000,
    "images/aa/kernel": random.Random(1).randbytes(100_000),
    "empty": b"",
}


def packed(path: Path, **changes: Path | bytes) -> Path:
    contents = {**CONTENTS, **changes}
    write(path, contents, made_by="0.1.0", campaign="c", left_out=("x: why",), at=1795248000.9)
    return path


def taken_apart(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(header, tar.extractfile(header).read()) for header in tar]  # type: ignore[union-attr]


def put_together(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for header, data in entries:
            header.size = len(data) if header.isreg() else 0
            tar.addfile(header, io.BytesIO(data))
    return path


def with_manifest(path: Path, **changes: object) -> Path:
    entries = taken_apart(path)
    document = json.loads(entries[0][1]) | changes
    path.unlink()
    return put_together(path, [(entries[0][0], json.dumps(document).encode()), *entries[1:]])


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_bytes(b"from a file")
    path = packed(tmp_path / "x.tar.gz", **{"recipe/own.sh": file})
    manifest = unpack(path, tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in (tmp_path / "out").rglob("*.*")}
    assert found == {
        "campaign.json": b"{}",
        "trials/ends-0/console.log": CONTENTS["trials/ends-0/console.log"],
        "recipe/own.sh": b"from a file",
    }
    assert (tmp_path / "out/images/aa/kernel").read_bytes() == CONTENTS["images/aa/kernel"]
    assert (manifest.schema, manifest.campaign, manifest.left_out) == ("bisector.export/1", "c", ("x: why",))


def test_any_tar_program_reads_it(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar.gz")
    listed = subprocess.run(["tar", "-tzf", path], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [MANIFEST, *sorted(CONTENTS)]


def test_the_same_contents_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = packed(tmp_path / "1"), packed(tmp_path / "2")
    assert one.read_bytes() == other.read_bytes()


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        packed(path)
    assert path.read_text() == "mine"


def test_a_file_that_changes_meanwhile_gives_no_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"before")
    real = archive._write

    def grown(*arguments: object) -> None:
        file.write_bytes(b"after!")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(archive, "_write", grown)
    with pytest.raises(InfraError, match="changed while it was packed"):
        packed(tmp_path / "x", log=file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]


def test_only_what_is_wanted_is_written_and_all_is_checked(tmp_path: Path) -> None:
    path = packed(tmp_path / "x")
    unpack(path, tmp_path / "out", lambda name: name == "campaign.json")
    assert [p.name for p in (tmp_path / "out").rglob("*")] == ["campaign.json"]
    entries = taken_apart(path)
    place = next(n for n, (header, _) in enumerate(entries) if header.name == "images/aa/kernel")
    entries[place] = (entries[place][0], entries[place][1][:-1] + b"!")
    with pytest.raises(PackBroken, match="hash differs"):
        unpack(put_together(tmp_path / "y", entries), tmp_path / "out2", lambda name: name == "campaign.json")


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", "a//b", "a/./b", "", "a\nb", "a/", "\x1b[2J"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "x")
    members = json.loads(taken_apart(path)[0][1])["members"]
    with_manifest(path, members=[*members, {"name": name, "size": 1, "sha256": "0" * 64}])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PackBroken, match="no path inside of an export") as raised:
        unpack(path, tmp_path / "out")
    assert "\x1b" not in raised.value.what
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE,
                                  tarfile.GNUTYPE_SPARSE])  # fmt: skip
def test_nothing_but_plain_files_is_taken(tmp_path: Path, kind: bytes) -> None:
    path = packed(tmp_path / "x")
    entries = taken_apart(path)
    hostile = put_together(
        tmp_path / "y", [entries[0], (entry("campaign.json", kind, "/etc/passwd"), b""), *entries[1:]]
    )
    with pytest.raises(PackBroken, match="no plain file"):
        unpack(hostile, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_a_long_extended_header_is_not_read(tmp_path: Path) -> None:
    entries = taken_apart(packed(tmp_path / "x"))
    header = entry("campaign.json")
    header.pax_headers = {"comment": "x" * (1 << 20)}
    with pytest.raises(PackBroken, match="no plain file"):
        unpack(put_together(tmp_path / "y", [entries[0], (header, b"{}")]), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 3 << 30}, "bytes, not 0 to"),
        ({"size": -1}, "bytes, not 0 to"),
        ({"sha256": "x"}, "no SHA-256 for campaign.json"),
        ({"size": 3}, "has 2 bytes and should have 3"),
        ({"sha256": "0" * 64}, "hash differs"),
        ({"name": "other.json"}, "does not name"),
        ({"size": "2"}, "malformed"),
    ],
)
def test_a_member_that_is_not_as_announced_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = packed(tmp_path / "x")
    members = json.loads(taken_apart(path)[0][1])["members"]
    with_manifest(path, members=[members[0] | change, *members[1:]])
    with pytest.raises(PackBroken, match=said):
        unpack(path, tmp_path / "out")


def test_a_member_that_comes_twice_or_is_a_folder_too_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x")
    entries = taken_apart(path)
    with pytest.raises(PackBroken, match="names once"):
        unpack(put_together(tmp_path / "y", [entries[0], entries[1], entries[1]]), tmp_path / "out")
    members = json.loads(entries[0][1])["members"]
    with_manifest(path, members=[*members, members[0] | {"name": "campaign.json/below"}])
    with pytest.raises(PackBroken, match="a file and a folder"):
        unpack(path, tmp_path / "out2")


def test_another_schema_is_reported(tmp_path: Path) -> None:
    path = with_manifest(packed(tmp_path / "x"), schema="bisector.export/2")
    with pytest.raises(PackBroken, match=r"schema 'bisector.export/2', and this version reads 'bisector.export/1'"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff\xfe", b'{"schema":"bisector.export/1"}']
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, manifest: bytes) -> None:
    with pytest.raises(PackBroken):
        unpack(put_together(tmp_path / "x", [(entry(MANIFEST), manifest)]), tmp_path / "out")


def test_an_archive_without_a_manifest_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackBroken, match=r"does not begin with manifest.json"):
        unpack(put_together(tmp_path / "x", [(entry("a"), b"a")]), tmp_path / "out")
    with pytest.raises(PackBroken, match=r"does not begin with manifest.json"):
        unpack(put_together(tmp_path / "y", []), tmp_path / "out")


def test_one_that_is_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = packed(tmp_path / "x").read_bytes()
    for number, size in enumerate(range(0, len(whole) - 40, len(whole) // 60)):
        path = tmp_path / f"cut{number}"
        path.write_bytes(whole[:size])
        with pytest.raises(PackBroken):
            unpack(path, tmp_path / f"out{number}")


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    entries = taken_apart(packed(tmp_path / "x"))
    with pytest.raises(PackBroken, match=r"trials/ends-0/console.log is missing"):
        unpack(put_together(tmp_path / "y", entries[:-1]), tmp_path / "out")


def test_zeros_that_unpack_to_gigabytes_are_not_swallowed(tmp_path: Path) -> None:
    """What the manifest announces bounds what is read; a bomb behind it, or instead of it, is left alone."""
    entries = taken_apart(packed(tmp_path / "x"))
    huge = replace_size(entry(MANIFEST), 15 << 30)
    path = tmp_path / "y"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(huge.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1 << 20))
    with pytest.raises(PackBroken, match="damaged"):  # a size that is no octal number
        unpack(path, tmp_path / "out")
    big = replace_size(entry("campaign.json"), 7 << 30)
    first = entries[0]
    with gzip.open(tmp_path / "z", "wb", compresslevel=1) as file:
        file.write(replace_size(first[0], len(first[1])).tobuf(tarfile.USTAR_FORMAT))
        file.write(first[1] + bytes(-len(first[1]) % 512))
        file.write(big.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20))
    with pytest.raises(PackBroken, match="should have 2"):
        unpack(tmp_path / "z", tmp_path / "out")


def replace_size(header: tarfile.TarInfo, size: int) -> tarfile.TarInfo:
    header.size = size
    return header


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    whole = gzip.decompress(packed(folder / "x").read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    path = folder / "y"
    path.write_bytes(gzip.compress(whole[:place] + bytes([byte]) + whole[place + 1 :], 1))
    try:
        unpack(path, folder / "out")
    except PackBroken:
        return
    for name, content in CONTENTS.items():
        assert (folder / "out" / name).read_bytes() == content
    assert {p.name for p in folder.iterdir()} == {"x", "y", "out"}


def test_what_is_not_there_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        unpack(tmp_path / "x", tmp_path / "out")
