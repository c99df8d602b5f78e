# SPDX-License-Identifier: GPL-2.0-only
"""Exports made to do harm: no name in them leads anywhere, and none takes long or much memory before it is refused."""

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bisector.errors import InfraError, UsageError
from bisector.model import Candidate, Ending, Observation, Reading, Signal, TargetKind, Trial
from bisector.pack import archive, names
from bisector.pack.archive import PackBroken
from bisector.pack.export import export
from bisector.pack.record import Record, of_campaign, parse, text
from bisector.pack.source import of_file
from bisector.store import CampaignRow, Store

SOURCE = "recipe: r\n"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    store = Store(tmp_path / "state")
    row = store.add_campaign(CampaignRow("c", "r", "t", SOURCE, "", "", "x", False, "", 1.0, "test"))
    candidate = Candidate(TargetKind.KERNEL_SOURCE, "a" * 40)
    reading, seen = Reading(Signal.CLEAN), Observation(Ending.FINISHED)
    store.add_trial("c", Trial(0, candidate, "b" * 64, "c" * 64, "ends", "", 1, reading, seen, "trials/ends-0"))
    made = of_campaign(store, row)
    store.close()
    return made


def packed(path: Path, contents: dict[str, bytes], **fields: object) -> Path:
    members = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()
    ]
    manifest = {"schema": archive.SCHEMA, "made_by": "0.1.0", "campaign": "c", "members": members, "left_out": []}
    whole = {"manifest.json": json.dumps(manifest | fields).encode(), **contents}
    with tarfile.open(path, "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in whole.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def of_record(path: Path, document: object, **fields: object) -> Path:
    contents = {"campaign.json": json.dumps(document).encode(), "recipe/recipe.yaml": SOURCE.encode()}
    return packed(path, contents, **fields)


def set_in(document: Any, place: str, value: object) -> Any:
    *above, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner = document
    for part in above:
        inner = inner[part]
    inner[last] = value
    return document


HOSTILE = ["../../x", "/etc/x", "..", "a/../b", "a\nb", "\x1b[2J", "a\0b", "\u202ex", "x" * 5000, "-x\u2028"]
PLACES = [
    "campaign.id", "campaign.recipe", "trials.0.stage", "trials.0.image", "trials.0.plan", "trials.0.folder",
]  # fmt: skip
LINES = ["campaign.title", "campaign.cell", "campaign.bad", "trials.0.cell", "trials.0.candidate.revision",
         "trials.0.candidate.label"]  # fmt: skip


def test_an_honest_record_is_taken(tmp_path: Path, record: Record) -> None:
    with of_file(of_record(tmp_path / "x", json.loads(text(record))), image_of=1) as source:
        assert source.record == record


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
@pytest.mark.parametrize("place", PLACES)
def test_a_name_that_leads_out_of_its_place_is_refused(tmp_path: Path, record: Record, place: str, value: str) -> None:
    document = set_in(json.loads(text(record)), place, value)
    path = of_record(tmp_path / "x", document, campaign=document["campaign"]["id"])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PackBroken) as raised, of_file(path, image_of=1):
        pass
    assert raised.value.what.isprintable()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("value", [each for each in HOSTILE if not each.isprintable() or len(each) > 4096], ids=ascii)
@pytest.mark.parametrize("place", LINES)
def test_a_line_that_a_terminal_obeys_is_refused(tmp_path: Path, record: Record, place: str, value: str) -> None:
    path = of_record(tmp_path / "x", set_in(json.loads(text(record)), place, value))
    with pytest.raises(PackBroken, match="malformed"), of_file(path):
        pass


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("campaign.created", 1e300),
        ("campaign.created", -1.0),
        ("campaign.state", "\x1b"),
        ("campaign.source", "x" * 2**21),
    ],
)
def test_other_values_that_nobody_recorded_are_refused(record: Record, place: str, value: object) -> None:
    document = set_in(json.loads(text(record)), place, value)
    with pytest.raises(ValueError, match=place.replace(".", r"\.")):
        names.check(parse(json.dumps(document).encode()))


def test_a_manifest_that_names_no_campaign_is_refused(tmp_path: Path, record: Record) -> None:
    for fields in ({"campaign": "../c"}, {"made_by": "\x1b[2J"}):
        path = of_record(tmp_path / "x", json.loads(text(record)), **fields)
        with pytest.raises(PackBroken), of_file(path):
            pass


def test_the_store_has_no_campaign_outside_of_its_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("../x", "", ".", "..", "a/b"):
        with pytest.raises(InfraError, match="cannot be the id"):
            store.campaign_folder(name)


# ---- time and memory


def head(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    return header.tobuf(tarfile.USTAR_FORMAT)


def zeros(size: int) -> Iterator[bytes]:
    chunk = bytes(16 << 20)
    while size:
        yield chunk[: min(size, len(chunk))]
        size -= min(size, len(chunk))


def bomb(path: Path, members: list[dict[str, object]], name: str, size: int, kind: bytes = b"") -> None:
    manifest = {"schema": archive.SCHEMA, "made_by": "0", "campaign": "c", "members": members, "left_out": []}
    text = json.dumps(manifest).encode()
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(head("manifest.json", len(text)) + text + bytes(-len(text) % 512))
        file.write(head(name, size))
        for piece in zeros(min(size, 200 << 20)) if not kind else [kind]:
            file.write(piece)


def many(path: Path, folder: str, count: int) -> None:
    """An export of so many empty members; tarfile's own headers would take half a minute."""
    names = [f"{folder}/{number:06}" for number in range(count)]
    members = [{"name": name, "size": 0, "sha256": hashlib.sha256().hexdigest()} for name in names]
    manifest = {"schema": archive.SCHEMA, "made_by": "0", "campaign": "c", "members": members, "left_out": []}
    text = json.dumps(manifest).encode()
    first = head(names[0], 0)
    digits = len(folder) + 1, len(folder) + 7
    total = sum(first[:148]) + sum(first[156:]) + 8 * 32 - 6 * 48
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head("manifest.json", len(text)) + text + bytes(-len(text) % 512))
        for name in names:
            number = name[-6:].encode()
            checksum = b"%06o\0 " % (total + sum(number))
            file.write(first[: digits[0]] + number + first[digits[1] : 148] + checksum + first[156:])
        file.write(bytes(10240))


def huge_record(path: Path) -> None:
    bomb(path, [{"name": "campaign.json", "size": 2 << 30, "sha256": "0" * 64}], "campaign.json", 2 << 30)


def many_values(path: Path) -> None:
    packed(path, {"campaign.json": b"[" + b"[]," * 7_000_000 + b"[]]", "recipe/recipe.yaml": b""})


def deep(path: Path) -> None:
    packed(path, {"campaign.json": b"[" * 20_000_000, "recipe/recipe.yaml": b""})


def announced(path: Path) -> None:
    members = [{"name": f"trials/{n}", "size": 1 << 30, "sha256": "0" * 64} for n in range(15)]
    bomb(path, members, "trials/0", 1 << 30)


def manifest_of_values(path: Path) -> None:
    packed(path, {}, left_out=[[]] * 3_000_000)


def digits(path: Path) -> None:
    packed(path, {"campaign.json": b"9" * 20_000_000, "recipe/recipe.yaml": b""})


MADE: dict[str, Callable[[Path], None]] = {
    "150,000 members": lambda path: many(path, "trials", 150_000),
    "60,000 members": lambda path: many(path, "trials", 60_000),
    "40,000 members": lambda path: many(path, "trials", 40_000),
    "40,000 files beside the recipe": lambda path: many(path, "recipe", 40_000),
    "1,000 files beside the recipe": lambda path: many(path, "recipe", 1000),
    "a record of 2 GiB": huge_record,
    "a record of 7 million lists": many_values,
    "a record 20 million deep": deep,
    "a number of 20 million digits": digits,
    "15 GiB in a small file": announced,
    "a manifest of 3 million lists": manifest_of_values,
}

READ = """
import resource, sys, time
from pathlib import Path
from bisector.errors import BisectorError
from bisector.pack.source import of_file
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    with of_file(Path(sys.argv[1]), image_of=1):
        print("taken")
except BisectorError as error:
    print(type(error).__name__, error.what[:300])
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
# Not ru_maxrss: it holds what the parent had before it became this program.
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) >> 10)
"""


@pytest.mark.parametrize("name", MADE)
def test_a_hostile_export_is_refused_in_little_time_and_memory(tmp_path: Path, name: str) -> None:
    MADE[name](tmp_path / "x")
    done = subprocess.run(
        [sys.executable, "-c", READ, tmp_path / "x"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said, seconds, mebibytes = done.stdout.splitlines()
    assert said.startswith("PackBroken"), said
    assert float(seconds) < 2
    assert int(mebibytes) < 200


def test_what_would_not_be_unpacked_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "state")
    row = store.add_campaign(CampaignRow("c", "r", "t", SOURCE, "", "", "x", False, "", 1.0, "test"))
    log = store.campaign_folder("c") / "trials/ends-0/console.log"
    log.parent.mkdir()
    log.write_bytes(bytes(3 << 20))
    monkeypatch.setattr(archive, "SPARE", 1 << 20)
    with pytest.raises(InfraError, match="nobody unpacks") as raised:
        export(store, row, tmp_path / "x", with_images=False)
    assert "trials/ends-0/console.log" in raised.value.hint
    assert not list(tmp_path.glob("*x*"))
    monkeypatch.setattr(archive, "MEMBERS", 2)
    with pytest.raises(InfraError, match="more than 2 files"):
        export(store, row, tmp_path / "x", with_images=False)


def test_a_folder_is_no_export(tmp_path: Path) -> None:
    with pytest.raises((UsageError, InfraError)), of_file(tmp_path):
        pass
