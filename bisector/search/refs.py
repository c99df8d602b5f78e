# SPDX-License-Identifier: GPL-2.0-only
"""What the refs of a repository say about a commit: its message, who names it later, which releases hold it.

Only refs at hand are looked at; nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bisector.search.gitrepo import History

EVERYWHERE = ("--branches", "--tags", "--remotes")
NAMED_BY = 8  # digits by which messages are searched; each hit is then compared in full

_REVERT = re.compile(  # a stable series names its own commit first, then mainline's: "... which is commit X upstream."
    r"^This reverts commit ([0-9a-f]{7,40})(?:[,\s(]+(?:which (?:is|was)\s+)?(?:upstream )?commit\s+([0-9a-f]{7,40}))?",
    re.MULTILINE,
)
_FIXES = re.compile(r"^Fixes:\s+([0-9a-f]{7,40})", re.MULTILINE | re.IGNORECASE)
_UPSTREAM = re.compile(
    r"^(?:commit ([0-9a-f]{40}) upstream\.?|\[ Upstream commit ([0-9a-f]{40}) \]|"
    r"\(cherry picked from commit ([0-9a-f]{40})\))\s*$",
    re.MULTILINE | re.IGNORECASE,
)


class MentionKind(StrEnum):
    """How a commit's message names another commit."""

    FIXES = "fixes"
    REVERT = "revert"
    BACKPORT = "backport"  # it is the same change in a stable series


@dataclass(frozen=True)
class Mention:
    """A commit that names another."""

    oid: str
    subject: str
    kind: MentionKind


def message(history: History, oid: str) -> str:
    """A commit's whole message. Raises InfraError when it is not there."""
    return history.query("rev_list", "--no-walk", "--no-commit-header", "--encoding=UTF-8", "--format=%B", oid, "--")


def upstream(text: str) -> str | None:
    """Id of the mainline commit of which a message says that it carries it, None when it says none."""
    found = _UPSTREAM.search(text)
    return next(filter(None, found.groups()), None) if found else None


def mentions(history: History, names: tuple[str, ...], *, since: str) -> tuple[Mention, ...]:
    """Commits on any ref, and not before ``since``, whose message names one of ``names`` (40 digits each) by a
    ``Fixes:`` line, as reverted, or as its upstream commit. Newest first.

    A stable series fixes its own backport by that one's id, so backports that are found are looked for too.
    """
    found = _naming(history, names, names, since)
    backports = tuple(mention.oid for mention in found if mention.kind is MentionKind.BACKPORT)
    return _naming(history, names, (*names, *backports), since) if backports else found


def _naming(history: History, own: tuple[str, ...], names: tuple[str, ...], since: str) -> tuple[Mention, ...]:
    """Commits that name one of ``names``, without those of ``own``."""
    greps = [f"--grep={name[:NAMED_BY]}" for name in names]
    form = ["--no-commit-header", "--encoding=UTF-8", "--format=%H%x00%s%x00%B%x00"]
    printed = history.query("rev_list", *form, "--fixed-strings", *greps, *EVERYWHERE, f"^{since}", "--")
    fields = printed.split("\0")
    found = zip(*[iter(fields)] * 3, strict=False)
    return tuple(
        Mention(oid.strip(), subject, kind)
        for oid, subject, body in found
        if (kind := _kind(body, names)) and oid.strip() not in own
    )


def _kind(body: str, names: tuple[str, ...]) -> MentionKind | None:
    if any(_named(each, names) for pair in _REVERT.findall(body) for each in pair if each):
        return MentionKind.REVERT
    if any(_named(each, names) for each in _FIXES.findall(body)):
        return MentionKind.FIXES
    return MentionKind.BACKPORT if upstream(body) in names else None


def _named(digits: str, names: tuple[str, ...]) -> bool:
    return any(name.startswith(digits.lower()) for name in names)


def tags(history: History, *, contains: str = "") -> dict[str, str]:
    """Tags of kernels and linux-next → commit id; only those that hold ``contains`` when it is given."""
    narrowed = [f"--contains={contains}"] if contains else []
    # Not refname:short, which says tags/v6.18 where there is a branch of that name too.
    form = "--format=%(refname:lstrip=2)%00%(objectname)%00%(*objectname)"
    printed = history.query("for_each_ref", form, *narrowed, "refs/tags/v*", "refs/tags/next-*")
    return {name: peeled or oid for name, oid, peeled in _triples(printed)}


def tips(history: History) -> dict[str, str]:
    """Branches that mainline goes by, local and remote → commit id."""
    form = "--format=%(refname:short)%00%(objectname)%00"
    names = [f"refs/{where}/{name}" for where in ("heads", "remotes/*") for name in ("master", "main")]
    printed = history.query("for_each_ref", form, *names)
    return {name: oid for name, oid, _ in _triples(printed)}


def branches(history: History, oid: str) -> tuple[str, ...]:
    """Branches, local and remote, that hold a commit."""
    form = "--format=%(refname:short)"
    return _names(history.query("for_each_ref", form, f"--contains={oid}", "refs/heads", "refs/remotes"))


def _names(printed: str) -> tuple[str, ...]:
    """Names of refs, a line each. They may hold what Python takes for a blank or for the end of a line (U+2028)."""
    return tuple(filter(None, printed.split("\n")))


def _triples(printed: str) -> Iterator[tuple[str, str, str]]:
    for line in _names(printed):
        name, _, rest = line.partition("\0")
        oid, _, peeled = rest.partition("\0")
        yield name, oid, peeled
