# SPDX-License-Identifier: GPL-2.0-only
"""Facts that no trial shows are refused: such a condition would never be bad, and nobody would see it."""

from __future__ import annotations

from typing import Any

import pytest

from bisector.recipe.parse import parse

BASE: dict[str, Any] = {
    "recipe": "never",
    "target": {"kernel": {"config": ["base"]}},
    "storage": {"d": {"disk": "virtio-blk", "size": "64M"}, "e": {"disk": "virtio-blk", "size": "64M"}},
    "guest": {
        "os": "linux",
        "drives": {"vda": {"of": "d", "device": "virtio-blk"}, "vdb": {"of": "e", "device": "virtio-blk"}},
        "storage": {"m": {"md": "raid1", "of": ["vda", "vdb"]}},
    },
    "steps": [
        {"boot": {"start": "guest"}},
        {"script": {"run": ["true"]}},
        {"busy": {"together": [{"copy": {"run": ["true"]}}, {"load": {"io": "vda", "in": "guest", "read": "4k"}}]}},
        {"out": {"stop": "guest"}},
    ],
    "bad_when": {"b": {"exit": {"script": 1}}},
    "good_when": {"g": {"exit": {"script": 0}}},
}
OPENED = {"os": "none", "drives": BASE["guest"]["drives"]}


def said(**changes: Any) -> list[str]:
    _, found = parse({**BASE, **changes})
    return [f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in found]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"hang": {"load": True}, "console": {"vm": {"not": "x"}}}, "console.vm: a trial that hangs has no end"),
        ({"hang": {"vm": True}, "event": {"guest": {"not": "STOP"}}}, "event.guest: a trial that hangs has no end"),
        ({"hang": {"vm": {"not": False}}, "count": {"vm": {"x": "< 2"}}}, "count.vm.x: a trial that hangs has no end"),
        ({"hang": {"load": True}, "leak": {"vm": True}}, "leak.vm: leaks are looked for behind the last step"),
        ({"hang": {"load": True}, "exit": {"load": 0}}, "exit.load: load hangs in this condition"),
        ({"hang": {"load": True}, "exit": {"out": 0}}, "exit.out: load hangs in this condition, so out behind it"),
        ({"health": {"m": "degraded"}}, "health.m: m is made by the inner guest"),
        ({"made": {"m": False}}, "made.m: m is made by the inner guest"),
        ({"oops": {"guest": True}}, "oops.guest.[key]: 'guest' is not known"),
        ({"made": {"e": False}, "exit": {"script": 1}}, "exit.script: where e cannot be made no step begins"),
        ({"errno": {"script": "EIO"}}, "errno.script: the error of script (run) has no name; ask for its exit code"),
        ({"errno": {"out": {"not": "none"}}}, "errno.out: the error of out (stop) has no name"),
    ],
)
def test_what_no_trial_shows_is_refused(bad: dict[str, Any], message: str) -> None:
    found = said(bad_when={"b": bad})
    assert len(found) == 1 and found[0].startswith(f"bad_when.b.{message}"), found


@pytest.mark.parametrize(
    "bad",
    [
        {"hang": {"load": True}, "console": {"vm": "x"}, "oops": {"vm": {"not": True}}},
        {"hang": {"load": True}, "exit": {"copy": 0, "script": 0}, "seconds": {"load": "> 1m"}},
        {"hang": {"load": True}, "count": {"vm": {"x": "> 2"}}},
        {"hang": {"load": False}, "console": {"vm": {"not": "x"}}, "exit": {"out": 0}},
        {"errno": {"load": "EIO"}},
    ],
)  # fmt: skip
def test_what_a_trial_may_show_is_not(bad: dict[str, Any]) -> None:
    assert not said(bad_when={"b": bad})


@pytest.mark.parametrize(
    ("good", "message"),
    [
        ({"hang": {"load": True}, "exit": {"boot": 0}}, "hang.load: a trial that hangs is never good"),
        ({"oops": {"vm": "BUG"}, "exit": {"boot": 0}}, "oops.vm: a trial that ends in a crash is never good"),
    ],
)
def test_what_never_ends_well_is_no_good_condition(good: dict[str, Any], message: str) -> None:
    assert said(good_when={"g": good}) == [f"good_when.g.{message}"]
    assert not said(good_when={"g": {"hang": {"load": False}, "oops": {"vm": {"not": True}}, "exit": {"boot": 0}}})


def test_a_guest_that_only_opens_its_drives_has_no_console() -> None:
    steps = [{"boot": {"start": "guest"}}]
    good = {"g": {"exit": {"boot": 0}}}
    for fact in ({"console": {"guest": "x"}}, {"count": {"guest": {"x": "> 1"}}}):
        found = said(guest=OPENED, steps=steps, bad_when={"b": fact}, good_when=good)
        assert len(found) == 1 and "a guest with 'os: none' has no console" in found[0], found
