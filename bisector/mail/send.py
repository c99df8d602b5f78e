# SPDX-License-Identifier: GPL-2.0-only
"""Drafts on the disk, and, when the person says so, to ``git send-email``.

A draft is a file. Nothing is sent without ``--send``, and without ``--yes`` not before the person has confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bisector.errors import InfraError, UsageError
from bisector.mail.draft import Drafts
from bisector.system.files import write_whole
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST

SENDING = 600.0  # seconds for git send-email


def save(drafts: Drafts, folder: Path) -> tuple[Path, ...]:
    """Write the drafts into ``folder``; what an earlier call left of its own is replaced. Raises InfraError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9]-*.eml"):
            old.unlink()
        paths = []
        for draft in drafts.mails:
            path = folder / draft.name
            write_whole(path, draft.data)
            paths.append(path)
    except OSError as error:
        raise InfraError(f"the drafts cannot be written to {folder}: {error.strerror or error}") from error
    return tuple(paths)


def command(paths: Sequence[Path], *, dry: bool = False) -> list[str]:
    """The command that sends drafts as they are: no thread, no recipient but those that the drafts name."""
    return [
        *("git", "send-email"),
        *(["--dry-run"] if dry else []),
        "--no-thread",
        "--no-format-patch",
        *("--no-to", "--no-cc"),  # those of the configuration
        *(f"--suppress-cc={whom}" for whom in ("body", "cccmd", "author", "self")),
        "--confirm=never",
        *map(str, paths),
    ]


def send(
    paths: Sequence[Path], drafts: Drafts, processes: Processes, *, ask: Callable[[str], bool] | None, folder: Path
) -> str:
    """Hand drafts to ``git send-email``; gives what it said.

    Args:
        ask: shows a question and gives the answer; None: the person said --yes.
        folder: git's configuration is the one that holds there.

    Raises UsageError when the person says no, InfraError when it cannot be sent.
    """
    first = drafts.mails[0]
    if not first.to:
        raise UsageError("the draft has no recipient", hint="name one with --to ADDRESS")
    everybody = ", ".join(each.mail for each in (*first.to, *first.cc))
    count = len(paths)
    question = f"send {count} mail{'s' if count > 1 else ''} ({first.subject}) to {everybody}?"
    if ask is not None and not ask(question):
        raise UsageError("nothing was sent", hint=f"the drafts are in {paths[0].parent}")
    place = folder if folder.is_dir() else paths[0].parent
    whole = [path.resolve() for path in paths]  # git runs in another folder
    try:
        return processes.run(command(whole), access=HOST, cwd=place, timeout=SENDING).stdout
    except InfraError as error:
        hint = (
            f"{error.hint}\nthe drafts are in {paths[0].parent}; is git-email installed, and sendemail.smtpServer set?"
        )
        raise InfraError(f"git send-email did not send: {error.what}", hint=hint.strip()) from error
