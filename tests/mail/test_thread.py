# SPDX-License-Identifier: GPL-2.0-only
"""Mails and threads as people and attackers send them: what is read, what regzbot has of them, what is refused."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisector.errors import UsageError
from bisector.mail import regzbot
from bisector.mail.letter import Letter, drafts
from bisector.mail.thread import State, load, parse, thread_of
from tests.report import case, reader

OID = "5ff3f74e145adc79b49668adb8de276446acf6be"


def mail(name: str, text: str = "Hello.\n", parent: str = "", **headers: str) -> bytes:
    lines = [f"Message-ID: <{name}@example.org>", "From: A <a@example.org>", "Subject: it fails"]
    lines += [f"In-Reply-To: <{parent}@example.org>"] if parent else []
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return ("\n".join(lines) + "\n\n" + text).encode()


def state(*mails: bytes, answer: str) -> tuple[State, str]:
    parsed = [parse(each) for each in mails]
    found = thread_of(next(each for each in parsed if each.id == f"<{answer}@example.org>"), parsed)
    return found.state, found.introduced


REPORT = f"It broke.\n\n#regzbot introduced: {OID}\n#regzbot title: it broke\n\nBye\n"


@pytest.mark.parametrize(
    ("mails", "answer", "found"),
    [
        ([mail("a")], "a", (State.UNTRACKED, "")),
        ([mail("a", REPORT)], "a", (State.TRACKED, OID)),
        ([mail("a", REPORT), mail("b", parent="a")], "b", (State.TRACKED, OID)),
        ([mail("a"), mail("b", "\n#regzbot ^introduced v6.17..v6.18\n", "a")], "a", (State.TRACKED, "v6.17..v6.18")),
        ([mail("a"), mail("b", "#regzbot introduced: v6.17..v6.18 ^\n", "a")], "a", (State.TRACKED, "v6.17..v6.18")),
        ([mail("a"), mail("b", "x\n\n#regzbot ^introduced: v1..v2\n", "a"), mail("c", parent="a")], "c",
         (State.TRACKED, "v1..v2")),
        ([mail("a"), mail("b", "x\n\n#regzbot introduced: v1..v2\n", "a"), mail("c", parent="a")], "c",
         (State.UNTRACKED, "")),
        ([mail("a", "\n#regzbot introduced: v1..v2\n"), mail("b", f"x\n\n#regzbot introduced: {OID[:12]}\n", "a")], "a",
         (State.TRACKED, OID[:12])),
        ([mail("a", f"> text\n> \n> #regzbot introduced: {OID}\n>\n")], "a", (State.UNTRACKED, "")),
        ([mail("a", f"text\n#regzbot introduced: {OID}\n\n")], "a", (State.UNTRACKED, "")),
        ([mail("a", f"text\n \n#regzbot introduced: {OID}\n\n")], "a", (State.UNTRACKED, "")),
        ([mail("a", f"text\n\n #regzbot introduced: {OID}\n\n")], "a", (State.UNTRACKED, "")),
        ([mail("a", f"\n#regzbot introduced: {OID}\nThanks,\nV K\n")], "a", (State.TRACKED, OID)),
        ([mail("a", f"\r\n\r\n#regzbot introduced: {OID}\r\n\r\n")], "a", (State.TRACKED, OID)),
        ([mail("a", "hello #regzbot", Subject_="#regzbot introduced: v1..v2")], "a", (State.UNTRACKED, "")),
        ([mail("a"), mail("b", "\n#regzbot introduced: v1..v2 /\n", "a")], "a", (State.TRACKED, "v1..v2")),
    ],
)  # fmt: skip
def test_state_of_a_thread(mails: list[bytes], answer: str, found: tuple[State, str]) -> None:
    assert state(*mails, answer=answer) == found


def test_references_alone_hold_a_thread_together() -> None:
    mails = (mail("a", REPORT), mail("b", References="<a@example.org>\n <x@example.org>"))
    assert state(*mails, answer="b") == (State.TRACKED, OID)


def test_later_commands_change_title_and_end_it() -> None:
    texts = ["\n#regzbot title: new one\n#regzbot fix: block: mend\n", "\n#regzbot invalid: my mistake\n"]
    mails = [parse(mail("a", REPORT)), *(parse(mail(f"m{n}", text, "a")) for n, text in enumerate(texts))]
    found = thread_of(mails[0], mails)
    assert (found.title, found.fixes, found.resolved) == ("new one", ("block: mend",), "resolve my mistake")


def test_ancestors_that_are_not_at_hand_are_named() -> None:
    own = parse(mail("c", parent="b", References="<a@example.org> <b@example.org>"))
    assert set(thread_of(own, [own]).missing) == {"<a@example.org>", "<b@example.org>"}


def test_a_command_that_regzbot_does_not_see_is_noticed() -> None:
    own = parse(mail("a", f"text\n#regzbot introduced: {OID}\n"))
    assert thread_of(own, [own]).stray


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"md: it fails\n =?utf-8?q?br=C3=B6ken?=", "md: it fails br\u00f6ken"),
        (b"=?utf-8?q?br=C3=B6ken?=\n on v6.18", "br\u00f6ken on v6.18"),
        (b"=?utf-8?q?br=C3=B6?=\r\n\t=?utf-8?q?ken?= at\r\n night", "br\u00f6ken at night"),
        (b"md: it fails\n\tagain", "md: it fails again"),
    ],
)
def test_a_folded_subject_keeps_its_blanks(sent: bytes, read: str) -> None:
    assert parse(mail("a").replace(b"it fails", sent)).subject == read


def test_a_file_that_is_not_there_is_said_without_codes(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(mail("a"))
    with pytest.raises(UsageError) as caught:
        load(str(tmp_path / "a.eml"), Path("nosuch.mbox"))
    assert caught.value.what == "nosuch.mbox cannot be read: no such file or directory"


# ---- files ---------------------------------------------------------------------------------------------------------


def mbox(folder: Path, *mails: bytes, packed: bool = False) -> Path:
    data = b"\n".join(b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + each for each in mails)
    path = folder / ("thread.mbox.gz" if packed else "thread.mbox")
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_mail_is_named_by_its_id_in_an_mbox(tmp_path: Path, packed: bool) -> None:
    path = mbox(tmp_path, mail("a", REPORT + "\n>From here on\n"), mail("b", parent="a"), packed=packed)
    for name in ("b@example.org", "<b@example.org>"):
        found = load(name, path)
        assert found.parent is not None
        assert found.parent.id == "<b@example.org>"
        assert found.state is State.TRACKED


def test_an_eml_takes_its_thread_from_the_mbox(tmp_path: Path) -> None:
    (tmp_path / "b.eml").write_bytes(mail("b", parent="a"))
    assert load(str(tmp_path / "b.eml")).state is State.UNTRACKED
    path = mbox(tmp_path, mail("a", REPORT))
    assert load(str(tmp_path / "b.eml"), path).state is State.TRACKED


def test_the_first_mail_of_an_mbox_is_answered(tmp_path: Path) -> None:
    found = load(str(mbox(tmp_path, mail("a"), mail("b", "x\n\n#regzbot ^introduced: v1..v2\n", "a"))))
    assert found.parent is not None
    assert (found.parent.id, found.state) == ("<a@example.org>", State.TRACKED)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no mail"),
        (b"just some text\nwithout headers\n", "holds no mail"),
        (b"\x00\xff\xfe\x80" * 50, "holds no mail"),
        (b"Subject: x\nFrom: a@example.org\n\nno id\n", "no usable Message-ID"),
        (b"Message-ID: <" + b"x" * 3000 + b"@y>\nFrom: a@example.org\n\n", "no usable Message-ID"),
        (b"\x1f\x8bnot really gzip", "cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.eml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        load(str(path))


def test_a_message_id_without_mbox_or_not_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in no file that was named"):
        load("a@example.org")
    with pytest.raises(UsageError, match="holds no mail"):
        load("zzz@example.org", mbox(tmp_path, mail("a")))
    with pytest.raises(UsageError, match="neither a file nor a Message-ID"):
        load("nonsense")


def test_a_mail_nested_without_end_is_refused_or_read(tmp_path: Path) -> None:
    parts = b""
    for n in range(3000):
        parts += b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
    path = tmp_path / "deep.eml"
    path.write_bytes(b"Message-ID: <a@b.c>\nFrom: a@b.c\n" + parts)
    try:
        assert load(str(path)).state is State.UNTRACKED
    except UsageError as error:
        assert "nested too deeply" in error.what


# ---- hostile headers -----------------------------------------------------------------------------------------------

HOSTILE = [
    mail("a", Subject_="x").replace(b"it fails", b"=?utf-8?q?it_fails=0ABcc:_evil@example.org=0D=0A?="),
    mail("a").replace(b"it fails", b"it fails\n\tBcc: evil@example.org\n #regzbot fix: x"),
    mail("a").replace(b"it fails", "caf\xe9 \u2028 \x00 \x1b[2J".encode("latin-1", "ignore")),
    mail("a").replace(b"From: A", b'From: "A\n\tBcc: evil@example.org"'),
    mail("a", Cc="=?utf-8?q?x=0A=0A#regzbot_fix:_y?= <c@example.org>, no-address, <x y@z>, " + "c@example.org, " * 500),
    mail("a", References=" ".join(f"<{n}@example.org>" for n in range(10_000))),
    mail("a", References="<" + "x" * 5000 + "@y> <ok@example.org>"),
    mail("a").replace(b"it fails", b"=?no-such-charset?q?=ff=fe?= =?utf-8?b?!!!!?= #regzbot introduced: v1..v2"),
    mail("a", "\n\n#regzbot invalid: x\n\n#regzbot frobnicate: y\n\n> #regzbot introduced: v1..v2\n\n"),
    mail("a", Date="Thu, 99 Foo 99999 99:99:99 +9999"),
    mail("a", Content_Type="text/plain; charset=utf-7").replace(b"Hello", b"\xff\xfe\x80"),
    mail("a", Content_Type="text/plain", Content_Transfer_Encoding="base64"),
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_mail_gives_a_correct_draft(tmp_path: Path, data: bytes) -> None:
    from tests.mail.test_mail import CULPRIT, assert_fits_the_lists

    path = tmp_path / "x.eml"
    path.write_bytes(data)
    found = load(str(path))
    made = case.facts(case.OUTCOMES["culprit"])
    for draft in drafts(Letter(made, found, case.PEOPLE, sender=case.SENDER, signature="Jane")):
        assert_fits_the_lists(draft.data, columns=998)
        headers = draft.data.partition(b"\n\n")[0].decode()
        assert "\nBcc:" not in headers
        assert all(line.startswith(("\t", " ")) or ":" in line.split()[0] for line in headers.split("\n"))
        named = reader.commands(reader.body(draft.data))
        assert named == ([("^introduced", CULPRIT)] if draft.name.startswith("0") else [])
        assert "evil@example.org" not in [each.mail for each in (*draft.to, *draft.cc)]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_are_read_without_a_fault(data: bytes) -> None:
    found = parse(b"Message-ID: <a@example.org>\n" + data)
    assert thread_of(found, [found]).parent is found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["#regzbot introduced: v1..v2", "#regzbot title: a b", "", "", " ", "text", "> #regzbot fix: x",
            " #regzbot poke",
             "#regzbot fix: one; #regzbot poke", "#RegzBot invalid", "-- "]
        ),
        max_size=12,
    )
)  # fmt: skip
def test_our_reader_and_the_tests_own_hear_the_same(lines: list[str]) -> None:
    text = "\n".join(lines)
    names = {"invalid": "resolve"}
    theirs = [names.get(name, name) for name, _ in reader.commands(text)]
    assert [command.name for command in regzbot.commands(text)] == theirs


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_read_of_headers_is_one_printable_line(data: bytes) -> None:
    found = parse(data)
    names = [each.name for each in (*found.sender, *found.to, *found.cc)]
    assert all(text.isprintable() for text in (found.subject, found.id, *found.references, *names))
