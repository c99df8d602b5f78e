# SPDX-License-Identifier: GPL-2.0-only
"""``bisector report``: one campaign in one format, to stdout or into a folder; a mail as drafts, sent when asked to."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bisector.errors import UsageError
from bisector.printable import printable
from bisector.report import formats, post
from bisector.report.decode import decoded
from bisector.report.facts import gather
from bisector.store import CampaignRow, Store
from bisector.system.files import Unreadable, read_named
from bisector.system.proc import Processes
from bisector.system.xdg import folders

SIGNATURE = 16 << 10  # bytes of a signature's file
MAIL_ONLY = ("reply_to", "mbox", "to", "signature", "send", "yes")


class Screen(Protocol):
    """Where a person reads: the outcome on stdout, the rest on stderr."""

    def write(self, text: str) -> None:
        """Print to stdout, made printable."""

    def say(self, text: str) -> None:
        """Print one line for people."""


@dataclass(frozen=True)
class Asked:
    """The options of the command. ``out``: a folder for files, None for stdout."""

    format: str = "text"
    out: Path | None = None
    reply_to: str = ""
    mbox: Path | None = None
    to: tuple[str, ...] = ()
    signature: Path | None = None
    send: bool = False
    yes: bool = False


def run(asked: Asked, campaign: str, store: Store, screen: Screen, environ: Mapping[str, str]) -> None:
    """Print or write the report. Raises UsageError, InfraError."""
    if asked.format not in formats.NAMES:
        raise UsageError(f"--format {asked.format}: not one of {', '.join(formats.NAMES)}")
    unfit = [name for name in MAIL_ONLY if getattr(asked, name)] if asked.format != "mail" else []
    if unfit:
        raise UsageError(f"--{unfit[0].replace('_', '-')} goes with --format mail")
    if asked.yes and not asked.send:
        raise UsageError("--yes goes with --send")
    row = store.campaign(campaign)
    processes = Processes(folders(environ).state / "processes")
    if asked.format == "mail":
        _mail(asked, store, row, screen, processes)
        return
    facts = gather(store, row)
    if asked.format == "html":
        facts = decoded(facts, post.history_of(row)[0], processes)
    if asked.out:
        screen.write(f"{formats.save(asked.format, facts, asked.out)}\n")
    else:
        screen.write(formats.render(asked.format, facts))


def _mail(asked: Asked, store: Store, row: CampaignRow, screen: Screen, processes: Processes) -> None:
    if asked.send and not asked.yes and not sys.stdin.isatty():
        raise UsageError(
            "--send asks before it sends, and there is no terminal to ask on",
            hint="add --yes to send without asking, or leave out --send and look at the drafts",
        )
    signature = _text(asked.signature) if asked.signature else ""
    wish = post.Wish(asked.reply_to, asked.mbox, asked.to, signature)
    written = post.write(wish, store, row, processes)
    folder = asked.out or store.campaign_folder(row.id) / "reports" / "mail"
    paths = post.save(written, folder)
    if asked.out:
        screen.write("".join(f"{path}\n" for path in paths))
    else:
        screen.write(written.drafts[0].data.decode())
        drafts = f"{len(paths)} draft{'s are' if len(paths) > 1 else ' is'} in"
        screen.say(_wrapped(f"{drafts} {folder}" + ("" if asked.send else "; nothing was sent")))
    for note in written.notes:
        words, *copied = note.split("\n")
        screen.say("\n".join([_wrapped(f"note: {words}"), *(f"  {line}" for line in copied)]))
    if asked.send:
        ask = None if asked.yes else _ask
        screen.say(post.send(paths, written, processes, ask=ask, folder=Path(row.repo or os.sep)).strip())


def _text(path: Path) -> str:
    try:
        return read_named(path, SIGNATURE).decode(errors="replace")
    except Unreadable as error:
        raise UsageError(f"--signature {path} {error}") from error


def _wrapped(line: str) -> str:
    return textwrap.fill(line, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _ask(question: str) -> bool:
    sys.stderr.write(printable(_wrapped(f"{question} [y/N]")) + " ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
