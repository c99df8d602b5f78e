# SPDX-License-Identifier: GPL-2.0-only
"""The mail that a draft answers, its thread as far as it is at hand, and what regzbot makes of that thread.

What cannot be answered is refused with the reason.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bisector.errors import UsageError
from bisector.mail import regzbot
from bisector.mail.received import Address, Mail, address, parse, read, unique

__all__ = ["NEW", "Address", "Mail", "State", "Thread", "address", "load", "parse", "read", "thread_of", "unique"]

ANCESTORS = 100  # of a mail that are looked at, nearest first
NEAREST = 10  # of the ids that one mail gives of its ancestors, and the first one


class State(StrEnum):
    """What regzbot knows of a thread."""

    NEW = "new"  # no thread: the draft begins one
    UNTRACKED = "untracked"
    TRACKED = "tracked"


@dataclass(frozen=True)
class Thread:
    """Where a draft goes. ``missing``: ids of ancestors that were not at hand, so that ``state`` may be wrong.

    ``introduced``: culprit or range as regzbot has it; ``title``, ``fixes`` and ``resolved``: what it knows so far.
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
    named = re.fullmatch(r"<?([!-.0-;=?A-~]+@[!-;=?A-~]+)>?", wanted)
    if _is_there(Path(wanted)):
        own = read(Path(wanted))
        parent, known = own[0], {other.id for other in own}
        mails = (*own, *(mail for mail in mails if mail.id not in known))
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


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name
        return False


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
    spoken = {mail.id: regzbot.commands(mail.text) for mail in known.values()}
    reports: dict[str, _Report] = {}
    for mail in sorted(known.values(), key=lambda mail: mail.date):
        above = _ancestors(mail, known) if spoken[mail.id] else ()
        for command in spoken[mail.id]:
            _apply(command, mail, above, reports)
    above = _ancestors(parent, known)
    tracked = next((reports[oid] for oid in above if oid in reports), None)
    missing = tuple(oid for oid in above if oid not in known)
    stray = any(re.search(r"(?im)^#regzbot", mail.text) and not spoken[mail.id] for mail in known.values())
    if tracked is None:
        return Thread(State.UNTRACKED, parent, missing=missing, stray=stray)
    return Thread(
        State.TRACKED, parent, tracked.introduced, tracked.title, tracked.fixes, tracked.resolved, missing, stray
    )


def _ancestors(mail: Mail, known: Mapping[str, Mail]) -> tuple[str, ...]:
    """Ids of the mail and its ancestors, nearest first, as far as headers name them."""
    found: dict[str, None] = {}
    waiting = deque([mail.id])
    while waiting and len(found) < ANCESTORS:
        oid = waiting.popleft()
        if oid in found:
            continue
        found[oid] = None
        at_hand = known.get(oid)
        if at_hand:
            above = (at_hand.in_reply_to, *reversed(at_hand.references[-NEAREST:]), *at_hand.references[:1])
            waiting += [each for each in above if each and each not in found]
    return tuple(found)


def _apply(command: regzbot.Command, mail: Mail, above: Sequence[str], reports: dict[str, _Report]) -> None:
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
