# SPDX-License-Identifier: GPL-2.0-only
"""The mail that a draft answers, its thread as far as it is at hand, and what regzbot makes of that thread.

A mail is what somebody sent: headers may be broken, fold over lines, lie about their charset. What cannot be answered
is refused with the reason.
"""

from __future__ import annotations

import binascii
import email
import email.policy
import gzip
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

from bisector.errors import UsageError
from bisector.report import regzbot
from bisector.report.excerpt import printable

LARGEST = 64 << 20  # bytes of an mbox that are read
LONGEST_ID = 250  # bytes; RFC 5322 holds a line under 998, and ids this long are nobody's
SUBJECT = 500  # characters kept of a subject

_ID = re.compile(r"<[^<>\s@]+@[^<>\s@]+>")
_FROM_LINE = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]*\n")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")


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


class State(StrEnum):
    """What regzbot knows of a thread."""

    NEW = "new"  # no thread: the draft begins one
    UNTRACKED = "untracked"
    TRACKED = "tracked"


@dataclass(frozen=True)
class Thread:
    """Where a draft goes. ``missing``: ids of ancestors that were not at hand, so that ``state`` may be wrong.

    ``introduced``: culprit or range as regzbot has it; ``title``, ``fixes`` and ``resolved`` as told to regzbot so far.
    ``stray``: a ``#regzbot`` at the beginning of a line that regzbot does not take for a command.
    """

    state: State
    parent: Mail | None = None
    introduced: str = ""
    title: str = ""
    fixes: tuple[str, ...] = ()
    resolved: str = ""
    missing: tuple[str, ...] = ()
    stray: bool = False


NEW = Thread(State.NEW)


# ---- reading mails -------------------------------------------------------------------------------------------------


def load(reply_to: str, mbox: Path | None = None) -> Thread:
    """The thread that ``reply_to`` names.

    Args:
        reply_to: a file with one mail (.eml), an mbox (its first mail is answered), or the Message-ID of a mail in
            ``mbox``.
        mbox: the thread, plain or gzipped; needed for a Message-ID, and of use with an .eml, whose ancestors and
            siblings it holds.

    Raises UsageError with what is wrong.
    """
    mails = read(mbox) if mbox else ()
    wanted = reply_to.strip()
    named = re.fullmatch(r"<?([^<>\s@/]+@[^<>\s@]+)>?", wanted)
    if Path(wanted).is_file():
        own = read(Path(wanted))
        parent = own[0]
        mails = (*own, *(mail for mail in mails if mail.id not in {other.id for other in own}))
    elif named:
        if mbox is None:
            raise UsageError(f"{wanted} is in no file that was named", hint="add --mbox FILE, the thread as an mbox")
        found = [mail for mail in mails if mail.id == f"<{named[1]}>"]
        if not found:
            raise UsageError(f"{mbox} holds no mail {wanted}", hint=f"it holds {len(mails)} mails")
        parent = found[0]
    else:
        raise UsageError(f"{wanted}: neither a file nor a Message-ID", hint="give an .eml, an mbox, or a Message-ID")
    if not parent.id:
        raise UsageError(f"the mail in {reply_to} has no usable Message-ID: it cannot be answered in its thread")
    return thread_of(parent, mails)


def read(path: Path) -> tuple[Mail, ...]:
    """The mails of an .eml or mbox file, plain or gzipped. Raises UsageError when it holds none."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as source:
            data = source.read(LARGEST + 1)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be read: {why[:1].lower()}{why[1:]}") from error
    if len(data) > LARGEST:
        raise UsageError(f"{path} is larger than {LARGEST >> 20} MiB", hint="give the one thread as an mbox")
    try:
        mails = tuple(parse(part) for part in split(data))
    except RecursionError as error:
        raise UsageError(f"{path}: a mail in it is nested too deeply to be read") from error
    if not any(mail.id or mail.sender or mail.subject for mail in mails):
        raise UsageError(f"{path} holds no mail", hint="give the raw mail with its headers, not its text alone")
    return mails


def split(data: bytes) -> tuple[bytes, ...]:
    """An mbox into its mails, one that is none as a whole."""
    if not data.startswith(b"From "):
        return (data,)
    parts = _FROM_LINE.split(data)[1:]
    return tuple(re.sub(rb"(?m)^>(>*From )", rb"\1", part) for part in parts)


def parse(data: bytes) -> Mail:
    """One mail. Never raises for what stands in it, but for a nesting that is too deep (RecursionError)."""
    message = email.message_from_bytes(data, policy=email.policy.compat32)
    own, answered = _ids(message, "Message-ID"), _ids(message, "In-Reply-To")
    return Mail(
        id=own[0] if own else "",
        subject=_header(message, "Subject")[:SUBJECT],
        sender=_addresses(message, "Reply-To") or _addresses(message, "From"),
        to=_addresses(message, "To"),
        cc=_addresses(message, "Cc"),
        in_reply_to=answered[-1] if answered else "",
        references=_ids(message, "References"),
        date=_date(message),
        text=_text(message),
    )


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
    try:
        parts = decode_header(value)
        return "".join(_bytes(part, charset) if isinstance(part, bytes) else part for part, charset in parts)
    except (HeaderParseError, binascii.Error, ValueError):
        return value


def _bytes(data: bytes, charset: str | None) -> str:
    for name in (charset, "utf-8"):
        try:
            return data.decode(name or "utf-8")
        except (LookupError, UnicodeError, ValueError):
            continue
    return data.decode("latin-1")


def _ids(message: Message, name: str) -> tuple[str, ...]:
    found = (each for value in _raw(message, name) for each in _ID.findall(value))
    return tuple(dict.fromkeys(each for each in found if each.isascii() and len(each) <= LONGEST_ID))


def _addresses(message: Message, name: str) -> tuple[Address, ...]:
    """Addresses that mail can go to; decoded after they were taken apart, so that a name cannot hold an address."""
    raw = [" ".join(value.split()) for value in _raw(message, name)]
    return unique(address(_decoded(who), mail) for who, mail in getaddresses(raw))


def address(name: str, mail: str) -> Address | None:
    """An address, None for what mail cannot go to."""
    clean = " ".join(printable(name).replace('"', "").replace("\\", "").split())
    return Address(clean[:100], mail) if _ADDRESS.fullmatch(mail) and len(mail) <= LONGEST_ID else None


def unique(found: Iterable[Address | None]) -> tuple[Address, ...]:
    """Each address once, in order."""
    kept: dict[str, Address] = {}
    for each in found:
        if each is not None:
            kept.setdefault(each.key, each)
    return tuple(kept.values())


def _date(message: Message) -> float:
    try:
        when = parsedate_to_datetime(str(message["Date"]))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return datetime(1970, 1, 1, tzinfo=UTC).timestamp()


def _text(message: Message) -> str:
    parts = [part for part in message.walk() if part.get_content_type() == "text/plain" and not part.get_filename()]
    texts = []
    for part in parts:
        try:
            payload = part.get_payload(decode=True)
        except (ValueError, AssertionError):
            payload = None
        if isinstance(payload, bytes):
            texts.append(_bytes(payload, part.get_content_charset()))
    return "\n".join(texts)


# ---- what regzbot makes of a thread --------------------------------------------------------------------------------


@dataclass
class _Report:
    """A regression as regzbot has it."""

    introduced: str
    title: str = ""
    fixes: tuple[str, ...] = ()
    resolved: str = ""


def thread_of(parent: Mail, mails: Sequence[Mail]) -> Thread:
    """The state of the thread in which ``parent`` is to be answered, read from the commands in its mails.

    A thread is tracked when the parent or one of its ancestors is a report: it says ``introduced`` itself, or a direct
    answer to it says ``^introduced``.
    """
    known = {mail.id: mail for mail in (*mails, parent) if mail.id}
    reports: dict[str, _Report] = {}
    for mail in sorted(known.values(), key=lambda mail: mail.date):
        for command in regzbot.commands(mail.text):
            _apply(command, mail, known, reports)
    above = _ancestors(parent, known)
    tracked = next((reports[oid] for oid in above if oid in reports), None)
    missing = tuple(oid for oid in above if oid not in known)
    stray = any(re.search(r"(?im)^#regzbot", mail.text) and not regzbot.commands(mail.text) for mail in known.values())
    if tracked is None:
        return Thread(State.UNTRACKED, parent, missing=missing, stray=stray)
    return Thread(
        State.TRACKED, parent, tracked.introduced, tracked.title, tracked.fixes, tracked.resolved, missing, stray
    )


def _ancestors(mail: Mail, known: Mapping[str, Mail]) -> tuple[str, ...]:
    """Ids of the mail and its ancestors, nearest first, as far as headers name them."""
    found: dict[str, None] = {}
    waiting = deque([mail.id])
    while waiting:
        oid = waiting.popleft()
        if oid in found:
            continue
        found[oid] = None
        at_hand = known.get(oid)
        if at_hand:
            waiting += [each for each in (at_hand.in_reply_to, *reversed(at_hand.references)) if each]
    return tuple(found)


def _apply(command: regzbot.Command, mail: Mail, known: Mapping[str, Mail], reports: dict[str, _Report]) -> None:
    above = _ancestors(mail, known)
    report = next((reports[oid] for oid in above if oid in reports), None)
    words = command.parameter.split()
    if command.name == "introduced" and words:
        meant = next(iter(_meant(command.pointer, mail, above)), mail.id)
        if report is None:
            report = next((reports[oid] for oid in (meant,) if oid in reports), None)
        if report is None:
            reports[meant] = _Report(words[0])
        else:
            report.introduced = words[0]
    elif report is not None and command.name == "title":
        report.title = command.parameter
    elif report is not None and command.name == "fix":
        report.fixes = (*report.fixes, command.parameter)
    elif report is not None and command.name in ("resolve", "duplicate-of"):
        report.resolved = f"{command.name} {command.parameter}".strip()


def _meant(pointer: str, mail: Mail, above: Sequence[str]) -> Iterator[str]:
    """Id of the mail that an ``introduced`` means."""
    if pointer == "^" and mail.parent:
        yield mail.parent
    elif pointer == "/":
        yield above[-1]
    elif pointer.startswith("http"):
        yield f"<{pointer.rstrip('/').rsplit('/', 1)[-1]}>"
