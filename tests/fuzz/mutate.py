# SPDX-License-Identifier: GPL-2.0-only
"""Inputs made from good ones: bytes that changed, and trees whose parts changed. All drawn from one seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

WORDS: tuple[bytes, ...] = (
    b"{", b"}", b"[", b"]", b":", b": ", b"- ", b"\n", b"\n\n", b"\t", b" ", b'"', b"'", b"#", b"&a ", b"*a", b"!t ",
    b"|", b">", b"\0", b"\x1b[31m", b"\x9b", b"\xc2\x9b", b"\xe2\x80\xae", b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800",
    b"\\UFFFFFFFF", b"\r\n", b"null", b"true", b"1e999", b"-1", b"9" * 400, b"0x", b"NaN", b"Infinity",
    b"{a,b}" * 12, b"(|)" * 40, b"(a+)+$", b"%s%n", b"../" * 8, b"/dev/zero", b"$(id)", b";reboot", b"--",
    b"=?utf-8?b?", b"From ", b"#regzbot introduced: ^",
)  # fmt: skip

SCALARS: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.0, -0.0, 1.5, 1e308, float("inf"), float("nan"), "", " ",
    "x" * 5000, "\x1b]0;owned\x07", "\x9b2J", "\u202etxt", "\u2028", "\ud800", "a\nb", "../../x", "/etc/shadow",
    "/dev/zero", "-x", "--eval=x", "a,b=c", "$(id)", "`id`", "{seed}", "{" * 40, "{a,b}" * 20, "(|)" * 50,
    "((((a*)*)*)*)*$", "(?P<x>a)", "[", "\\", "6.10", "5e3175455", "1T", "0", "99999999999999T", "4k", "20s", "1e9h",
    "none", "off", "v6.18", "HEAD", "a..b", "x.lock", "trixie\nTrusted: yes", [], {}, [[]], [{}], {"": ""},
    {"not": []}, {"is": 1}, [None], ["x"] * 300,
)  # fmt: skip


def of_bytes(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """``data`` with a few spans cut, copied, swapped, turned into another byte or taken from ``other``."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(made) + 1)
        length = chance.choice((1, 1, 4, 20, 200))
        match chance.randrange(6):
            case 0:
                del made[at : at + length]
            case 1:
                made[at:at] = chance.choice(WORDS) * chance.choice((1, 1, 1, 30))
            case 2 if made and at < len(made):
                made[at] = chance.randrange(256)
            case 3:
                made[at:at] = made[at : at + length] * chance.choice((1, 2, 50))
            case 4 if other:
                start = chance.randrange(len(other))
                made[at : at + length] = other[start : start + length]
            case _:
                made[at : at + length] = chance.choice(WORDS)
    return bytes(made)


def of_tree(chance: random.Random, data: Any) -> Any:
    """Plain data in which some parts are others, more, less, deeper or somewhere else."""
    made = copy.deepcopy(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = list(_places(made))
        if not places:
            return chance.choice(SCALARS)
        holder, key = chance.choice(places)
        match chance.randrange(7):
            case 0:
                del holder[key]
            case 1 | 2:
                holder[key] = copy.deepcopy(chance.choice(SCALARS))
            case 3:
                other, name = chance.choice(places)
                holder[key] = copy.deepcopy(other[name])
            case 4 if isinstance(holder, dict):
                holder[str(chance.choice(SCALARS))[:400]] = holder.pop(key)
            case 5 if isinstance(holder, dict):
                holder |= {f"{key}{n}": copy.deepcopy(holder[key]) for n in range(chance.choice((1, 3, 60)))}
            case _:
                deep = holder[key]
                for _ in range(chance.choice((1, 3, 60))):
                    deep = [deep] if chance.random() < 0.5 else {"of": deep}
                holder[key] = deep
    return made


def as_text(data: Any) -> bytes:
    """The data as JSON, which is YAML too; half characters stay escapes."""
    try:
        return json.dumps(data, indent=1).encode()
    except (ValueError, RecursionError):
        return b"{}"


def _places(data: Any) -> Any:
    waiting = [data] if isinstance(data, dict | list) else []
    while waiting:
        holder = waiting.pop()
        for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            yield holder, key
            if isinstance(value, dict | list):
                waiting.append(value)
