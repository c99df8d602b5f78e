# SPDX-License-Identifier: GPL-2.0-only
"""Mails made to do harm: read in little time and memory, or refused in words; no option for a mailer comes out."""

import gzip
import os
import time
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.errors import UsageError
from bisector.exitcodes import ExitCode
from bisector.mail import compose, received, regzbot
from bisector.mail.thread import load, parse, read, thread_of
from tests.work import usual

HEAD = b"Message-ID: <a@example.org>\nFrom: A <a@example.org>\nSubject: it fails\n"


@pytest.mark.parametrize("mail", ["-oQ/tmp@example.org", "-f@example.org", "a@-x.example.org", "a@x.-y", "-@-"])
def test_an_address_that_a_mailer_takes_for_an_option_is_none(mail: str) -> None:
    found = parse(HEAD + f"Cc: X <{mail}>, {mail}, ok@example.org\n\n".encode())
    assert [each.mail for each in found.cc] == ["ok@example.org"]


def test_an_address_that_looks_like_an_option_cannot_be_named(capfd: pytest.CaptureFixture[str]) -> None:
    from bisector.mail.draft import _named

    with pytest.raises(UsageError, match="not an address"):
        _named(["-oQ/tmp@example.org"])


@pytest.mark.parametrize("sign", [chr(code) for code in (*range(1, 32), 127, 155, 0x2028)])
def test_no_control_character_comes_into_an_id_or_a_header(sign: str) -> None:
    data = f"Message-ID: <a{sign}b@example.org>\nReferences: <c{sign}d@example.org> <e@example.org>\n"
    found = parse((data + f"Subject: x{sign}y\nFrom: A{sign}B <a@example.org>\n\n").encode())
    for text in (found.id, *found.references, found.subject, *(each.name for each in found.sender)):
        assert text.isprintable()
    raw = compose.message([("Message-ID", f"<a{sign}b@c>"), ("X", f"a{sign}Bcc: b"), ("Y", "a\n\tb\n c")], "x\n")
    head = raw.partition(b"\n\n")[0].decode()
    assert all(letter.isprintable() or letter in "\n\t" for letter in head)
    assert "\nBcc" not in head
    assert "Y: a\n\tb\n c" in head


WORST = {
    "mailbox of From lines": b"From \n\n" * 600_000,
    "mailbox of small mails": (b"From x\n" + HEAD + b"\n\n#regzbot introduced: v1..v2\n\n") * 1000,
    "blanks in a command": HEAD + b"\n\n#regzbot title: " + b" " * 900_000 + b"\n\n",
    "blanks and line ends in a command": HEAD + b"\n\n#regzbot title: " + b" \n" * 400_000 + b"\n\n",
    "commands": HEAD + b"\n" + b"\n#regzbot fix: x\n" * 50_000,
    "encoded words without end": HEAD + b"Cc: " + b"=?utf-8?q?" * 300_000 + b"\n\n",
    "parameters": HEAD + b"Content-Type: text/plain" + b";" * 3_000_000 + b"\n\nx\n",
    "folded parameters": HEAD + b"Content-Type: text/plain" + b";\n a" * 1_000_000 + b"\n\nx\n",
    "parameters of a part": HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain"
    + b";" * 900_000 + b"\n\nx\n--b--\n",
    "nested parts": HEAD + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
                                      for n in range(3000)) + b"\n" * 900_000,
    "many parts": HEAD + b"Content-Type: multipart/mixed; boundary=b\n" + b"\n--b\n\nx\n" * 120_000,
    "references": HEAD + b"References: " + b" ".join(b"<%d@example.org>" % n for n in range(300_000)) + b"\n\nx\n",
    "addresses": HEAD + b"To: " + b"c@example.org, " * 300_000 + b"\n\nx\n",
    "brackets": HEAD + b"To: " + b"(" * 1_000_000 + b"\nCc: " + b"<" * 1_000_000 + b"\n\nx\n",
    "a date": HEAD + b"Date: " + b"1 " * 500_000 + b"\n\nx\n",
    "a codec without end": HEAD + b"Content-Type: text/plain; charset=punycode\n\n" + b"a-9" * 300_000,
    "headers alone": b"Subject: x\n" * 300_000,
    "one line": b"x" * 15_000_000,
    "line ends": HEAD + b"\n" * 15_000_000,
    "quoted From lines": b"From x\n" + HEAD + b"\n" + b">>>>From \n" * 1_000_000,
}  # fmt: skip


@pytest.mark.parametrize("name", WORST)
def test_no_mail_takes_long(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(WORST[name])
    began = time.process_time()
    try:
        mails = read(path)
        thread_of(mails[0], mails)
    except UsageError as error:
        assert error.what.isprintable()
    assert usual(time.process_time() - began) < 2


def test_a_thread_whose_mails_name_each_other_without_end_does_not_take_long() -> None:
    names = [f"<{n}@example.org>" for n in range(1000)]
    mails = [
        received.Mail(name, "s", references=tuple(names[max(0, n - 50) : n]), text="x\n\n#regzbot introduced: v1..v2\n")
        for n, name in enumerate(names)
    ]
    began = time.process_time()
    thread_of(mails[-1], mails)
    assert usual(time.process_time() - began) < 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(HEAD + b"\nx\n")[:-9], "cut short"),
        (gzip.compress(HEAD + b"\nx\n" * 99)[:30] + b"\xff" * 30, "damaged"),
        (b"\x1f\x8bnot really gzip", "damaged"),
        (gzip.compress(bytes(80 << 20)), "holds more than 16 MiB"),
        (gzip.compress(b"") * 5 + gzip.compress(HEAD + b"\n")[:20], "cut short"),
        (b"From x\n\n\n" * 1001, "holds more than 1000 mails"),
        (bytes((16 << 20) + 1), "is larger than 16 MiB"),
    ],
    ids=[
        "gzip cut",
        "gzip damaged",
        "no gzip",
        "gzip of too much",
        "gzip of five cut",
        "many mails",
        "large",
    ],  # not the bytes: they have the time of day in them
)
def test_a_mailbox_that_is_damaged_or_too_large_is_refused_in_words(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=said):
        read(path)


def test_gzip_files_behind_each_other_are_one_mailbox(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox.gz"
    path.write_bytes(b"".join(gzip.compress(b"From x\n" + HEAD + b"\nx\n\n") for _ in range(3)))
    assert len(read(path)) == 3


@pytest.fixture(params=["fifo", "/dev/zero", "folder", "/proc/self/mem"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a person may name and nobody can read to its end."""
    if request.param == "fifo":
        os.mkfifo(tmp_path / "fifo")
        return tmp_path / "fifo"
    return tmp_path if request.param == "folder" else Path(request.param)


def test_what_has_no_end_is_not_read(unusable: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for call in (lambda: load(str(unusable)), lambda: load("a@example.org", unusable)):
        with pytest.raises(UsageError, match=r"is not a regular file|is a folder|cannot be read"):
            call()
    assert main(["nightly", str(unusable), "--check"]) == ExitCode.INVALID
    assert main(["new", "x", "--from", str(unusable)]) == ExitCode.USAGE
    assert "unexpected" not in capfd.readouterr().err


def test_a_signature_without_end_is_refused(unusable: Path) -> None:
    from bisector.cli.report_command import _text

    with pytest.raises(UsageError, match=r"--signature .*(is not a regular file|is a folder|cannot be read)"):
        _text(unusable)


def test_runs_of_blanks_change_no_command() -> None:
    text = (
        "a\n\n#regzbot  introduced:   v1..v2  \n \n#regzbot title: x   y\n   z \n #regzbot poke;   #regzbot fix: q\n\nb"
    )
    assert [(each.name, " ".join(each.parameter.split())) for each in regzbot.commands(text)] == [
        ("introduced", "v1..v2"), ("title", "x y z"), ("fix", "q")
    ]  # fmt: skip
