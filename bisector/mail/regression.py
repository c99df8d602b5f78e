# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign's outcome allows a mail to claim, and which regzbot block fits the thread it goes to. Pure."""

from __future__ import annotations

import re

from bisector.mail import regzbot
from bisector.mail.thread import State, Thread
from bisector.model import Candidate, Commit, Outcome, OutcomeKind, TargetKind
from bisector.report.facts import Facts

CLAIMS = (OutcomeKind.CULPRIT, OutcomeKind.NARROWED, OutcomeKind.RANGE)
"""Outcomes that say when a regression came; of the others nothing is claimed."""

SHORTEST_ID = 8  # digits of a commit id that regzbot takes

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-~]rc(\d+))?(?![\w.])")
_TAG = re.compile(r"v\d+\.\d+(\.\d+)?(-rc\d+)?|next-\d{8}")
_HEX = re.compile(rf"[0-9a-f]{{{SHORTEST_ID},40}}")


def claims(outcome: Outcome) -> bool:
    """Whether a regression may be reported: an outcome that names where it came, and no search for a fix."""
    return outcome.kind in CLAIMS and not outcome.find_fix


def of_kernel(facts: Facts) -> bool:
    """Whether it is the kernel that regressed: its lists and regzbot take nothing else."""
    outcome = facts.outcome
    tried = outcome.bad.candidate if outcome and outcome.bad else facts.bad.judgement.candidate if facts.bad else None
    return tried is None or tried.target is not TargetKind.QEMU_SOURCE


def version(text: str) -> tuple[int, int, int, int] | None:
    """A kernel's version as numbers that compare: ``v6.18-rc2`` is before ``v6.18``. None for anything else."""
    found = _VERSION.match(text)
    if not found:
        return None
    major, minor, patch, candidate = (int(part) if part else 0 for part in found.groups())
    return major, minor, patch, candidate if found[4] else 1 << 30


def stable_series(facts: Facts) -> str:
    """The stable series that the bad end belongs to, as ``6.18``; "" for mainline and for what shows no version."""
    outcome = facts.outcome
    names = [str(outcome.bad.candidate.label or outcome.bad.candidate.revision)] if outcome and outcome.bad else []
    if facts.bad and facts.bad.image:
        names.append(facts.bad.image.release)
    found = next(filter(None, map(version, names)), None)
    return f"{found[0]}.{found[1]}" if found and found[2] > 0 else ""


def revision(candidate: Candidate, oid: str) -> str:
    """A candidate as regzbot names it: its tag, the tag of its upstream release, or 12 digits.

    Of a given image the path is this host's alone, and the end as a person named it is another release.
    """
    if _TAG.fullmatch(candidate.label):
        return candidate.label
    given = candidate.target is TargetKind.GIVEN
    if (given or candidate.target is TargetKind.KERNEL_PACKAGE) and (
        found := version(candidate.label if given else candidate.revision)
    ):
        patch = f".{found[2]}" if found[2] else ""
        return f"v{found[0]}.{found[1]}{patch}" + (f"-rc{found[3]}" if found[3] < 1 << 30 else "")
    return "a-given-image" if given else oid[:12]


def ends(facts: Facts) -> tuple[str, str]:
    """Names of the good and the bad end without blanks."""
    outcome, row = facts.outcome, facts.campaign
    good = outcome.good.candidate if outcome and outcome.good else None
    bad = outcome.bad.candidate if outcome and outcome.bad else None
    return (
        revision(good, row.good or good.revision) if good else row.good[:12],
        revision(bad, row.bad or bad.revision) if bad else row.bad[:12],
    )


def introduced(facts: Facts) -> str:
    """What regzbot is to know: the culprit, or the range in which it lies; "" when nothing is claimed."""
    outcome = facts.outcome
    if outcome is None or not claims(outcome):
        return ""
    if outcome.kind is OutcomeKind.CULPRIT and outcome.culprit:
        return regzbot.commit(outcome.culprit.oid, outcome.culprit.subject)
    if outcome.kind is OutcomeKind.NARROWED and (found := _around(outcome.suspects)):
        return regzbot.span(*found)
    return regzbot.span(*ends(facts))


def _around(suspects: tuple[Commit, ...]) -> tuple[str, str] | None:
    """The range that holds exactly the suspects, when they are one line of history; 12 digits each."""
    inside = {suspect.oid for suspect in suspects}
    parents = {parent for suspect in suspects for parent in suspect.parents}
    heads, bases = inside - parents, parents - inside
    if len(heads) == len(bases) == 1 and all(suspect.parents for suspect in suspects):
        return bases.pop()[:12], heads.pop()[:12]
    return None


def block(facts: Facts, thread: Thread, title: str) -> str:
    """The regzbot block of a draft, "" for none.

    New: ``introduced`` and ``title``. An answer in a thread that is not tracked: ``^introduced``. In one that is, and
    for which this is news: ``introduced``. In one that knows it: nothing.
    """
    claimed = introduced(facts)
    if not claimed:
        return ""
    if thread.state is State.NEW:
        return regzbot.block(claimed, title=title)
    if thread.state is State.UNTRACKED:
        return regzbot.block(claimed, parent=True)
    return "" if _known(thread.introduced, claimed, facts) else regzbot.block(claimed)


def _known(tracked: str, claimed: str, facts: Facts) -> bool:
    """Whether regzbot has it already, or something that says more."""
    outcome = facts.outcome
    if ".." not in tracked:
        one = tracked.lower()
        if outcome and outcome.kind is OutcomeKind.CULPRIT and outcome.culprit:
            return bool(_HEX.fullmatch(one)) and outcome.culprit.oid.startswith(one)
        return bool(_HEX.fullmatch(one))  # a commit says more than a set or a range; people see the difference
    if ".." not in claimed:
        return False
    if tracked == claimed:
        return True
    if outcome and outcome.kind is OutcomeKind.NARROWED and _around(outcome.suspects):
        return False
    return not _inside(claimed, tracked)


def _inside(claimed: str, tracked: str) -> bool:
    """Whether the range ``claimed`` lies within ``tracked``; False where their names do not compare."""
    mine = [version(end) for end in claimed.split("..", 1)]
    theirs = [version(end) for end in tracked.split("..", 1)]
    if None in mine or None in theirs:
        return False
    return bool(theirs[0] <= mine[0] and mine[1] <= theirs[1])  # type: ignore[operator]


def contradicts(facts: Facts, thread: Thread) -> bool:
    """Whether regzbot has another commit than what was found here; for a note to the person, who decides."""
    outcome = facts.outcome
    if outcome is None or not claims(outcome) or thread.state is not State.TRACKED:
        return False
    if not _HEX.fullmatch(thread.introduced.lower()):
        return False
    found = [outcome.culprit] if outcome.culprit else list(outcome.suspects)
    return bool(found) and not any(commit.oid.startswith(thread.introduced.lower()) for commit in found)
