# SPDX-License-Identifier: GPL-2.0-only
"""JSON of a guest's or of somebody else's: read whole and within limits, or refused, and never another exception."""

from __future__ import annotations

import json
import random
import resource
import time
from dataclasses import replace

import pytest

from bisector import codec
from bisector.agent.plan import Io, Layer, Plan, Result, Step, StepFacts
from bisector.codec import DecodeError, dump, load
from tests.work import usual

DIGITS = "9" * 400


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Result, f'{{"elapsed": {DIGITS}}}'),
        (Result, f'{{"elapsed": {"9" * 5000}}}'),
        (Result, '{"elapsed": NaN}'),
        (Result, '{"elapsed": Infinity}'),
        (Result, '{"elapsed": -Infinity}'),
        (Result, '{"elapsed": 1e999}'),
        (Result, '{"elapsed": -1}'),
        (Result, '{"elapsed": true}'),
        (Result, '{"elapsed": "1"}'),
        (Result, f'{{"schema": {DIGITS}}}'),
        (Result, '{"schema": 1.5}'),
        (Result, '{"complete": 1}'),
        (Result, '{"token": "\\ud800"}'),
        (Result, '{"tools": [["lvm", "\\udc00"]]}'),
        (Result, '{"token": null}'),
        (Result, '{"steps": {}}'),
        (Result, '{"steps": [[]]}'),
        (Result, '{"steps": [{}]}'),
        (Result, '{"steps": [{"name": "a", "started": 0, "ended": 1e300}]}'),
        (Result, '{"steps": [{"name": "a", "started": 0, "ended": 1, "exit": 0.5}]}'),
        (Result, '{"tools": [["lvm"]]}'),
        (Result, '{"events": [' + ",".join(['{"at": 0, "source": "", "name": ""}'] * 1001) + "]}"),
        (Result, '{"\\ud800": 1}'),
        (Result, '{"%s": 1}' % ("x" * 100_000)),
        (Result, "[" * 100_000),
        (Result, '{"kernel": ' + '{"a":' * 5000 + "1" + "}" * 5001),
        (Result, "[]"),
        (Result, ""),
        (Result, b"\xff\xfe"),
        (Result, b"\x00" * 100),
        (Result, "[" + "[]," * codec.VALUES + "[]]"),
        (Plan, '{"steps": [{"name": "a", "verb": "run", "seconds": 1e9}]}'),
        (Plan, '{"steps": [], "deadline": Infinity}'),
        (Plan, '{"steps": [], "deadline": 1e10}'),
        (Plan, '{"steps": [{"name": "a", "verb": "io", "io": {"operation": "read", "block": -1}}]}'),
        (Plan, "{}"),
    ],
)
def test_what_is_not_such_an_object_is_refused(kind: type, text: str | bytes) -> None:
    began = time.process_time()
    with pytest.raises(DecodeError) as error:
        load(kind, text)
    assert usual(time.process_time() - began) < 2
    assert len(str(error.value)) < 200
    assert str(error.value).isprintable() and str(error.value).isascii()


def test_the_size_is_looked_at_first() -> None:
    with pytest.raises(DecodeError, match="larger than 4 MiB"):
        load(Result, b"{" * (4 << 20) + b"}", limit=4 << 20)


def test_values_inside_of_strings_are_none() -> None:
    result = Result(steps=(StepFacts("a", 0.0, 1.0, detail="[{," * codec.VALUES),))
    assert load(Result, dump(result)) == result


def test_the_shortest_values_do_not_fill_the_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError):
        load(Result, b'{"steps": [' + b"[]," * 1_390_000 + b"[]]}", limit=4 << 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def test_a_file_name_that_is_not_utf_8_reaches_the_result() -> None:
    found = b"lost+found/\xe4\xf6".decode(errors="surrogateescape")
    seen = StepFacts("a", 0.0, 1.0, detail=f"{found} \\ud800 \\\\udc00 \U0001f600 é")
    again = load(Result, dump(Result(steps=(seen,))))
    assert again.steps[0].detail == "lost+found/\ufffd\ufffd \\ud800 \\\\udc00 \U0001f600 é"


def test_whatever_is_changed_in_a_text_it_is_read_or_refused() -> None:
    draw = random.Random(14)
    plan = Plan((Step("a", "io", ("b",), io=Io("read", 4096)),), layers=(Layer("b", "disk", "nvme", size=1 << 27),))
    texts = [dump(plan), dump(replace(Result(), steps=(StepFacts("a", 0.0, 1.0, exit=0, blocks=("clean",)),)))]
    pieces = ["NaN", "1e400", DIGITS, '"\\ud800"', "[", "]", "{", "}", ",", '"', "null", "-", "\\", "\x1b", "true"]
    for _ in range(2000):
        text = draw.choice(texts)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(text))
            text = text[:at] + draw.choice(pieces) + text[at + draw.choice((0, 1, 5)) :]
        for kind in (Plan, Result):
            try:
                read = load(kind, text)
            except DecodeError as error:
                assert str(error).isprintable()
                continue
            json.dumps(json.loads(dump(read)), allow_nan=False).encode()
            assert load(kind, dump(read)) == read


def test_an_indented_text_reads_back_and_holds_no_half_of_a_pair() -> None:
    result = Result(steps=(StepFacts("a\udc80", 0.0, 1.0),))
    text = dump(result, indent=1)
    assert text.count("\n") > 10
    assert load(Result, text) == Result(steps=(StepFacts("a\ufffd", 0.0, 1.0),))
