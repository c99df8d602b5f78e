# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that workers build: real workers, git and bundles; the kernels are small."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.errors import InfraError, Interrupted, ToolchainChanged
from bisector.execute.remote import Call
from bisector.interfaces import CancelToken, ignore
from bisector.jobs import make_image
from bisector.model import BuildFailure, Image
from bisector.search import bundles
from bisector.search.clone import PrivateClone

pytest.importorskip("distributed")

from bisector.remote import other_tools
from bisector.remote_build import RemoteBuild
from bisector.worker_build import BuildAnswer
from tests.execute.lab import Lab
from tests.search.planted import git
from tests.slow_git import SlowGit


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two workers, for all tests that leave them as they are."""
    made = Lab(tmp_path_factory.mktemp("lab"))
    made.commit()
    with made.cluster():
        yield made
    assert not list((made.root / "processes").glob("*"))


def test_a_worker_builds_what_this_host_would_and_both_keep_it(lab: Lab) -> None:
    first, second = lab.commit(), lab.commit({"drivers/disk.c": "disk 2\n"})
    target = lab.target()
    made = [lab.image(target, each) for each in (first, second)]
    assert made[0].host.startswith("worker-") and made[0].host == made[1].host
    here = lab.target("other")
    alone = [here.image(each, listener=ignore, cancel=CancelToken()) for each in (first, second)]
    assert [image.identity for image in made] == [image.identity for image in alone if isinstance(image, Image)]
    assert [image.host for image in alone if isinstance(image, Image)] == ["", ""]
    assert not list((lab.root / "cache").glob("build-dirs/*"))  # nothing was built on this host
    for image in made:
        assert replace(target.images.held(image.identity), seconds=image.seconds) == image
        assert (lab.cache_of(made[0].host) / "images" / image.identity / "kernel").is_file()
    log = target.images.log_of(target.key(second)).read_text()
    assert "CC      drivers/disk.o" in log


def test_a_campaign_that_began_with_another_compiler_builds_on_no_worker(lab: Lab) -> None:
    candidate, target = lab.commit({"drivers/disk.c": "disk of an earlier compiler\n"}), lab.target()
    target.pin((("compiler", "gcc: gcc (Test) 12.2"), *target.tools[1:]), "began-earlier")
    with pytest.raises(ToolchainChanged, match=r"began-earlier began with gcc: gcc \(Test\) 12\.2"):
        lab.submit(target, candidate).result(60)
    assert not target.images.log_of(target.key(candidate)).exists()


def test_a_later_bundle_holds_only_what_the_worker_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path)
    big = {f"drivers/unused-{n}.txt": random.Random(n).randbytes(4000).hex() for n in range(40)}
    first, second = lab.commit(big), lab.commit({**big, "drivers/disk.c": "disk 2\n"})
    sizes = []
    whole = bundles.make_bundle

    def counted(clone: PrivateClone, tree: str, held: Iterable[str], place: Path, cancel: CancelToken) -> None:
        whole(clone, tree, held, place, cancel)
        sizes.append(place.stat().st_size)

    monkeypatch.setattr("bisector.remote_build.make_bundle", counted)
    target = lab.target()
    with lab.cluster(1):
        lab.image(target, first)
        lab.image(target, second)
    assert sizes[0] > 40 * 4000 and sizes[1] < 2000
    assert not git(lab.repo, "for-each-ref", "refs/bisector")
    with lab.cluster(1):  # a later campaign: the worker still holds them
        lab.image(target, lab.commit({**big, "drivers/disk.c": "disk 3\n"}))
    assert sizes[2] < 2000
    assert not list((lab.root / "state").glob("bundle-*"))


def test_what_does_not_compile_is_recorded_here_with_its_log(lab: Lab) -> None:
    wrong = lab.commit({"drivers/disk.c": "WRONG\n"})
    target = lab.target()
    failure = lab.failure(target, wrong)
    assert "wrong on purpose" in failure.errors[0]
    assert "wrong on purpose" in Path(failure.log).read_text() and Path(failure.log).is_relative_to(lab.root / "cache")
    assert lab.target().known(target.key(wrong)) == failure


def test_a_build_that_is_stopped_ends_on_its_worker(lab: Lab) -> None:
    candidate = lab.commit({"drivers/disk.c": "PAUSE\n"})
    target, stop = lab.target(), CancelToken(str(lab.root / "stop"))
    marks = [lab.cache_of(f"worker-{number}") / "ccache/marks-0" for number in (1, 2)]
    for each in marks:
        each.mkdir(parents=True, exist_ok=True)
        (each / "pause").touch()
    assert lab.executor
    future = lab.executor.submit("build", make_image, target, candidate, lab.seen.append, stop)
    lab.wait(lambda: any((each / "reached").exists() for each in marks))
    stop.cancel()
    with pytest.raises(Interrupted):
        future.result(10)
    for each in marks:
        (each / "pause").unlink()
    assert lab.image(target, candidate).host


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, SlowGit]]:
    """One worker; its git and ours stand still where a test says so."""
    made = Lab(tmp_path_factory.mktemp("slow"))
    git = SlowGit.make(made.root / "tools")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", git.path)
        made.commit()
        with made.cluster(1):
            yield made, git


@pytest.mark.parametrize("words", ["bundle create", "bundle unbundle", "rev-list --objects", "read-tree --reset"])
def test_whatever_comes_before_a_build_is_broken_off_when_it_is_stopped(slow: tuple[Lab, SlowGit], words: str) -> None:
    """The tree is packed here, taken in there, and checked out."""
    lab, git = slow
    candidate, stop = lab.commit({"drivers/disk.c": f"disk of {words}\n"}), CancelToken(str(lab.root / f"stop {words}"))
    assert lab.executor
    with git.at(words):
        future = lab.executor.submit("build", make_image, lab.target(), candidate, lab.seen.append, stop)
        lab.wait(git.stands)
        begin = time.monotonic()
        stop.cancel()
        with pytest.raises(Interrupted):
            future.result(20)
        assert time.monotonic() - begin < 10 and not git.stands()
    arriving = lab.root / "state/workers/worker-1/state/bisector/arriving"
    assert not list(arriving.glob("*")) and not list((lab.root / "state").glob("bundle-*"))
    assert not lab.executor.cluster.faults  # it is no fault of the worker
    assert lab.image(lab.target(), candidate).host == "worker-1"


@contextmanager
def paused(lab: Lab) -> Iterator[Callable[[], bool]]:
    """Meanwhile a compiler that meets PAUSE waits on its worker. Gives what says whether one does."""
    marks = [lab.cache_of(f"worker-{number}") / "ccache/marks-0" for number in (1, 2)]
    for each in marks:
        each.mkdir(parents=True, exist_ok=True)
        (each / "reached").unlink(missing_ok=True)
        (each / "pause").touch()
    try:
        yield lambda: any((each / "reached").exists() for each in marks)
    finally:
        for each in marks:
            (each / "pause").unlink()


def test_an_image_that_two_want_at_once_is_built_once(lab: Lab) -> None:
    """Two searches of a night, with a target each; a worker stays free for what else there is to build."""
    candidate = lab.commit({"drivers/disk.c": "PAUSE for two\n"})
    targets = lab.target(), lab.target()
    with paused(lab) as reached:
        first = lab.submit(targets[0], candidate)
        lab.wait(reached)
        second = lab.submit(targets[1], candidate)
        assert lab.image(targets[1], lab.commit({"drivers/disk.c": "disk beside it\n"})).host  # meanwhile
        assert not second.done()
    assert first.result(60) == second.result(60)
    logs = [lab.cache_of(f"worker-{n}") / f"builds/{targets[0].key(candidate)}.log" for n in (1, 2)]
    assert sum(log.exists() for log in logs) == 1


def test_a_build_that_nobody_needs_yet_gives_way_on_its_worker(lab: Lab) -> None:
    candidate = lab.commit({"drivers/disk.c": "PAUSE ahead\n"})
    with paused(lab) as reached:
        future = lab.submit(lab.target(), candidate, "ahead")
        lab.wait(reached)
        nice = {os.getpriority(os.PRIO_PROCESS, pid) for pid in compilers(lab.root)}
    assert isinstance(future.result(60), Image)
    assert nice == {19}


def compilers(below: Path) -> set[int]:
    """Processes of the small kernels' compiler that build below a folder."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"../compile" in words and (place / "cwd").readlink().is_relative_to(below):
                found.add(int(place.name))
    return found


def test_a_build_that_fills_disks_is_tried_elsewhere_and_then_given_up_as_the_harness_failure(lab: Lab) -> None:
    candidate = lab.commit({"drivers/disk.c": "FULL\n"})
    target = lab.target()
    with pytest.raises(InfraError, match="3 workers failed at it"):
        lab.submit(target, candidate).result(60)
    assert target.known(target.key(candidate)) is None
    assert lab.executor and not lab.executor.cluster.barred
    assert {name for name, _, kind in lab.executor.cluster.faults if kind == "failed"} == {"worker-1", "worker-2"}


def test_a_worker_that_sends_another_kernel_than_it_says_is_not_believed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built on another worker, and nothing of it is kept."""
    candidate, liars = lab.commit({"drivers/disk.c": "disk of a liar\n"}), []
    honest = RemoteBuild._kept

    def lying(self: RemoteBuild, key: str, call: Call, answer: BuildAnswer) -> Image | BuildFailure:
        liars.append(call.worker.name)
        if len(liars) == 1 and isinstance(answer.made, Image):
            answer = replace(answer, made=replace(answer.made, identity="0" * 64))
        if len(liars) == 2:
            assert self.target.known(key) is None
        return honest(self, key, call, answer)

    monkeypatch.setattr(RemoteBuild, "_kept", lying)
    made = lab.image(lab.target(), candidate)
    assert lab.executor
    assert (liars[0], "build", "sent what it is not") in lab.executor.cluster.faults
    assert made.host == liars[1] != liars[0]


def test_a_worker_with_another_compiler_builds_nothing_and_the_output_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path)
    candidate = lab.commit()
    monkeypatch.setattr("bisector.worker.toolchain", lambda *_: (("compiler", "gcc: gcc 99"), ("linker", "ld: ld 2")))
    with lab.cluster(1) as executor:
        assert executor.cluster.count("build") == 0 and executor.cluster.count("trial") == 1
        assert lab.image(lab.target(), candidate).host == ""
    assert "worker-1: builds nothing: it has less, and this campaign builds with gcc: gcc 99, ld: ld 2" in lab.said


def test_what_a_worker_read_is_known_here(lab: Lab) -> None:
    first, read = lab.commit({"drivers/unread.c": "1\n"}), lab.commit({"drivers/disk.c": "disk 2\n"})
    unread = lab.commit({"drivers/unread.c": "2\n", "MAINTAINERS": "nobody\n"})
    target = lab.target()
    with lab.cluster(1):
        made = lab.image(target, first)
    found = lab.target().same_inputs(unread)
    assert found and found.identity == made.identity and found.same_inputs == str(first)
    assert lab.target().same_inputs(read) is None


def test_tools_that_differ_are_named_alone() -> None:
    ours = (("compiler", "gcc: gcc 12"), ("linker", "ld: ld 2.40"))
    theirs = (("compiler", "gcc: gcc 14"), ("linker", "ld: ld 2.40"))
    assert other_tools(ours, ours) == ()
    assert other_tools(theirs, ours) == ("it has gcc: gcc 14, and this campaign builds with gcc: gcc 12",)
