# SPDX-License-Identifier: GPL-2.0-only
"""Mails that somebody sent, as far as a reply needs them.

Headers may be broken, fold over lines, lie about their charset. The standard library's parser takes minutes for some
bytes (parameters of a header and nested parts cost the square of their length), so it is given short headers alone,
and everything is counted before it is read.
"""

from __future__ import annotations

import binascii
import email.policy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path

from bisector.errors import UsageError
from bisector.report.excerpt import printable
from bisector.system.files import ReadError, read_named, unzipped

LARGEST = 16 << 20  # bytes of an mbox that are read
MAILS = 1000  # of an mbox; the longest threads of the kernel's lists have some hundreds
HEAD = 64 << 10  # bytes of a mail's headers that are read
FIELD = 16 << 10  # bytes of one header; the rest of a longer one is left away
PARAMETERS = 2 << 10  # bytes of one that has parameters
BODY = 1 << 20  # bytes of a mail's body that are read
DEPTH = 8  # of parts in parts that are looked into
PARTS = 100  # of one mail
LONGEST_ID = 250  # bytes; RFC 5322 holds a line under 998, and ids this long are nobody's
REFERENCES = 50  # ids of ancestors kept of one mail: the first, and the last ones
PEOPLE = 500  # addresses of one header
SUBJECT = 500  # characters kept of a subject

_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")  # printable ASCII without blanks, < > and @
_FROM_LINE = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]*\n")
_BLANK_LINE = re.compile(rb"^\r?\n", re.MULTILINE)
_FIELD = re.compile(rb"^(?![ \t])", re.MULTILINE)
_WITH_PARAMETERS = re.compile(rb"content-", re.IGNORECASE)
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.][A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]*"  # no "-" first: an option of some mailer
    r"@[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9][A-Za-z0-9-]*)*"
)
_CHARSET = re.compile(
    r"utf[-_]?(?:7|8|16|32)(?:[-_]?[bl]e)?|us-ascii|ascii|latin[-_]?\d+|iso[-_]?8859[-_]\d+|iso-2022-[a-z0-9-]+"
    r"|windows-\d+|cp\d+|koi8[-_][rut]|gb\w+|big5\w*|euc[-_]\w+|shift[-_]?jis\w*|mac[-_]?\w+",
    re.IGNORECASE | re.ASCII,
)
"""Charsets of mails; Python knows codecs beside them that never end (punycode) or are none."""


@dataclass(frozen=True)
class Address:
    """A person or a list."""

    name: str
    mail: str

    @property
    def key(self) -> str:
        """Equal for two spellings of one address."""
        return self.mail.lower()


@dataclass(frozen=True)
class Mail:
    """One mail as far as a reply and regzbot need it. ``references``: ids of its ancestors, oldest first."""

    id: str
    subject: str
    sender: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    date: float = 0.0
    text: str = ""

    @property
    def parent(self) -> str:
        """Id of the mail that this one answers, "" for the first of a thread."""
        return self.in_reply_to or (self.references[-1] if self.references else "")


def read(path: Path) -> tuple[Mail, ...]:
    """The mails of an .eml or mbox file, plain or gzipped. Raises UsageError when it holds none."""
    try:
        data = unzipped(read_named(path, LARGEST), LARGEST)
        parts = split(data)
    except ReadError as error:
        raise UsageError(f"{path} {error}", hint="give one thread as an mbox, plain or gzipped") from error
    mails = tuple(parse(part) for part in parts)
    if not any(mail.id or mail.sender or mail.subject for mail in mails):
        raise UsageError(f"{path} holds no mail", hint="give the raw mail with its headers, not its text alone")
    return mails


def split(data: bytes) -> tuple[bytes, ...]:
    """An mbox into its mails, one that is none as a whole. Raises ReadError for more than ``MAILS``."""
    if not data.startswith(b"From "):
        return (data,)
    parts = _FROM_LINE.split(data, maxsplit=MAILS + 1)[1:]
    if len(parts) > MAILS:
        raise ReadError(f"holds more than {MAILS} mails")
    return tuple(re.sub(rb"(?m)^>(>*From )", rb"\1", part[: HEAD + BODY]) for part in parts)


def parse(data: bytes) -> Mail:
    """One mail. Never raises for what stands in it."""
    message, body = _taken_apart(data)
    own, answered = _ids(message, "Message-ID"), _ids(message, "In-Reply-To")
    above = _ids(message, "References")
    return Mail(
        id=own[0] if own else "",
        subject=_header(message, "Subject")[:SUBJECT],
        sender=_addresses(message, "Reply-To") or _addresses(message, "From"),
        to=_addresses(message, "To"),
        cc=_addresses(message, "Cc"),
        in_reply_to=answered[-1] if answered else "",
        references=above if len(above) <= REFERENCES else (above[0], *above[1 - REFERENCES :]),
        date=_date(message),
        text="\n".join(_texts(message, body)),
    )


# ---- headers


def _taken_apart(data: bytes) -> tuple[Message, bytes]:
    """Headers, cut to what is read of them, and the body."""
    blank = _BLANK_LINE.search(data)
    head, body = (data[: blank.start()], data[blank.end() :]) if blank else (data, b"")
    fields = [_cut(field) for field in _FIELD.split(head[:HEAD])]
    return BytesHeaderParser(policy=email.policy.compat32).parsebytes(b"".join(fields)), body[:BODY]


def _cut(field: bytes) -> bytes:
    limit = PARAMETERS if _WITH_PARAMETERS.match(field) else FIELD
    return field if len(field) <= limit else field[:limit].rstrip() + b"\n"


def _raw(message: Message, name: str) -> tuple[str, ...]:
    """Headers of that name as sent; bytes that should have been encoded are read as UTF-8, else as Latin-1."""
    items = [str(value) for key, value in message.raw_items() if key.lower() == name.lower()]
    return tuple(_bytes(value.encode(errors="surrogateescape"), None) for value in items)


def _header(message: Message, name: str) -> str:
    """All headers of that name decoded, on one line: a line break in one could begin another header."""
    # Unfolded first: of a fold beside an encoded word the decoder drops the blank.
    values = (_decoded(" ".join(value.split())) for value in _raw(message, name))
    return " ".join(" ".join(printable(value).split()) for value in values)


def _decoded(value: str) -> str:
    """With its encoded words decoded, as far as a person would read it (the decoder costs the square of its length)."""
    value = value[: 4 * SUBJECT]
    try:
        parts = decode_header(value)
        return "".join(_bytes(part, charset) if isinstance(part, bytes) else part for part, charset in parts)
    except (HeaderParseError, binascii.Error, ValueError):
        return value


def _bytes(data: bytes, charset: str | None) -> str:
    for name in (charset if charset and _CHARSET.fullmatch(charset) else None, "utf-8"):
        try:
            return data.decode(name or "utf-8")
        except (LookupError, UnicodeError, ValueError):
            continue
    return data.decode("latin-1")


def _ids(message: Message, name: str) -> tuple[str, ...]:
    found = (each for value in _raw(message, name) for each in _ID.findall(value))
    return tuple(dict.fromkeys(each for each in found if len(each) <= LONGEST_ID))


def _addresses(message: Message, name: str) -> tuple[Address, ...]:
    """Addresses that mail can go to; decoded after they were taken apart, so that a name cannot hold an address."""
    raw = [" ".join(value.split()) for value in _raw(message, name)]
    try:
        found = getaddresses(raw)[:PEOPLE]
    except RecursionError:  # comments in comments without end
        return ()
    return unique(address(_decoded(who), mail) for who, mail in found)


def address(name: str, mail: str) -> Address | None:
    """An address, None for what mail cannot go to."""
    clean = " ".join(printable(name).replace('"', "").replace("\\", "").split())
    return Address(clean[:100], mail) if len(mail) <= LONGEST_ID and _ADDRESS.fullmatch(mail) else None


def unique(found: Iterable[Address | None]) -> tuple[Address, ...]:
    """Each address once, in order."""
    kept: dict[str, Address] = {}
    for each in found:
        if each is not None:
            kept.setdefault(each.key, each)
    return tuple(kept.values())


def _date(message: Message) -> float:
    try:
        when = parsedate_to_datetime(str(message["Date"])[:100])
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return datetime(1970, 1, 1, tzinfo=UTC).timestamp()


# ---- text


def _texts(message: Message, body: bytes) -> Iterator[str]:
    """Plain text of a mail and of its parts, but for attached files."""
    waiting, seen = [(message, body, 0)], 0
    while waiting and seen < PARTS:
        part, content, depth = waiting.pop(0)
        seen += 1
        boundary = _parameter(part, "boundary", "content-type")
        if part.get_content_maintype() == "multipart":
            below = _parts(content, boundary) if boundary and depth < DEPTH else ()
            waiting[:0] = [(*_taken_apart(each), depth + 1) for each in below]
        elif part.get_content_type() == "text/plain" and not _is_file(part):
            yield _bytes(_unpacked(part, content), _parameter(part, "charset", "content-type"))


def _parts(body: bytes, boundary: str) -> list[bytes]:
    mark = b"\n--" + boundary.encode(errors="replace")
    found = (b"\n" + body).split(mark + b"--", 1)[0].split(mark, PARTS + 1)[1:]
    return [part.partition(b"\n")[2] for part in found[:PARTS]]


def _parameter(part: Message, name: str, header: str) -> str:
    value = part.get_param(name, "", header)
    return value[2] if isinstance(value, tuple) else str(value or "")


def _is_file(part: Message) -> bool:
    return bool(_parameter(part, "filename", "content-disposition") or _parameter(part, "name", "content-type"))


def _unpacked(part: Message, content: bytes) -> bytes:
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    try:
        if encoding == "base64":
            return binascii.a2b_base64(content)
        if encoding == "quoted-printable":
            return binascii.a2b_qp(content)
    except ValueError:
        return content
    return content
