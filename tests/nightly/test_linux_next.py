# SPDX-License-Identifier: GPL-2.0-only
"""The clone of linux-next: fetching with patience, a day and its base, commits found again after a rebase."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from nextgen import LinuxNext

from bisector.errors import InfraError, Interrupted, UsageError
from bisector.interfaces import CancelToken
from bisector.nightly.trees import clone as clones
from bisector.nightly.trees.clone import FETCH_TRIES
from bisector.nightly.trees.linux_next import LinuxNext as NextTree
from bisector.system.proc import Processes, ProcessResult
from tests.slow_git import SlowGit


@dataclass(frozen=True)
class Watched(Processes):
    """Processes that are counted; ``before`` is called with the number of each fetch or look."""

    seen: list[str] = field(default_factory=list)
    before: Callable[[int], None] = lambda number: None

    def run(self, argv: Any, **options: Any) -> ProcessResult:  # type: ignore[override]
        if {"ls-remote", "fetch"} & set(argv):
            self.seen.append(argv[2])
            self.before(len(self.seen))
        return super().run(argv, **options)


@pytest.fixture
def source(tmp_path: Path) -> LinuxNext:
    made = LinuxNext.make(tmp_path / "linux-next.git")
    made.day(1)
    made.release(1)
    return made


def clone(tmp_path: Path, source: str, **options: Any) -> NextTree:
    return NextTree(tmp_path / "clone.git", source, Watched(tmp_path / "records", **options), pause=0.01)


def test_a_source_that_answers_late_is_tried_again(tmp_path: Path, source: LinuxNext) -> None:
    hidden = source.folder.rename(tmp_path / "away.git")

    def comes_back(number: int) -> None:
        if number == 3:
            hidden.rename(source.folder)

    tree = clone(tmp_path, f"file://{source.folder}", before=comes_back)
    assert tree.newest()[0] == "next-20261101"
    assert len(tree.processes.seen) == 3  # type: ignore[attr-defined]


def test_a_tag_of_a_day_to_come_hides_no_day(tmp_path: Path, source: LinuxNext) -> None:
    source.git("tag", "next-29991231", source.mainline)
    tree = clone(tmp_path, f"file://{source.folder}")
    assert tree.newest()[0] == "next-20261101"
    source.git("tag", "-d", "next-20261101")
    assert tree.newest()[0] == "next-29991231"  # the host's clock may be wrong


@pytest.mark.parametrize("words", ["ls-remote", " fetch "])
def test_a_fetch_that_is_stopped_ends_soon_and_the_next_one_is_whole(
    tmp_path: Path, source: LinuxNext, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    slow, stop = SlowGit.make(tmp_path / "tools"), CancelToken(str(tmp_path / "stop"))
    monkeypatch.setenv("PATH", slow.path)
    tree = replace(clone(tmp_path, f"file://{source.folder}"), cancel=stop)

    def look() -> str:
        tag = tree.newest()[0]
        tree.fetch(tag)
        return tag

    with slow.at(words), ThreadPoolExecutor(1) as thread:
        going = thread.submit(look)
        while not slow.stands():
            assert not going.done()
            time.sleep(0.02)
        stop.cancel()
        with pytest.raises(Interrupted, match=r"stopped while .* was fetched"):
            going.result(10)
        assert not slow.stands()
    stop.forget()
    assert tree.day(look()).base.oid == source.mainline


def test_the_pause_before_a_second_try_is_broken_off_too(tmp_path: Path) -> None:
    stop = CancelToken(str(tmp_path / "stop"))
    tree = clone(tmp_path, f"file://{tmp_path}/none.git", before=lambda _: stop.cancel())
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        replace(tree, cancel=stop, pause=600.0).newest()
    assert time.monotonic() - begin < 20
    assert len(tree.processes.seen) == 1  # type: ignore[attr-defined]


def test_a_source_that_never_answers_is_the_harness_failing(tmp_path: Path) -> None:
    tree = clone(tmp_path, f"file://{tmp_path}/none.git")
    with pytest.raises(InfraError, match="cannot be fetched"):
        tree.newest()
    assert len(tree.processes.seen) == FETCH_TRIES  # type: ignore[attr-defined]


def test_a_folder_that_is_no_repository_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a git repository|no such folder"):
        clone(tmp_path, str(tmp_path)).newest()


def test_one_day_is_fetched_and_not_all_of_them(tmp_path: Path, source: LinuxNext) -> None:
    source.day(2)
    source.release(2)
    tree = clone(tmp_path, str(source.folder))
    tag, oid = tree.newest()
    tree.fetch(tag)
    day = tree.day(tag)
    assert (tag, day.next.oid) == ("next-20261102", oid)
    assert (day.base.oid, day.base_name) == (source.mainline, "origin")
    assert tree.history.query("tag", "-l").split() == ["next-20261102", "v6.18"]


def test_a_shallow_source_is_refused_with_the_remedy(tmp_path: Path, source: LinuxNext) -> None:
    shallow = tmp_path / "shallow"
    source.git("clone", "-q", "--depth=1", f"file://{source.folder}", str(shallow))
    with pytest.raises(UsageError, match="shallow") as caught:
        clone(tmp_path, str(shallow)).newest()
    assert "--unshallow" in caught.value.hint


@pytest.mark.parametrize(
    ("sha1s", "wanted"),
    [
        ("", "has no Next/SHA1s"),
        ("Name\t\tSHA1\n----\t\t----\n", "names no commit"),
        ("origin\t\tnot-a-commit\n", "names no commit"),
        (f"origin\t\t{'0' * 40}\n", "does not stand on 000000000000"),
        ("origin\t\tUNRELATED\n", "does not stand on"),
    ],
)
def test_a_day_that_does_not_say_what_it_stands_on_is_refused(
    tmp_path: Path, source: LinuxNext, sha1s: str, wanted: str
) -> None:
    other = source.commit("elsewhere", "net", (source.git("rev-parse", "v6.18^{commit}"),), {"x": "y\n"})
    files = {"Next/SHA1s": sha1s.replace("UNRELATED", other) or None, "localversion-next": "x\n"}
    day = source.commit("Add linux-next specific files", "next", (source.mainline,), files)
    source.git("tag", "next-20261103", day)
    tree = clone(tmp_path, str(source.folder))
    tree.fetch(tree.newest()[0])
    with pytest.raises(InfraError, match=wanted):
        tree.day("next-20261103")


def fetched(tmp_path: Path, source: LinuxNext, number: int) -> NextTree:
    source.release(number)
    tree = clone(tmp_path, str(source.folder))
    tree.fetch(tree.newest()[0])
    return tree


def test_a_rebased_commit_is_found_by_its_patch_and_by_its_subject(tmp_path: Path, source: LinuxNext) -> None:
    lost = source.branch_commit("md", "check less", {"flags/leg": "x\n"})
    tree = fetched(tmp_path, source, 2)
    node, patch = tree.history.commit(lost), tree.patch_id(lost)
    source.mainline_commit("mainline: goes on")
    source.rebase("md")
    renamed = source.commit("md: by another name", "md", (source.mainline,), dict(source.nodes[lost].change))
    source.branches["fs"] = [renamed]
    source.branch_commit("net", "check less")  # md's subject has another prefix, and another author
    tree = fetched(tmp_path, source, 3)
    day = tree.day("next-20261103")
    again = next(oid for oid in source.branches["md"] if source.nodes[oid].subject == "md: check less")
    found = tree.rebased(node, patch, day.base.oid, day.next.oid)
    assert [commit.oid for commit in found] == [again, renamed]
    assert tree.patch_id(again) == patch
    named = tree.rebased(replace(node, author="Else <e@example.org>"), "", day.base.oid, day.next.oid)
    assert named == ()


def test_the_last_release_is_the_nearest_below_the_base(tmp_path: Path, source: LinuxNext) -> None:
    source.git("tag", "v6.19-rc1", source.mainline_commit("Linux 6.19-rc1"))
    source.git("tag", "v6.19", source.mainline_commit("Linux 6.19"))
    source.git("tag", "v6.18.1", source.commit("Linux 6.18.1", "net", (source.nodes[source.mainline].parents[0],), {}))
    source.mainline_commit("mainline: merge window")
    tree = fetched(tmp_path, source, 2)
    base = tree.day("next-20261102").base.oid
    assert tree.last_release(base) == "v6.19"
    assert tree.last_release(tree.history.resolve("v6.19").oid) == "v6.18"
    assert tree.last_release(tree.history.resolve("v6.18").oid) is None


def test_the_clone_names_nobody_and_never_cleans_up(tmp_path: Path, source: LinuxNext) -> None:
    """A draft would be from whom the clone's configuration names; and git's clean-up would drop nothing but must not
    run beside a night."""
    tree = fetched(tmp_path, source, 2)
    assert tree.git.run("config", "--local", "user.name", codes=(0, 1)).stdout == ""
    assert tree.git.ask("config", "gc.auto") == "0"
    assert tree.git.ask("config", "core.hooksPath") == "/dev/null"


def test_locks_that_a_killed_fetch_left_are_cleared(tmp_path: Path, source: LinuxNext) -> None:
    tree = fetched(tmp_path, source, 2)
    for name in ("packed-refs.lock", "refs/tags/next-20261103.lock", "refs/remotes/mainline/master.lock"):
        lock = tree.folder / name
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    source.day(3)
    tree = fetched(tmp_path, source, 3)
    tree.pin(tree.day("next-20261103"))
    assert tree.history.resolve("refs/remotes/mainline/master").oid == source.mainline


def test_packs_of_many_fetches_are_put_together_and_no_day_is_lost(
    tmp_path: Path, source: LinuxNext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "MOST_PACKS", 3)
    tree = clone(tmp_path, f"file://{source.folder}")
    pinned = []
    for number in range(2, 7):
        source.day(number)
        source.branch_commit("md", f"more of night {number}")
        source.release(number)
        tag, _ = tree.newest()
        tree.fetch(tag)
        day = tree.day(tag)
        tree.pin(day)
        pinned.append(day.next.oid)
        tree.git.run("repack", "-q", "-d")  # as a fetch of more than a hundred objects does
    tree.fetch(tag)
    assert len(list((tree.folder / "objects/pack").glob("*.pack"))) <= 3
    assert tree.git.run("cat-file", "--batch-check", stdin="\n".join(pinned)).stdout.count(" commit ") == len(pinned)
    tree.git.run("fsck", "--no-dangling")
