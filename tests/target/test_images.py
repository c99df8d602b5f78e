# SPDX-License-Identifier: GPL-2.0-only
"""The cache of images whose records another version wrote, or a disk damaged."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bisector.cache import as_text, entries
from bisector.causes import BuildStage
from bisector.model import BuildFailure, Image
from bisector.system.xdg import Folders
from bisector.target.images import Images


def with_a_field_more(record: Path) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()) | {"of_next_year": 1}))


def without_a_field(record: Path) -> None:
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "tools"}))


def cut(record: Path) -> None:
    record.write_text(record.read_text()[:40])


def zeroed(record: Path) -> None:
    record.write_bytes(bytes(record.stat().st_size))


def a_list(record: Path) -> None:
    record.write_text("[]")


def a_number(record: Path) -> None:
    record.write_text("7")


def nested(record: Path) -> None:
    record.write_text("[" * 100_000)


def gone(record: Path) -> None:
    record.unlink()


DAMAGES = [with_a_field_more, without_a_field, cut, zeroed, a_list, a_number, nested, gone]


def kept(images: Images, key: str) -> Image:
    with images.staging() as staged:
        (staged / "kernel").write_bytes(b"kernel")
        (staged / "config").write_text("CONFIG_MD=y\n")
        return images.keep(key, staged, Image("", "", release="6.18.5", tools=(("compiler", "gcc 12"),), seconds=3.0))


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_image_whose_record_cannot_be_read_is_found_again_once_it_is_built_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    images = Images(tmp_path)
    first = kept(images, "one")
    record = Path(first.kernel).parent / "image.json"
    damage(record)
    assert images.find("one") is None
    assert images.held(first.identity) is None
    assert kept(images, "two") == first
    assert images.find("one") == images.find("two") == first


def test_an_image_that_is_there_keeps_what_its_first_build_said(tmp_path: Path) -> None:
    images = Images(tmp_path)
    first = kept(images, "one")
    record = Path(first.kernel).parent / "image.json"
    before = record.read_bytes()
    assert kept(images, "two") == first
    assert record.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_list_of_the_cache_names_an_image_whose_record_cannot_be_read(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    first = kept(Images(tmp_path / "cache"), "one")
    damage(Path(first.kernel).parent / "image.json")
    folders = Folders(tmp_path / "cache", tmp_path / "state")
    assert first.identity[:12] in as_text({}, entries(folders), folders.cache)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_failure_whose_record_cannot_be_read_is_not_known(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    images = Images(tmp_path)
    images.keep_failure("one", BuildFailure(BuildStage.COMPILE, ("error",)))
    damage(tmp_path / "builds/one.json")
    images.find("one")
    images.failures()
    images.forget_failures()
    kept(images, "one")
    assert images.find("one") is not None
