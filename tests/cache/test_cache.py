# SPDX-License-Identifier: GPL-2.0-only
"""Listing and pruning the cache."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from bisector import cache
from bisector.causes import BuildStage
from bisector.model import BuildFailure, Candidate, Image, Outcome, OutcomeKind, TargetKind
from bisector.store import CampaignRow, Store
from bisector.system.locks import locked
from bisector.system.xdg import Folders
from bisector.target.images import Images

DAY = 86400.0


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "cache", tmp_path / "state")


@pytest.fixture
def store(folders: Folders) -> Store:
    return Store(folders.state)


def image(folders: Folders, name: str, days: float, size: int = 100_000) -> Path:
    folder = folders.cache / "images" / name
    folder.mkdir(parents=True)
    (folder / "kernel").write_bytes(os.urandom(size))
    return _aged(folder, days)


def package(folders: Folders, name: str, days: float, size: int = 100_000) -> Path:
    path = folders.cache / "packages" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return _aged(path, days)


def _aged(path: Path, days: float) -> Path:
    used = time.time() - days * DAY
    os.utime(path, (used, used))
    return path


def campaign(store: Store, name: str, identity: str) -> Path:
    store.add_campaign(CampaignRow(name, "r", "", "", "", "", "", False, "", time.time(), "running"))
    made = Image(identity=identity, kernel="k")
    store.add_build(name, "key", Candidate(TargetKind.GIVEN, "x"), made)
    return store.campaign_folder(name) / "lock"


def test_the_least_recently_used_go_first_and_no_more_than_needed(folders: Folders, store: Store) -> None:
    old, middle, young = image(folders, "aa", 9), package(folders, "b.deb", 5), image(folders, "cc", 1)
    done = cache.prune(folders, store, 250_000)
    assert [entry.path for entry in done.removed] == [old]
    assert middle.exists()
    assert young.exists()
    assert done.left <= 250_000


def test_nothing_goes_while_all_fits(folders: Folders, store: Store) -> None:
    image(folders, "aa", 9)
    assert cache.prune(folders, store, 10**9).removed == ()


def build_dir(folders: Folders, name: str, days: float, part: str = "build-dirs") -> Path:
    folder = folders.cache / part / "clone-1234" / name
    (folder / "objects").mkdir(parents=True)
    (folder / "objects/vmlinux.o").write_bytes(os.urandom(100_000))
    (folder / "state.json").write_text("{}")
    _aged(folder / "state.json", days)
    return _aged(folder, 30)


def test_the_compiler_cache_is_listed_and_never_pruned(folders: Folders, store: Store) -> None:
    (folders.cache / "ccache").mkdir(parents=True)
    (folders.cache / "ccache/file").write_bytes(os.urandom(50_000))
    assert cache.sizes(folders)["ccache"] >= 50_000
    cache.prune(folders, store, 0)
    assert (folders.cache / "ccache/file").exists()


def test_logs_of_builds_and_build_folders_are_counted_and_pruned(folders: Folders, store: Store) -> None:
    """A watch of a year has a log for each build that it made."""
    old, young = build_dir(folders, "0", 9), build_dir(folders, "1", 2)
    log = folders.cache / "builds" / "abc.log"
    log.parent.mkdir()
    log.write_bytes(os.urandom(100_000))
    _aged(log, 5)
    assert cache.sizes(folders)["builds"] >= 100_000
    assert [entry.path for entry in cache.entries(folders)] == [old, log, young]
    done = cache.prune(folders, store, 150_000)
    assert [entry.path for entry in done.removed] == [old, log]
    assert cache.pruned_text(done).startswith("removed 1 build folder, 1 build log: 0 MB")
    cache.prune(folders, store, 0)
    assert not young.exists()


def test_no_build_folder_goes_while_any_command_works(folders: Folders, store: Store) -> None:
    old = build_dir(folders, "0", 9)
    with cache.at_work(folders.cache):
        assert [entry.path for entry in cache.prune(folders, store, 0).kept] == [old]
    assert (old / "objects/vmlinux.o").exists()


def test_build_folders_of_earlier_versions_are_counted_and_pruned(folders: Folders, store: Store) -> None:
    assert "earlier versions" not in cache.as_text(cache.sizes(folders), (), folders.cache)
    old = build_dir(folders, "0", 9, part="seats")
    listed = cache.entries(folders)
    assert [entry.path for entry in listed] == [old]
    assert "old build folder clone-1234/0" in cache.as_text(cache.sizes(folders), listed, folders.cache)
    cache.prune(folders, store, 0)
    assert not old.parent.exists()


def test_what_a_running_campaign_holds_stays(folders: Folders, store: Store) -> None:
    held, free = image(folders, "held", 9), image(folders, "free", 8)
    lock = campaign(store, "busy", "held")
    with locked(lock), cache.at_work(folders.cache):
        done = cache.prune(folders, store, 0)
    assert held.exists()
    assert not free.exists()
    assert [entry.path for entry in done.kept] == [held]


def test_what_was_used_today_stays_while_any_command_works(folders: Folders, store: Store) -> None:
    today = package(folders, "today.deb", 0)
    with cache.at_work(folders.cache):
        cache.prune(folders, store, 0)
    assert today.exists()
    cache.prune(folders, store, 0)
    assert not today.exists()


def test_a_worker_prunes_images_and_files_that_nobody_used_for_a_day(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "cache", tmp_path / "state")
    for part, name in (("images", "old"), ("files", "old"), ("images", "new"), ("trees", "old")):
        path = folders.cache / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100_000)
        if name == "old":
            long_ago = time.time() - 10 * 86400
            os.utime(path, (long_ago, long_ago))
    assert not cache.prune_received(folders, 1_000_000).removed
    with cache.at_work(folders.cache):
        removed = {entry.part for entry in cache.prune_received(folders, 0).removed}
    assert removed == {"images", "files"}
    assert (folders.cache / "images/new").exists() and (folders.cache / "trees/old").exists()


def test_an_interrupted_campaign_holds_nothing(folders: Folders, store: Store) -> None:
    gone = image(folders, "mine", 9)
    campaign(store, "cut", "mine")
    cache.prune(folders, store, 0)
    assert not gone.exists()


def test_leavings_of_killed_commands_are_swept_and_half_a_download_stays(folders: Folders, store: Store) -> None:
    leavings = folders.cache / "images/.new-abc"
    leavings.mkdir(parents=True)
    half = package(folders, ".linux.deb.part", 1)
    cache.prune(folders, store, 10**9)
    assert not leavings.exists()
    assert half.exists()


def test_what_another_command_takes_away_meanwhile_is_no_failure(
    folders: Folders, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two campaigns begin on one worker, and both prune; or one prunes while another puts an image together."""
    there = image(folders, "aa", 9)
    listed = cache.entries(folders)
    (folders.cache / "images/gone").symlink_to("nowhere")  # as what is gone between the look at its name and at itself
    (folders.cache / "images/.new-gone").symlink_to("nowhere")
    assert cache.entries(folders) == listed
    with Images(folders.cache).staging() as staged:
        assert staged.is_dir()
    shutil.rmtree(there)
    monkeypatch.setattr(cache, "entries", lambda *_: listed)
    assert cache.prune(folders, store, 0).left == 0


def test_what_could_not_be_built_can_be_forgotten(folders: Folders, store: Store) -> None:
    images = Images(folders.cache)
    failure = BuildFailure(BuildStage.COMPILE, ("a.c:1:1: error: wrong",))
    images.keep_failure("broken", failure)
    image(folders, "aa", 9)
    for name, outcome in (("running", None), ("ended", Outcome(OutcomeKind.UNRESOLVED, "none"))):
        campaign(store, name, "aa")
        store.add_build(name, "broken", Candidate(TargetKind.GIVEN, "x"), failure)
        if outcome:
            store.finish(name, outcome)
    assert images.find("broken") == failure
    assert cache.forget_failures(folders, store) == 1
    assert images.find("broken") is None and store.build("running", "broken") is None
    assert store.build("ended", "broken") == failure  # what a report tells
    assert store.build("running", "key") is not None and (folders.cache / "images/aa").exists()
    assert cache.forget_failures(folders, store) == 0


def test_a_failure_recorded_before_causes_were_is_the_candidates(folders: Folders) -> None:
    images = Images(folders.cache)
    images.keep_failure("old", BuildFailure(BuildStage.COMPILE, ("wrong",)))
    record = folders.cache / "builds/old.json"
    content = json.loads(record.read_text())
    assert content["failure"].pop("cause") == "source"
    record.write_text(json.dumps(content))
    found = images.find("old")
    assert isinstance(found, BuildFailure) and found.lasting
