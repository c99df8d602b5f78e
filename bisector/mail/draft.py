# SPDX-License-Identifier: GPL-2.0-only
"""From a campaign to the drafts of its mails: thread, people and known fixes are looked up, then the text is made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector import __version__
from bisector.errors import BisectorError, UsageError
from bisector.mail import fixed, recipients, regression, repeat
from bisector.mail.letter import Draft, Letter, drafts
from bisector.mail.thread import NEW, Address, State, Thread, address, load
from bisector.model import Commit
from bisector.report.decode import decoded
from bisector.report.facts import Facts, gather
from bisector.search.gitrepo import History
from bisector.stage import CampaignState
from bisector.store import CampaignRow, Store
from bisector.system import shipped
from bisector.system.proc import Processes


@dataclass(frozen=True)
class MailOptions:
    """What a person may choose of a mail. ``reply_to``: a file or a Message-ID; ``to``: further recipients."""

    reply_to: str = ""
    mbox: Path | None = None
    to: tuple[str, ...] = ()
    signature: str = ""


@dataclass(frozen=True)
class Drafts:
    """Mails, and notes for the person who sends them. A note's lines after its first are to be copied as they are."""

    mails: tuple[Draft, ...]
    notes: tuple[str, ...]


def write(options: MailOptions, store: Store, row: CampaignRow, processes: Processes) -> Drafts:
    """Draft the mails of one campaign.

    Raises UsageError when there is nothing to write about, nobody to write to, or the mail to answer cannot be used.
    """
    facts = gather(store, row, of_recipe=True)
    if row.state == CampaignState.TEST:
        raise UsageError(
            f"{row.id} is a test of one candidate: it has no outcome to report",
            hint="'bisector run' searches for where it came",
        )
    if facts.outcome is None:
        raise UsageError(
            f"campaign {row.id} is {row.state} and has no outcome yet",
            hint="finish it with 'bisector run ... --resume'",
        )
    thread = load(options.reply_to, options.mbox) if options.reply_to else NEW
    extra = _named(options.to)
    if not regression.claims(facts.outcome) and thread.state is State.NEW and not extra:
        raise UsageError(
            f"the outcome is {facts.outcome.kind}: there is no regression to report, and so nobody to write to",
            hint="answer a mail with --reply-to FILE, or name somebody with --to ADDRESS; --format text shows it all",
        )
    history, notes = history_of(row)
    facts = decoded(facts, history, processes)
    series = regression.stable_series(facts)
    looked = fixed.UNKNOWN if row.find_fix else fixed.examine(facts, history, series=series)
    stable = bool(series) or looked.upstream is not None
    kernel = regression.of_kernel(facts)
    people = recipients.people(_commits(facts), history, processes, tree=row.bad, stable=stable, kernel=kernel)
    letter = Letter(
        facts,
        thread,
        people,
        looked,
        recipients.sender(processes, Path(row.repo or "/")),
        options.signature,
        __version__,
        (shipped.recipes() / f"{row.recipe}.yaml").is_file(),
        extra,
    )
    return Drafts(drafts(letter), (*notes, *people.notes, *_notes(letter)))


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
    if outcome is None or not regression.claims(outcome):
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
        notes.append(f"regzbot knows that this is over: {thread.resolved}")
    if regression.contradicts(letter.facts, thread):
        notes.append(f"regzbot has another commit for this thread: {thread.introduced}")
    if letter.fixed.hints:
        notes.append("\n".join((fixed.HINT, *letter.fixed.hints)))
    untested = [each for each in letter.fixed.newest if each.verdict is None and each.tree is fixed.Tree.MAINLINE]
    if untested:
        row = letter.facts.campaign
        words = ["bisector", "test", row.recipe, "--repo", row.repo, "--rev", untested[0].name]
        words += (word for option in repeat.options(letter.facts) for word in option)
        notes.append(
            "maintainers will ask for the newest mainline; let 'bisector run' try it (--check-fixed), or test it and "
            f"draft again:\n{shlex.join(words)}"
        )
    return tuple(notes)
