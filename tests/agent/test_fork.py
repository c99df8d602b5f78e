# SPDX-License-Identifier: GPL-2.0-only
"""Work beside this process: its answer comes back whole, or none does, and nothing of it stays."""

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bisector.agent.fork import Fork


def held() -> list[Path]:
    return sorted(Path("/proc/self/fd").iterdir())


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = held(), children()
    yield
    assert (held(), children()) == before


def test_the_answer_is_what_the_work_returned() -> None:
    here = os.getpid()
    with Fork(lambda: (os.getpid() != here, "EIO", [(1, None, ())])) as fork:
        assert fork.answer(10.0) == (True, "EIO", [(1, None, ())])


def test_an_answer_larger_than_a_pipe_comes_whole_even_when_it_is_read_late() -> None:
    with Fork(lambda: [(n, "zeroed") for n in range(50_000)]) as fork:
        time.sleep(0.2)  # it waits for who reads
        assert fork.answer(10.0) == [(n, "zeroed") for n in range(50_000)]


def test_half_an_answer_is_none() -> None:
    with Fork(lambda: [(n, "zeroed") for n in range(50_000)]) as fork:
        time.sleep(0.2)  # a pipe holds a part of it by now
        os.kill(int(children()[-1]), signal.SIGKILL)
        assert fork.answer(10.0) is None


def _failed() -> None:
    raise OSError(errno.ENXIO, "no such device")


@pytest.mark.parametrize("work", [_failed, lambda: object(), lambda: os._exit(0)])
def test_work_that_ends_badly_has_no_answer(work: object, capfd: pytest.CaptureFixture[str]) -> None:
    with Fork(work) as fork:  # type: ignore[arg-type]
        assert fork.answer(10.0) is None
    assert capfd.readouterr() == ("", "")


def test_work_that_does_not_end_is_killed_when_time_is_up() -> None:
    begun = time.monotonic()
    with Fork(lambda: time.sleep(600)) as fork:
        assert fork.answer(0.3) is None
    assert time.monotonic() - begun < 10


def test_work_that_nobody_needs_any_more_is_killed() -> None:
    with pytest.raises(KeyError), Fork(lambda: time.sleep(600)):
        raise KeyError


@pytest.mark.parametrize("call", ["fork", "pipe"])
def test_where_there_is_no_room_for_a_fork_there_is_no_answer(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(errno.EAGAIN, "refused")

    monkeypatch.setattr(os, call, refused)
    with Fork(lambda: 1) as fork:
        assert fork.answer(10.0) is None
