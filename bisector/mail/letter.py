# SPDX-License-Identifier: GPL-2.0-only
"""A campaign as the draft of a mail to the people who can fix it, in the order in which they read. Pure.

Plain text, 75 columns; one symptom, the error itself, the culprit with its figures, the environment, one command, the
ends, the bisect log, what was not checked, who speaks, and the block for regzbot. Config and kernel log follow as
answers of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bisector.codec import digest
from bisector.direction import of_outcome
from bisector.mail import compose, regression
from bisector.mail.compose import fold, wrap
from bisector.mail.fixed import UNKNOWN, FixStatus
from bisector.mail.recipients import NOBODY, People
from bisector.mail.regzbot import defuse, one_line
from bisector.mail.sections import (
    bisect_log,
    environment,
    figures,
    fixed_lines,
    not_checked,
    reproduce,
    revert_untested,
)
from bisector.mail.thread import NEW, Address, Thread, unique
from bisector.model import EditKind, Judgement, Outcome, OutcomeKind
from bisector.report import printed
from bisector.report.excerpt import LINES, Excerpt, printable
from bisector.report.facts import Facts
from bisector.verdict.certainty import certainty_in

FOLLOW_UP = 90_000  # bytes of a config or a log; the lists refuse mails over 100,000
TITLE = 90  # characters of a subject's own part


@dataclass(frozen=True)
class Letter:
    """All that a draft is made of. ``sender``: who will send it; ``signature``: lines below ``-- ``."""

    facts: Facts
    thread: Thread = NEW
    people: People = NOBODY
    fixed: FixStatus = UNKNOWN
    sender: Address | None = None
    signature: str = ""
    version: str = ""
    shipped: bool = True  # the recipe comes with bisector: its name is enough
    extra: tuple[Address, ...] = ()  # whom the sender named, whatever is claimed


@dataclass(frozen=True)
class Draft:
    """One mail. ``name``: of its file; ``data``: the whole .eml."""

    name: str
    subject: str
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    body: str
    data: bytes


def drafts(letter: Letter) -> tuple[Draft, ...]:
    """The report, then the answers to it that carry .config, kernel log and, where nobody else has it, the recipe."""
    text = body(letter)
    to, cc = recipients(letter)
    key = digest(letter.facts.campaign.id, text, [each.mail for each in (*to, *cc)])[:20]
    domain = letter.sender.mail.rpartition("@")[2] if letter.sender else "bisector.invalid"
    own = f"<{key}.0@{domain}>"
    parent = letter.thread.parent
    above = (*parent.references, parent.id) if parent else ()
    if parent and not parent.references and parent.in_reply_to:
        above = (parent.in_reply_to, parent.id)
    subject = subject_of(letter)
    made = [_draft("0-report.eml", letter, subject, own, above, text)]
    for number, (name, what, part) in enumerate(_follow_ups(letter), start=1):
        again = subject if subject.lower().startswith("re:") else f"Re: {subject}"
        said = f"{what}\n\n{part}\n"
        made.append(_draft(f"{number}-{name}.eml", letter, again, f"<{key}.{number}@{domain}>", (*above, own), said))
    return tuple(made)


def _draft(name: str, letter: Letter, subject: str, own: str, above: Sequence[str], text: str) -> Draft:
    to, cc = recipients(letter)
    headers = [
        ("From", compose.addresses([letter.sender] if letter.sender else [])),
        ("To", compose.addresses(to)),
        ("Cc", compose.addresses(cc)),
        ("Subject", compose.subject(subject)),
        ("Message-ID", own),
        ("In-Reply-To", above[-1] if above else ""),
        ("References", compose.ids(above)),
    ]
    return Draft(name, subject, to, cc, text, compose.message(headers, text))


# ---- headers -------------------------------------------------------------------------------------------------------


def recipients(letter: Letter) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    """(To, Cc): in an answer its parent's people stay, and ours join them; the sender writes to nobody twice."""
    people, parent = letter.people, letter.thread.parent
    claimed = _claims(letter.facts)
    to = people.to if claimed else ()
    cc = people.cc if claimed else ()
    if parent:
        to = unique((*parent.sender, *parent.to, *to))
        cc = unique((*parent.cc, *cc))
    found = People((*to, *letter.extra), cc).without([letter.sender.mail] if letter.sender else [])
    return (found.to, found.cc) if found.to else (found.cc, ())


def subject_of(letter: Letter) -> str:
    """``Re:`` and the parent's subject; else what regressed."""
    parent = letter.thread.parent
    if parent:
        subject = parent.subject or "(no subject)"
        return subject if re.match(r"(?i)re:", subject) else f"Re: {subject}"
    lead = "[REGRESSION] " if _claims(letter.facts) else ""
    return lead + title(letter.facts)


def title(facts: Facts) -> str:
    """What went wrong in one line, with the culprit's subsystem as its subject names it."""
    text = (one_line(facts.campaign.title) or f"{facts.campaign.recipe} fails")[:TITLE].rstrip()
    culprit = facts.outcome.culprit if facts.outcome and _claims(facts) else None
    area, colon, _ = culprit.subject.partition(": ") if culprit else ("", "", "")
    return f"{one_line(area)}: {text}" if colon and len(area) <= 30 and not text.startswith(area) else text


# ---- body ----------------------------------------------------------------------------------------------------------


def body(letter: Letter) -> str:
    """The report's text. Nothing in it but the block at its end is a command to regzbot."""
    facts, outcome = letter.facts, letter.facts.outcome
    assert outcome is not None
    parts: list[list[str]] = [wrap(symptom(facts, outcome))]
    parts += [_error(facts)] if _claims(facts) or outcome.kind is OutcomeKind.NOT_CONFIRMED else []
    parts += [
        _section(*_what_was_found(letter, outcome)),
        _section("Environment", environment(facts)),
        _section("To reproduce", reproduce(facts, letter.shipped)),
        _section("Ends tested", [line for end in _ends(outcome) for line in figures(end, facts)]),
        _section("Numbers", [line for one in outcome.numbers for line in wrap(one.summary)]),
        _section("What the steps printed", _printed(outcome)),
        _section("Is it fixed already?", [] if outcome.find_fix else fixed_lines(letter.fixed, facts)),
        _section("Bisect log", bisect_log(outcome.bisect_log, proven=outcome.kind is OutcomeKind.CULPRIT)),
        _section("Assumed", [line for each in outcome.assumptions for line in wrap(each, indent="  ", first="- ")]),
        _section("Not checked", not_checked(outcome, letter.fixed, facts.undecoded)),
        wrap(_automated(letter)),
    ]
    text = "\n\n".join("\n".join(part) for part in parts if part)
    block = regression.block(facts, letter.thread, title(facts)) if regression.of_kernel(facts) else ""
    # The empty line after the block stays its own: what a mail program adds there must not join the last command.
    closing = [defuse(text), *([block] if block else []), *([_signed(letter.signature)] if letter.signature else [])]
    return "\n\n".join(closing) + ("\n" if letter.signature else "\n\n")


def _section(name: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [name, "-" * len(name), *found] if found else []


def _signed(signature: str) -> str:
    lines = [line for text in signature.splitlines() for line in wrap(text) or [""]]
    return "\n".join(["-- ", *lines])


def _claims(facts: Facts) -> bool:
    return facts.outcome is not None and regression.claims(facts.outcome)


def symptom(facts: Facts, outcome: Outcome) -> str:
    """The first sentence; of an outcome that claims nothing it says so."""
    what = one_line(facts.campaign.title) or f"the recipe {facts.campaign.recipe} shows its failure"
    what = what[:1].upper() + what[1:]
    good, bad = regression.ends(facts)
    if outcome.find_fix and outcome.kind not in regression.CLAIMS:
        return (
            f'I looked for what fixed "{what}" between {bad} and {good} with an automated search, which did not find '
            "it: this mail names no fix."
        )
    if outcome.find_fix:
        fix = f"; {outcome.culprit} fixes it" if outcome.culprit else ""
        return f"{what} on {bad} and no longer on {good}{fix}."
    match outcome.kind:
        case OutcomeKind.CULPRIT:
            return f"{what} since {outcome.culprit}."
        case OutcomeKind.RANGE:
            return f"{what} on {bad}; {good} is good."
        case OutcomeKind.NARROWED:
            return f"{what} since one of {len(outcome.suspects)} commits between {good} and {bad}."
    return (
        f'I looked for "{what}" between {good} and {bad} with an automated search, which did not find where it came: '
        "this mail claims no regression and names no culprit."
    )


def _error(facts: Facts) -> list[str]:
    side = facts.bad
    if side is None or side.trial is None:
        return []
    reading = side.trial.reading
    said = f'Condition "{one_line(reading.condition)}": {one_line(reading.reason)}' if reading.condition else ""
    lines = _folded(side.excerpt)
    return [*lines, *([""] if lines and said else []), *(wrap(said) if said else [])]


def _folded(shown: Excerpt) -> list[str]:
    """The excerpt's lines as a mail's, ``LINES`` at most: where folding makes more of them, those farthest from the
    one that decided are left out."""
    folded = [fold(defuse(line)) for line in shown.lines]
    first, last = 0, len(folded)
    while sum(map(len, folded[first:last])) + (first > 0) + (last < len(folded)) > LINES and last - first > 1:
        if last - 1 - shown.focus > shown.focus - first:
            last -= 1
        else:
            first += 1
    lines = [piece for pieces in folded[first:last] for piece in pieces]
    before = [f"  [... {first} more above ...]"] if first else []
    return [*before, *lines, *([f"  [... {len(folded) - last} more below ...]"] if last < len(folded) else [])]


def _what_was_found(letter: Letter, outcome: Outcome) -> tuple[str, list[str]]:
    facts = letter.facts
    proof = [line for judgement in outcome.proof for line in figures(judgement, facts)]
    if outcome.kind is OutcomeKind.CULPRIT and outcome.culprit:
        lines = [*wrap(str(outcome.culprit), indent="  "), ""]
        proof += wrap(f"{sure}.", indent="  ") if (sure := certainty_in(outcome.summary)) else []
        if letter.fixed.upstream:
            lines[-1:-1] = wrap(f"Upstream commit: {letter.fixed.upstream}", indent="  ")
        edits = [edit.kind for judgement in outcome.proof for edit in judgement.candidate.edits]
        if not outcome.find_fix and EditKind.REVERT not in edits:
            proof += revert_untested()
        return of_outcome(outcome).heading, lines + proof
    if outcome.kind is OutcomeKind.NARROWED:
        listed = [line for commit in outcome.suspects[:20] for line in wrap(str(commit), indent="    ", first="  ")]
        more = len(outcome.suspects) - 20
        listed += [f"  and {more} more"] if more > 0 else []
        return of_outcome(outcome).set_heading, [*wrap(outcome.summary), "", *listed, *([""] if proof else []), *proof]
    if outcome.kind is OutcomeKind.RANGE:
        return "Range", [*wrap(outcome.summary), *([""] if proof else []), *proof]
    return "What the search says", [*wrap(outcome.summary), *([""] if proof else []), *proof]


def _printed(outcome: Outcome) -> list[str]:
    """Of a trial of each end that did not differ, so that a reader sees what the recipe saw."""
    lines = []
    for step in printed.of_outcome(outcome):
        lines += wrap(step.head, indent="    ", first="  ")
        lines += [piece for line in step.lines for piece in fold(f"    {defuse(line)}")]
    return lines


def _ends(outcome: Outcome) -> tuple[Judgement, ...]:
    return tuple(filter(None, (outcome.good, outcome.bad)))


def _automated(letter: Letter) -> str:
    who = letter.sender.name or letter.sender.mail if letter.sender else "The sender of this mail"
    version = f" {letter.version}" if letter.version else ""
    if not regression.of_kernel(letter.facts):
        return (
            f"This report was written by bisector{version}, a program that bisects storage regressions by building and "
            f"trying each revision. {who} runs it and answers questions."
        )
    return (
        f"This report was written by bisector{version}, a program that bisects storage regressions by booting kernels "
        f"in virtual machines. {who} runs it and answers questions."
    )


# ---- the answers that carry config and log -------------------------------------------------------------------------


def _follow_ups(letter: Letter) -> list[tuple[str, str, str]]:
    """(name of the file, first line, text) of each."""
    facts = letter.facts
    found = []
    side = facts.bad if _claims(facts) else None
    if side and side.config:
        found.append(("config", f".config of the kernel at {side.judgement.candidate}:", _config(side.config)))
    if side and side.log and side.trial:
        what = f"Kernel log of trial {side.trial.number}, at {side.judgement.candidate} (bad):"
        found.append(("kernel-log", what, _middle_out(_clean(side.log))))
    if not letter.shipped:
        recipe = facts.campaign.source.splitlines()
        found.append(("recipe", f"The recipe {facts.campaign.recipe}:", _middle_out(_clean(recipe))))
    return [(name, "\n".join(wrap(what)), text) for name, what, text in found]


def _clean(lines: Iterable[str]) -> list[str]:
    """Lines as they are, but for what is not printable and what regzbot would hear."""
    return [defuse(printable(line)) for line in lines]


def _config(text: str) -> str:
    """The config; the options that are off left away where it is too long for a mail (olddefconfig knows them)."""
    lines = _clean(text.splitlines())
    if sum(len(line.encode()) + 1 for line in lines) <= FOLLOW_UP:
        return "\n".join(lines)
    return _middle_out([line for line in lines if not line.startswith("#")])


def _middle_out(lines: Sequence[str]) -> str:
    """The beginning and the end of a text that is too long, the end twice as much."""
    size = sum(len(line.encode()) + 1 for line in lines)
    if size <= FOLLOW_UP:
        return "\n".join(lines)
    head, tail = _fitting(lines, FOLLOW_UP // 3), _fitting(lines[::-1], FOLLOW_UP * 2 // 3)[::-1]
    left = len(lines) - len(head) - len(tail)
    return "\n".join([*head, f"[... {left} lines left out ...]", *tail])


def _fitting(lines: Sequence[str], space: int) -> list[str]:
    kept = []
    for line in lines:
        space -= len(line.encode()) + 1
        if space < 0:
            break
        kept.append(line)
    return kept
