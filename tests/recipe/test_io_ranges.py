# SPDX-License-Identifier: GPL-2.0-only
"""Operations of ``io``: ranges without data, vectors, files of a file system, and errors that have two names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bisector.agent.device_io import device_io, pattern
from bisector.agent.plan import Io, Result, StepFacts
from bisector.model import Cell, Ending, Observation, Signal
from bisector.recipe.parse import parse
from bisector.recipe.plan import plan_for, question_for
from bisector.recipe.text import Fault
from bisector.verdict.signature import read


def parsed(step: dict[str, Any], error: str = "EIO") -> tuple[Any, tuple[Fault, ...]]:
    return parse(
        {
            "recipe": "ranges",
            "target": {"kernel": {"config": ["base"]}},
            "storage": {
                "d": {"disk": "nvme", "size": "64M"},
                "e": {"disk": "nvme", "size": "64M"},
                "f": {"fs": "ext4", "of": "e"},
                "img": {"file": "raw", "of": "f", "size": "8M"},
            },
            "guest": {"os": "linux", "drives": {"vda": {"of": "d"}}},
            "steps": [{"boot": {"start": "guest"}}, {"x": step}],
            "bad_when": {"b": {"errno": {"x": error}}},
            "good_when": {"g": {"errno": {"x": "none"}}},
        }
    )


@pytest.mark.parametrize(
    ("step", "io"),
    [
        ({"io": "d", "discard": "1M"}, Io("discard", 1 << 20)),
        ({"io": "d", "write_zeroes": "4k", "size": "64k", "offset": 512}, Io("write_zeroes", 4096, 16, offset=512)),
        (
            {"io": "f", "write": "12k", "vectors": 3, "sync": True, "direct": True},
            Io("write", 12288, direct=True, sync=True, vectors=3),
        ),
        ({"io": "d", "discard": "128M", "for": "3s"}, Io("discard", 128 << 20)),  # no buffer limits it
        (
            {"io": "vda", "in": "guest", "discard": "1M", "count": 3, "offset": 512},
            Io("discard", 1 << 20, 3, offset=512),
        ),
    ],
)
def test_each_operation_is_in_the_plan(step: dict[str, Any], io: Io) -> None:
    recipe, faults = parsed(step)
    assert not faults
    assert plan_for(recipe, Cell("plain")).steps[1].io == io


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"io": "d"}, "io needs one of 'read: SIZE', 'write: SIZE', 'discard: SIZE', 'write_zeroes: SIZE'"),
        ({"io": "d", "discard": "4k", "read": "4k"}, "io needs one of"),
        ({"io": "d", "discard": 1000}, "no multiple of 512"),
        ({"io": "d", "write_zeroes": "4k", "offset": 100}, "no multiple of 512"),
        ({"io": "d", "discard": "4k", "direct": True}, "a discard moves none"),
        ({"io": "d", "write_zeroes": "4k", "flush": True}, "a write_zeroes moves none"),
        ({"io": "d", "discard": "4k", "buffer_offset": 1}, "a discard moves none"),
        ({"io": "d", "discard": "4k", "size": "6k"}, "is no multiple of discard"),
        ({"io": "f", "discard": "4k"}, "a discard goes to a device, not to a file"),
        ({"io": "img", "write_zeroes": "4k"}, "a write_zeroes goes to a device, not to a file"),
        ({"io": ["d", "f"], "read": "4k"}, "one step does I/O on one object"),
        ({"io": "f", "write": "10k", "vectors": 3}, "write is no multiple of it"),
        ({"io": "f", "write": "4k", "vectors": 1}, "1 is not between 2 and 1024"),
        ({"io": "f", "read": "4k", "sync": True}, "is for writes"),
        ({"io": "d", "discard": "4k", "vectors": 2}, "a discard moves none"),
        ({"io": "vda", "in": "guest", "write": "4k", "sync": True}, "its dd knows no sync"),
        ({"io": "vda", "in": "guest", "read": "4k", "vectors": 2}, "its dd knows no vectors"),
        ({"run": ["true"], "discard": "4k"}, "the verb run has no 'discard'"),
    ],
)
def test_what_is_wrong_is_said(step: dict[str, Any], said: str) -> None:
    _, faults = parsed(step)
    assert [fault for fault in faults if said in fault.message], faults


@pytest.mark.parametrize("operation", ["discard", "write_zeroes"])
def test_what_is_no_device_refuses_each_range(tmp_path: Path, operation: str) -> None:
    (tmp_path / "file").write_bytes(bytes(8192))
    seen = device_io(str(tmp_path / "file"), Io(operation, 4096, 2))
    assert (seen.errno, seen.count, seen.failed) == ("ENOTTY", 0, 2)
    assert device_io(str(tmp_path / "none"), Io(operation, 4096, 2)).errno == "ENOENT"


@pytest.mark.parametrize("name", ["EOPNOTSUPP", "ENOTSUP"])
def test_an_error_is_found_by_all_its_names(name: str) -> None:
    recipe, faults = parsed({"io": "d", "discard": "4k"}, name)
    assert not faults
    step = StepFacts("x", 0.0, 1.0, done=True, exit=1, errno="ENOTSUP")
    seen = Observation(Ending.FINISHED, Result(complete=True, steps=(step,)))
    assert read(seen, question_for(recipe)).signal is Signal.REPRODUCED
    other, _ = parsed({"io": "d", "discard": "4k"}, "EINVAL")
    assert read(seen, question_for(other)).signal is Signal.OTHER_FAILURE


def test_an_operation_in_vectors_moves_what_one_in_a_buffer_does(tmp_path: Path) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    for path, vectors in ((one, 0), (several, 3)):
        wrote = device_io(str(path), Io("write", 12288, 2, buffer_offset=100, vectors=vectors, sync=True), makes=True)
        assert (wrote.exit, wrote.count, wrote.failed) == (None, 2, 0)
    assert several.read_bytes() == one.read_bytes() == pattern(12288) * 2
    beyond = device_io(str(several), Io("read", 16384, offset=16384, vectors=4))
    assert (beyond.count, beyond.failed, beyond.detail) == (0, 1, "at 16384: 8192 of 16384 bytes")
    assert device_io(str(tmp_path / "none"), Io("read", 4096, vectors=2)).errno == "ENOENT"
