# SPDX-License-Identifier: GPL-2.0-only
"""Text of an attacker, driven through every place where a person reads: nothing in it acts on the terminal."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.errors import BisectorError, Diagnostic
from bisector.events import EventLog
from bisector.exitcodes import ExitCode
from bisector.interfaces import Phase, Progress
from bisector.mail.letter import Letter, drafts
from bisector.mail.recipients import People
from bisector.mail.thread import Address
from bisector.model import Verdict
from bisector.nightly import summary
from bisector.nightly.config import Watch
from bisector.nightly.records import Answer, Kind, News, Night
from bisector.printable import is_line, printable, printable_line
from bisector.report import formats
from bisector.store import Store
from bisector.terminal import Terminal
from tests.report import case
from tests.report.test_formats import hostile

ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\u202erm\u2066\u2028\ud800\x85\x00\x0b\x0cend"
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[A-G]|[0-9]?K)|\r")
"""What rich itself writes to a terminal: colours, its live line."""


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_what_acts_becomes_visible_and_words_stay() -> None:
    assert printable("a\x1b[31mb\x07\x9b\x7f") == r"a\x1b[31mb\x07\x9b\u007f"
    assert printable("Jürgen 日本 → ×\tx\ny") == "Jürgen 日本 → ×\tx\ny"
    assert printable("a\r\nb\rc") == "a\nb\\rc"
    assert printable("\u202e\u2028\ud800\ufeff") == r"\u202e\u2028\ud800\ufeff"
    assert printable_line("a\tb\nc\x1b") == r"a\tb\nc\x1b"
    assert is_line("Jürgen 日本\xa0") and not is_line("a\nb") and not is_line(EVIL)


def test_every_character_that_acts_is_made_visible() -> None:
    for text in [*map(chr, range(0x3000)), "\ud800", "\udfff", "\ufeff", "\U000e0041"]:
        assert not ACTS.search(printable(text))
        assert printable(printable(text)) == printable(text)


def test_json_stays_json() -> None:
    text = json.dumps({EVIL: [EVIL]})
    assert json.loads(printable(text)) == {EVIL: [EVIL]}


def terminal(act: Callable[[Terminal], None], err: io.StringIO) -> str:
    out = io.StringIO()
    act(Terminal(out, err, {"TERM": "xterm"}))
    assert "end" in out.getvalue() + err.getvalue()
    return out.getvalue() + OURS.sub("", err.getvalue())


@pytest.mark.parametrize("stream", [io.StringIO, Screen])
@pytest.mark.parametrize(
    "act",
    [
        lambda t: t.write(EVIL),
        lambda t: t.say(EVIL),
        lambda t: t.fail(BisectorError(EVIL, hint=f"{EVIL}\n{EVIL}")),
        *(lambda t, phase=phase: (t.listen(Progress(phase, EVIL)), t.say("end"), t.stop()) for phase in Phase),
        lambda t: (t.listen(Progress(Phase.CANDIDATE, EVIL)), t.listen(Progress(Phase.BUILD, EVIL)), t.write("end")),
    ],
)
def test_a_terminal_shows_it_and_does_not_obey(
    act: Callable[[Terminal], None], stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bisector.busy.QUIET_SECONDS", -1.0)
    assert not ACTS.search(terminal(act, stream()))


def test_a_diagnostic_is_one_line() -> None:
    shown = str(Diagnostic(EVIL, 1, 1, f"{EVIL}\n2:1", f"{EVIL}\n3:1"))
    assert is_line(shown)


@pytest.mark.parametrize("kind", formats.ENDINGS)
@pytest.mark.parametrize("outcome", case.OUTCOMES)
def test_no_format_lets_it_through(kind: str, outcome: str, tmp_path: Path) -> None:
    path = formats.save(kind, hostile(outcome), tmp_path)
    assert not ACTS.search(path.read_bytes().decode("utf-8"))
    assert not ACTS.search(formats.render(kind, hostile(outcome)))


def test_a_subject_adds_no_line_to_the_log_of_a_report() -> None:
    log = "git bisect start\n# bad: [0000] x\x0cgit bisect skip HEAD\u2028git bisect reset\n"
    outcome = replace(case.OUTCOMES["culprit"], bisect_log=log)
    shown = formats.render("text", case.facts(outcome)).partition("git bisect log:\n")[2]
    assert [line for line in shown.splitlines() if line.startswith("  git")] == ["  git bisect start"]


@pytest.mark.parametrize("outcome", case.OUTCOMES)
def test_no_mail_lets_it_through(outcome: str) -> None:
    people = People((Address(EVIL, "a@example.org"),), (Address("", "b@example.org"),))
    sender = Address(EVIL, "c@example.org")
    letter = Letter(hostile(outcome), people=people, sender=sender, signature=EVIL, shipped=False)
    for draft in drafts(letter):
        assert not ACTS.search(draft.data.decode("utf-8"))
        assert not re.search(r"(?m)^[^ \t:]*$", draft.data.decode("utf-8").partition("\n\n")[0])


def test_events_are_lines_of_json_without_it(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.listen(Progress(Phase.STAGE, EVIL))
    log.write("end", error=EVIL)
    log.close()
    lines = (tmp_path / "events").read_text(encoding="utf-8").split("\n")
    assert json.loads(lines[0])["detail"] == EVIL
    assert json.loads(lines[1])["error"] == EVIL
    assert not any(ACTS.search(line) for line in lines)


def test_no_campaign_breaks_the_list_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = Store(tmp_path / "bisector")
    outcome = replace(case.OUTCOMES["unresolved"], summary=EVIL)
    row = replace(case.ROW, title=EVIL.replace("\ud800", ""), source=EVIL.replace("\ud800", ""), repo="")
    store.add_campaign(row)
    store.finish(row.id, outcome)
    for words in (["campaigns"], ["report", case.ROW.id]):
        assert main(words) == ExitCode.OK
        said = capfd.readouterr()
        assert "owned" in said.out
        assert not ACTS.search(said.out + said.err)


@pytest.mark.parametrize("command", ["check", "show", "run", "doctor", "nightly"])
@pytest.mark.parametrize("place", ["key", "name"])
def test_no_command_lets_a_file_act(
    command: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    evil = EVIL.replace("\ud800", "").replace("\x00", "")
    file = tmp_path / (f"{evil}.yaml" if place == "name" else "x.yaml")
    file.write_text(json.dumps({"recipe" if command != "nightly" else "nightly": "x", evil: 1}), encoding="utf-8")
    assert main([command, str(file)]) == ExitCode.INVALID
    assert main([command, f"{file}-gone"]) == ExitCode.INVALID
    said = capfd.readouterr()
    assert "owned" in said.err
    assert not ACTS.search(said.out + said.err)


def test_a_command_line_of_it_is_answered_without_it(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["check", EVIL],
        [EVIL],
        ["run", f"--{EVIL}"],
        ["--debug", "log", EVIL],
        ["--color", EVIL, "recipes"],
    ):
        assert main(words) not in (ExitCode.OK, ExitCode.INFRA)
        said = capfd.readouterr()
        assert not ACTS.search(said.out + said.err)


def test_no_paper_of_a_night_lets_it_through(tmp_path: Path) -> None:
    answer = Answer(EVIL, EVIL, "next", "", "0" * 40, "q", "k", Verdict.BAD, EVIL, (EVIL,), 1, 1, EVIL, carried=EVIL)
    news = (News(Kind.OPENED, EVIL, EVIL), News(Kind.NOTE, "", EVIL))
    alone = replace(answer, condition=EVIL)
    night = Night(EVIL, "night", "1" * 40, "2" * 40, EVIL, 1.0, answers=(answer, alone), news=news, troubles=(EVIL,))
    night = replace(night, stopped=EVIL, moved_from="3" * 40)
    watch = Watch(EVIL, "/nonexistent", (), (), 1.0, tmp_path, tmp_path / "watch.yaml")
    summary.write(watch, night, (night,), (), 0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"summary.txt", "summary.json", "index.html"}
    for path in files:
        assert not ACTS.search(path.read_text(encoding="utf-8")), path.name
