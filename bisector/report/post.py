# SPDX-License-Identifier: GPL-2.0-only
"""From a campaign to drafts on the disk, and, when the person says so, to ``git send-email``.

A draft is a file. Nothing is ever sent that was not asked for by ``--send`` and confirmed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector import __version__
from bisector.errors import BisectorError, InfraError, UsageError
from bisector.model import Commit
from bisector.report import claim, fixed, recipients
from bisector.report.asked import options
from bisector.report.decode import decoded
from bisector.report.facts import Facts, gather
from bisector.report.mail import Draft, Letter, drafts
from bisector.report.thread import NEW, Address, State, Thread, address, load
from bisector.search.gitrepo import History
from bisector.store import CampaignRow, Store
from bisector.system import shipped
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST

SENDING = 600.0  # seconds for git send-email


@dataclass(frozen=True)
class Wish:
    """What a person asked of a mail. ``reply_to``: a file or a Message-ID; ``to``: further recipients."""

    reply_to: str = ""
    mbox: Path | None = None
    to: tuple[str, ...] = ()
    signature: str = ""


@dataclass(frozen=True)
class Written:
    """Drafts and what the person should know before they send them. ``notes``: the lines of one after its first are to
    be copied as they are.
    """

    drafts: tuple[Draft, ...]
    notes: tuple[str, ...]


def write(wish: Wish, store: Store, row: CampaignRow, processes: Processes) -> Written:
    """Draft the mails of one campaign.

    Raises UsageError when there is nothing to write about, nobody to write to, or the mail to answer cannot be used.
    """
    facts = gather(store, row)
    if row.state == "test":
        raise UsageError(
            f"{row.id} is a test of one candidate: it has no outcome to report",
            hint="'bisector run' searches for where it came",
        )
    if facts.outcome is None:
        raise UsageError(
            f"campaign {row.id} is {row.state} and has no outcome yet",
            hint="finish it with 'bisector run ... --resume'",
        )
    thread = load(wish.reply_to, wish.mbox) if wish.reply_to else NEW
    extra = _named(wish.to)
    if not claim.claims(facts.outcome) and thread.state is State.NEW and not extra:
        raise UsageError(
            f"the outcome is {facts.outcome.kind}: there is no regression to report, and so nobody to write to",
            hint="answer a mail with --reply-to FILE, or name somebody with --to ADDRESS; --format text shows it all",
        )
    history, notes = history_of(row)
    facts = decoded(facts, history, processes)
    series = claim.stable_series(facts)
    looked = fixed.UNKNOWN if row.find_fix else fixed.examine(facts, store, history, series=series)
    stable = bool(series) or looked.upstream is not None
    kernel = claim.of_kernel(facts)
    people = recipients.people(_commits(facts), history, processes, tree=row.bad, stable=stable, kernel=kernel)
    letter = Letter(
        facts,
        thread,
        people,
        looked,
        recipients.sender(processes, Path(row.repo or "/")),
        wish.signature,
        __version__,
        (shipped.recipes() / f"{row.recipe}.yaml").is_file(),
        extra,
    )
    return Written(drafts(letter), (*notes, *people.notes, *_notes(letter)))


def _named(words: Sequence[str]) -> tuple[Address, ...]:
    found = [(word, address(*_taken_apart(word))) for word in words]
    if wrong := [word for word, each in found if each is None]:
        raise UsageError(f"--to {wrong[0]}: not an address")
    return tuple(each for _, each in found if each)


def _taken_apart(word: str) -> tuple[str, str]:
    name, bracket, rest = word.partition("<")
    return (name.strip(), rest.rstrip("> ")) if bracket else ("", word.strip())


def history_of(row: CampaignRow) -> tuple[History | None, tuple[str, ...]]:
    """The campaign's repository, None when it is not at hand; and a note that says why it cannot be read."""
    try:
        return (History(Path(row.repo)), ()) if row.repo else (None, ())
    except BisectorError as error:
        return None, (f"the campaign's repository cannot be read: {error.what}",)


def _commits(facts: Facts) -> tuple[Commit, ...]:
    outcome = facts.outcome
    if outcome is None or not claim.claims(outcome):
        return ()
    return (outcome.culprit,) if outcome.culprit else outcome.suspects


def _notes(letter: Letter) -> tuple[str, ...]:
    """What only a person can decide, said before they send."""
    thread: Thread = letter.thread
    notes = []
    if letter.sender is None:
        notes.append("git knows no user.name and user.email: the drafts have no From")
    if thread.missing and thread.state is State.UNTRACKED:
        notes.append(
            "not all of the thread was at hand: if regzbot tracks it already, take the #regzbot block out "
            "(--mbox FILE, the whole thread, settles it)"
        )
    if thread.stray:
        notes.append("a mail of the thread holds '#regzbot' where regzbot does not read it (no empty line around it)")
    if thread.resolved:
        notes.append(f"regzbot was told that this is over: {thread.resolved}")
    if claim.contradicts(letter.facts, thread):
        notes.append(f"regzbot has another commit for this thread: {thread.introduced}")
    if letter.fixed.hints:
        notes.append("\n".join((fixed.HINT, *letter.fixed.hints)))
    untested = [each for each in letter.fixed.newest if each.verdict is None and each.kind == "mainline"]
    if untested:
        row, outcome = letter.facts.campaign, letter.facts.outcome
        words = ["bisector", "test", row.recipe, "--repo", row.repo, "--rev", untested[0].name]
        words += options(outcome.cell) if outcome else []
        notes.append(
            "maintainers will ask for the newest mainline; let 'bisector run' try it (--check-fixed), or test it and "
            f"draft again:\n{shlex.join(words)}"
        )
    return tuple(notes)


def save(written: Written, folder: Path) -> tuple[Path, ...]:
    """Write the drafts into ``folder``; what an earlier call left of its own is replaced. Raises InfraError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9]-*.eml"):
            old.unlink()
        paths = []
        for draft in written.drafts:
            path = folder / draft.name
            path.write_bytes(draft.data)
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
    paths: Sequence[Path], written: Written, processes: Processes, *, ask: Callable[[str], bool] | None, folder: Path
) -> str:
    """Hand drafts to ``git send-email``; gives what it said.

    Args:
        ask: shows a question and gives the answer; None: the person said --yes.
        folder: git's configuration is the one that holds there.

    Raises UsageError when the person says no, InfraError when it cannot be sent.
    """
    first = written.drafts[0]
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
