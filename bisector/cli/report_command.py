# SPDX-License-Identifier: GPL-2.0-only
"""``bisector report``: one campaign in one format, to stdout or into a folder; a mail as drafts, sent on request."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bisector.errors import UsageError
from bisector.mail import send
from bisector.mail.draft import MailOptions, history_of, write
from bisector.printable import printable
from bisector.report import formats
from bisector.report.decode import decoded
from bisector.report.facts import gather
from bisector.store import CampaignRow, Store
from bisector.system.files import ReadError, read_named
from bisector.system.proc import Processes
from bisector.system.xdg import folders

SIGNATURE = 16 << 10  # bytes of a signature's file
MAIL_ONLY = ("reply_to", "mbox", "to", "signature", "send", "yes")


class Screen(Protocol):
    """The streams of the command: the outcome on stdout, the rest on stderr."""

    def write(self, text: str) -> None:
        """Print to stdout, made printable."""

    def say(self, text: str) -> None:
        """Print one line for people."""


@dataclass(frozen=True)
class ReportOptions:
    """The options of the command. ``out``: a folder for files, None for stdout."""

    format: str = "text"
    out: Path | None = None
    reply_to: str = ""
    mbox: Path | None = None
    to: tuple[str, ...] = ()
    signature: Path | None = None
    send: bool = False
    yes: bool = False


def run(options: ReportOptions, campaign: str, store: Store, screen: Screen, environ: Mapping[str, str]) -> None:
    """Print or write the report. Raises UsageError, InfraError."""
    if options.format not in formats.NAMES:
        raise UsageError(f"--format {options.format}: not one of {', '.join(formats.NAMES)}")
    unfit = [name for name in MAIL_ONLY if getattr(options, name)] if options.format != "mail" else []
    if unfit:
        raise UsageError(f"--{unfit[0].replace('_', '-')} goes with --format mail")
    if options.yes and not options.send:
        raise UsageError("--yes goes with --send")
    row = store.campaign(campaign)
    processes = Processes(folders(environ).state / "processes")
    if options.format == "mail":
        _mail(options, store, row, screen, processes)
        return
    facts = gather(store, row)
    if options.format == "html":
        facts = decoded(facts, history_of(row)[0], processes)
    if options.out:
        screen.write(f"{formats.save(options.format, facts, options.out)}\n")
    else:
        screen.write(formats.render(options.format, facts))


def _mail(options: ReportOptions, store: Store, row: CampaignRow, screen: Screen, processes: Processes) -> None:
    if options.send and not options.yes and not sys.stdin.isatty():
        raise UsageError(
            "--send asks before it sends, and there is no terminal to ask on",
            hint="add --yes to send without asking, or leave out --send and read the drafts",
        )
    signature = _text(options.signature) if options.signature else ""
    drafts = write(MailOptions(options.reply_to, options.mbox, options.to, signature), store, row, processes)
    folder = options.out or store.campaign_folder(row.id) / "reports" / "mail"
    paths = send.save(drafts, folder)
    if options.out:
        screen.write("".join(f"{path}\n" for path in paths))
    else:
        screen.write(drafts.mails[0].data.decode())
        count = f"{len(paths)} draft{'s are' if len(paths) > 1 else ' is'} in"
        screen.say(_wrapped(f"{count} {folder}" + ("" if options.send else "; nothing was sent")))
    for note in drafts.notes:
        words, *copied = note.split("\n")
        screen.say("\n".join([_wrapped(f"note: {words}"), *(f"  {line}" for line in copied)]))
    if options.send:
        ask = None if options.yes else _ask
        screen.say(send.send(paths, drafts, processes, ask=ask, folder=Path(row.repo or os.sep)).strip())


def _text(path: Path) -> str:
    try:
        return read_named(path, SIGNATURE).decode(errors="replace")
    except ReadError as error:
        raise UsageError(f"--signature {path} {error}") from error


def _wrapped(line: str) -> str:
    return textwrap.fill(line, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _ask(question: str) -> bool:
    sys.stderr.write(printable(_wrapped(f"{question} [y/N]")) + " ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
