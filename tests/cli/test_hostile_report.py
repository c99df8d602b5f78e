# SPDX-License-Identifier: GPL-2.0-only
"""``bisector new --from`` on what an attacker sends, and on what a mail program makes of a report."""

from __future__ import annotations

import base64
import gzip
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.exitcodes import ExitCode
from bisector.recipe.load import load
from tests.work import usual

HEAD = "From: R <r@example.org>\nSubject: [REGRESSION] {subject}\nMIME-Version: 1.0\n"
SAID = "git bisect good v6.17\ngit bisect bad v6.18\nlvcreate --type raid1 -m1\n"
EXT4 = "EXT4-fs error (device {0}): ext4_lookup:1 {0}"


def mail(body: str, subject: str = "a leg fails", kind: str = "text/plain; charset=utf-8") -> bytes:
    return f"{HEAD.format(subject=subject)}Content-Type: {kind}\n\n{body}".encode()


def base64_mail(kind: str, body: bytes) -> bytes:
    head = f"{HEAD.format(subject='x')}Content-Type: {kind}\nContent-Transfer-Encoding: base64\n\n"
    return head.encode() + base64.encodebytes(body)


MIXED = "multipart/mixed; boundary=B"
PARTS = (
    f"--B\nContent-Type: text/html\n\n<pre>git bisect good v1.1</pre>\n--B\nContent-Type: text/plain\n\n{SAID}\n--B--\n"
)
ATTACHED = "--B\nContent-Type: text/plain; name=dmesg.txt\n\nx\n--B--\n"

DRAFTED = {
    "unseen characters in a subject": mail(SAID, "leg\u00ad fails\u200b on\u00a0my \ufeffdisk"),
    "an encoded subject with escapes": mail(SAID, "=?utf-8?b?" + base64.b64encode(b"\x1b[2Ja\nb: c").decode() + "?="),
    "yaml in a subject": mail(SAID, "x' # }\"\n target: {kernel: {}} *a &b !!python/object: %"),
    "a subject that is all brackets": mail(SAID, "[PATCH] [x]"),
    "a part of plain text behind one of html": mail(PARTS, kind=MIXED),
    "base64": base64_mail("text/plain; charset=utf-8", SAID.encode()),
    "a charset that is none": mail(SAID, kind="text/plain; charset=punycode"),
    "latin-1 without a word of it": mail(SAID).replace(b"leg", b"l\xe9g") + b"\xe9\xff",
    "utf-16": SAID.encode("utf-16"),
    "gzip": gzip.compress(mail(SAID)),
    "an mbox": b"From x\n" + mail("no more\n") + b"\nFrom y\n" + base64_mail("text/plain", SAID.encode()),
    "no mail that begins as an mbox": b"From 6.18 on it fails.\n" + SAID.encode(),
    "a percentage without end": f"{SAID}{'9' * 400}% slower, from {'9' * 400} IOPS to 1 IOPS".encode(),
    "versions without end": f"{SAID}broken since 6.{'9' * 500}, 6.18-rc{'1' * 500} fails on 6.18.12345.1\n".encode(),
    "colours in a log": f"{SAID}\x1b[31m{EXT4.format('sda1')}\x1b[0m\n".encode(),
    "escapes in a log": SAID.encode() + EXT4.format("\x1b]0;x\x07\x00\x9b").encode(),
    "a word without end in a log": f"{SAID}{EXT4.format('(' * 900)}\n".encode(),
    "yaml in a log": f"{SAID}{EXT4.format(chr(39) + chr(39) + '}} #: [x]')}\n".encode(),
    "escapes in a job": f"{SAID}fio --rw=read --bs=4k\x1b[2J --ioengine=\x9bx --a=\u202eb\n".encode(),
    "yaml in a job": f'{SAID}fio --rw=read "--bs=4k\'}}: [" --x=a#b --iodepth=8: --y=%z\n'.encode(),
    "a name without end in a job": f"{SAID}fio --rw=read --{'n' * 900}=1 --numjobs={'9' * 900}\n".encode(),
    "jobs without end": SAID.encode() + (b"fio -" + b"y" * 900 + b" \\\n") * 9_000,
    "sections without end": SAID.encode() + (b"[x]\na=b" + b" " * 900 + b"c\n") * 9_000,
    "a line without end": SAID.encode() + b"[x]\na=b" + b" " * 4_000_000 + b"c\nfio " + b" -" * 4_000_000,
    "words without end": (SAID + ("mdadm lvcreate regress " * 40 + "\n") * 9_000).encode(),
    "lines that are all of it": SAID.encode() + b"\n" * 9_000_000,
    "quotes without end": SAID.encode() + (b"> " * 490 + b"x\n") * 9_000,
}


@pytest.mark.parametrize("what", DRAFTED)
def test_a_report_of_any_kind_becomes_a_draft(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    source = tmp_path / "report"
    source.write_bytes(DRAFTED[what])
    began = time.process_time()
    code = main(["new", "drafted", "--from", str(source), "--folder", str(tmp_path)])
    said = capsys.readouterr()
    assert code == ExitCode.OK, said.err
    assert usual(time.process_time() - began) < 20  # two where nobody else works
    recipe = load(tmp_path / "drafted.yaml")
    assert (recipe.search.good, recipe.search.bad) == ("v6.17", "v6.18")
    assert recipe.storage["data"].type == "raid1"
    written = (tmp_path / "drafted.yaml").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in (written + said.err + said.out).split("\n"))
    head = [line for line in written.split("\n") if line.startswith("#   ")]
    assert max(map(len, head)) <= 80


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (base64_mail("text/html", b"<p>git bisect good v6.17</p>"), "is a mail without plain text"),
        (mail(ATTACHED, kind=MIXED), "is a mail without plain text"),
        (
            mail("--B\nContent-Type: multipart/mixed; boundary=B\n\n" * 3_000, kind=MIXED),
            "is a mail without plain text",
        ),
        (base64_mail("text/plain", b"")[:-1] + b"%%%\n" + SAID.encode(), "is a mail without plain text"),
        (b"x" * (17 << 20), "is larger than 16 MiB"),
        (gzip.compress(bytes(17 << 20)), "holds more than 16 MiB"),
        (gzip.compress(mail(SAID))[:-20], "cannot be read: it is cut short"),
        (b"From x\nSubject: a\n\nb\n\n" * 1_001, "holds more than 1000 mails"),
    ],
)
def test_what_cannot_be_read_is_said(
    data: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "report"
    source.write_bytes(data)
    assert main(["new", "drafted", "--from", str(source), "--folder", str(tmp_path)]) == ExitCode.USAGE
    assert says in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_charset_that_lies_makes_a_draft_that_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "report"
    source.write_bytes(mail(SAID + "x" * (len(SAID) % 2), kind="text/plain; charset=utf-16"))
    assert main(["new", "drafted", "--from", str(source), "--folder", str(tmp_path)]) == ExitCode.OK
    assert "needed good: a revision" in " ".join(capsys.readouterr().err.split())
    assert load(tmp_path / "drafted.yaml").recipe == "drafted"


def test_what_was_not_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in (
        ("lines", SAID.encode() + b"x\n" * 20_001),
        ("bytes", mail(SAID + ("y" * 99 + "\n") * 11_000)),
    ):
        source = tmp_path / name
        source.write_bytes(data)
        assert main(["new", f"of-{name}", "--from", str(source), "--folder", str(tmp_path)]) == ExitCode.OK
        assert "needed the rest of it: only the first" in " ".join(capsys.readouterr().err.split())


def test_the_name_of_a_report_adds_no_line_to_the_recipe(tmp_path: Path) -> None:
    source = tmp_path / "x\nrecipe: forged\n\x1b[2J"
    source.write_text(SAID)
    assert main(["new", "drafted", "--from", str(source), "--folder", str(tmp_path)]) == ExitCode.OK
    head = r"^# Drafted from x\\nrecipe: forged\\n\\x1b\[2J\.$"
    assert re.search(head, (tmp_path / "drafted.yaml").read_text(), re.MULTILINE)
    assert load(tmp_path / "drafted.yaml").recipe == "drafted"


FULL = """
mount -t tmpfs -o size=8k small "$1" && head -c 3000 /dev/zero >"$1/filler" || exit 9
"$2" -m bisector new drafted --folder "$1"
echo "code $?"
ls -A "$1"
rm "$1/filler"
"$2" -m bisector new drafted --folder "$1" && "$2" -m bisector check "$1/drafted.yaml"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk in a private mount namespace takes root")
def test_a_full_disk_leaves_no_half_of_a_recipe(tmp_path: Path) -> None:
    import sys

    (tmp_path / "disk").mkdir()
    argv = ["unshare", "-m", "sh", "-c", FULL, "sh", str(tmp_path / "disk"), sys.executable]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert "No space left on device" in done.stderr and "free space" in done.stderr
    assert "code 2\nfiller\n" in done.stdout
    assert done.returncode == 0, done.stderr
