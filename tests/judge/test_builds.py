# SPDX-License-Identifier: GPL-2.0-only
"""Builds ahead of need: what is likely is built by idle builders, what became useless is stopped within a second."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bisector.builds import BuildsAhead
from bisector.errors import InfraError, Interrupted
from bisector.execute.local import LocalExecutor
from bisector.interfaces import CancelToken, EditsDoNotApply, Listener
from bisector.model import BuildFailure, Candidate, Image
from tests.judge.test_judge import of

SOON = 1.0
"""Seconds in which a useless build has to end."""


@dataclass
class Builder:
    """Builds until it is stopped, or let go; a candidate ``odd`` has edits that do not apply."""

    begun: list[str] = field(default_factory=list)
    stopped: dict[str, float] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    quick: set[str] = field(default_factory=set)

    def key(self, candidate: Candidate) -> str:
        if candidate.revision == "odd":
            raise EditsDoNotApply("x")
        return f"key of {candidate.revision}"

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        name = candidate.revision
        self.begun.append(name)
        while name not in self.quick:
            if cancel.cancelled():
                self.stopped[name] = time.monotonic()
                raise Interrupted("stopped")
            time.sleep(0.01)
        self.ended.append(name)
        return Image(name, "/dev/null")


Make = Callable[[int], tuple[BuildsAhead, Builder]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    pools, token = [], CancelToken(str(tmp_path / "cancel"))

    def build(builders: int) -> tuple[BuildsAhead, Builder]:
        builder = Builder()
        pools.append(LocalExecutor(builds=1, trials=1, ahead=builders))
        return BuildsAhead(builders, builder, pools[-1], token), builder

    yield build
    token.cancel()
    for pool in pools:
        pool.shutdown()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it did not come to that within 10 s"
        time.sleep(0.005)


def likely(*revisions: str) -> Callable[[], list[Candidate]]:
    return lambda: [of(revision) for revision in revisions]


def test_the_likeliest_is_built_first_and_the_next_after_it(make: Make) -> None:
    builds, builder = make(1)
    builds.want(likely("odd", "a", "b"))
    until(lambda: builder.begun == ["a"])
    builder.quick.add("a")
    until(lambda: builder.begun == ["a", "b"])


def test_nothing_more_is_begun_once_all_is_stopped(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A session cancels, and then its executor takes no more."""
    builds, builder = make(1)
    builds.want(likely("a", "b"))
    until(lambda: builder.begun == ["a"])
    builds._cancel.cancel()
    builds._executor.shutdown()
    assert builder.begun == ["a"] and builder.stopped.keys() == {"a"}
    assert caplog.records == []


def test_as_many_are_built_at_once_as_there_are_builders(make: Make) -> None:
    builds, builder = make(2)
    builds.want(likely("a", "b", "c"))
    until(lambda: sorted(builder.begun) == ["a", "b"])
    time.sleep(0.1)
    assert len(builder.begun) == 2


def test_what_is_wanted_no_more_is_stopped_and_what_still_is_goes_on(make: Make) -> None:
    builds, builder = make(2)
    builds.want(likely("a", "b"))
    until(lambda: len(builder.begun) == 2)
    began = time.monotonic()
    builds.want(likely("b", "c"))
    until(lambda: "c" in builder.begun)
    assert builder.stopped["a"] - began < SOON
    assert "b" not in builder.stopped


def test_a_build_that_is_needed_goes_before_those_ahead(make: Make) -> None:
    """With one builder: it has ended before the needed one begins, for both would work in one build folder."""
    builds, builder = make(1)
    builds.want(likely("a", "b"))
    until(lambda: builder.begun == ["a"])
    began = time.monotonic()
    with builds.needed("key of x"):
        assert builder.stopped["a"] - began < SOON
        time.sleep(0.1)
        assert builder.begun == ["a"]  # and it pauses
    until(lambda: "b" in builder.begun)


def test_one_that_runs_ahead_is_waited_for_when_it_is_needed(make: Make) -> None:
    builds, builder = make(1)
    builds.want(likely("a"))
    until(lambda: builder.begun == ["a"])
    builder.quick.add("a")
    with builds.needed("key of a"):
        assert builder.ended == ["a"]
        assert not builder.stopped


def test_without_builders_nothing_is_planned(make: Make) -> None:
    builds, builder = make(0)

    def fails() -> list[Candidate]:
        raise AssertionError("nobody may ask")

    builds.want(fails)
    builds.rest()
    with builds.needed("x"):
        pass
    assert builder.begun == []


def test_git_that_fails_costs_nothing_and_a_defect_of_ours_is_raised(make: Make) -> None:
    builds, builder = make(1)

    def fails() -> list[Candidate]:
        raise InfraError("git failed")

    builds.want(fails)
    builds.rest()
    builds.want(likely("a"))
    until(lambda: builder.begun == ["a"])
    builds.want(lambda: [None])  # type: ignore[list-item]
    with pytest.raises(AttributeError):
        builds.rest()


def test_what_is_about_to_be_needed_is_not_begun_ahead_and_goes_on_where_it_runs(make: Make) -> None:
    builds, builder = make(2)
    builds.want(likely("a", "b"), now=of("x"))
    until(lambda: sorted(builder.begun) == ["a", "b"])
    builds.want(likely("c"), now=of("a"))
    until(lambda: "c" in builder.begun)
    assert set(builder.stopped) == {"b"}
    builder.quick.add("a")
    with builds.needed("key of a"):
        assert "a" in builder.ended
    assert "x" not in builder.begun
