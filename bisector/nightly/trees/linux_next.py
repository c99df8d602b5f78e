# SPDX-License-Identifier: GPL-2.0-only
"""linux-next: tagged anew every day, on the mainline state that the day found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from bisector.errors import InfraError, UsageError
from bisector.nightly.trees.clone import TreeClone
from bisector.nightly.trees.tree import Day
from bisector.search.gitrepo import OID

TAG = re.compile(r"next-\d{8}")
SHA1S = "Next/SHA1s"  # the trees that went into the day, in the order of merging; mainline is the first
MAINLINE = "refs/remotes/mainline/master"  # where reports look for the newest mainline at hand


def is_day(tag: str) -> bool:
    """Whether a tag is ``next-`` and a day that there is."""
    if not TAG.fullmatch(tag):
        return False
    try:
        date.fromisoformat(tag.removeprefix("next-"))
    except ValueError:
        return False
    return True


def _has_come(tag: str) -> bool:
    """Whether the day of a tag has come anywhere: it begins up to 14 hours before ours."""
    return date.fromisoformat(tag.removeprefix("next-")) <= datetime.now(UTC).date() + timedelta(days=1)


@dataclass(frozen=True)
class LinuxNext(TreeClone):
    """Our clone of linux-next."""

    name = "linux-next"
    base_tree = "mainline"
    replaced = False

    def newest(self) -> tuple[str, str]:
        """The newest day that the source has: its tag, and the id of its commit. Nothing is fetched.

        A tag of a day to come is a slip, and would hide all days until then; where every tag is one, it is this host's
        clock that is wrong.

        Raises InfraError when the source cannot be reached, UsageError when it has no such tag.
        """
        found: dict[str, str] = {}
        for oid, ref in self.listed("refs/tags/next-*"):
            name, peeled, _ = ref.removeprefix("refs/tags/").partition("^{}")
            if is_day(name) and (peeled or name not in found):
                found[name] = oid
        if not found:
            raise UsageError(f"{self.source} has no tag next-YYYYMMDD", hint="name a repository of linux-next")
        newest = max(filter(_has_come, found), default=max(found))
        return newest, found[newest]

    def fetch(self, tag: str) -> None:
        """Get one day and the releases; a tag that was moved is taken as it is now. Raises InfraError."""
        self.fetch_refs(f"refs/tags/{tag}", "refs/tags/v*")

    def day(self, tag: str) -> Day:
        """A day that was fetched. Raises InfraError when it does not say what it stands on."""
        history = self.history
        day = history.resolve(f"refs/tags/{tag}")
        listed = history.query("cat_file", "blob", f"{day.oid}:{SHA1S}", codes=(0, 128))
        hint = f"is {self.source} a linux-next? This day is left out; the next tag is tried when it is there"
        if not listed:
            raise InfraError(f"{tag} has no {SHA1S}, so that its base is not known", hint=hint)
        name, oid = _first(listed)
        if not oid:
            raise InfraError(f"{SHA1S} of {tag} names no commit", hint=hint)
        kind = history.query("cat_file", "-t", oid, codes=(0, 128))
        if kind != "commit" or not history.is_ancestor(oid, day.oid) or oid == day.oid:
            raise InfraError(f"{tag} does not stand on {oid[:12]}, which its {SHA1S} names first ({name})", hint=hint)
        return Day(tag, day, history.commit(oid), name)

    def pin(self, day: Day) -> None:
        """Keep the day and its base for ever, and name its base as the newest mainline at hand."""
        super().pin(day)
        self.git.run("update-ref", MAINLINE, day.base.oid)


def _first(text: str) -> tuple[str, str]:
    """Name and id of the first tree of the list, which begins with a heading: ``origin<TAB>...``."""
    for line in text.splitlines():
        match line.split():
            case [name, oid] if OID.fullmatch(oid):
                return name, oid
    return "", ""
