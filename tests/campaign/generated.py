# SPDX-License-Identifier: GPL-2.0-only
"""Generated histories for whole campaigns: a graph, a bug somewhere in it, and what each tree holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from tests.campaign.acting import World, traits
from tests.search.planted import Planned

COMMITS = (6, 40)
BROKEN, PANICS = 0.20, 0.08
MERGES, OCTOPUS = 0.25, 0.2  # part of the commits that merge; part of the merges that have three or four parents
RECENT = 6  # a commit stands on one of so many before it
EDITS = {
    "": (),
    "apply does not build": (("broken.unless.helper", "1"),),
    "apply does not boot": (("panics.unless.helper", "1"),),
    "apply does not show": (("bug.if.helper", "1"),),
    "apply conflicts": (("context", "as the culprit has it"),),
    "revert conflicts": (),
    "revert does not build": (),
    "revert does not boot": (),
}
"""What is wrong with the culprit's own edits, and what the culprit's commit holds besides the bug for it."""


@dataclass
class Made:
    """One generated history.

    Args:
        plan: its commits, in order.
        good, bad: names of the ends; with ``find_fix`` the bad one is the older.
        bugs: names of the commits whose kernel has the bug.
        odd: the bug did not simply come once: no outcome but a wrong one is a fault.
        words: what is special about it.
    """

    plan: list[Planned]
    good: str
    bad: str
    bugs: set[str]
    find_fix: bool = False
    first_parent: bool = False
    fixed_trials: bool = False
    odd: bool = False
    world: World = field(default_factory=World)
    words: list[str] = field(default_factory=list)

    @property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """Of each commit."""
        return {commit.name: commit.parents for commit in self.plan}

    @property
    def answers(self) -> set[str]:
        """The commits that may be named as culprit: those that changed what all their parents were."""
        return {name for name in self.parents if self._turned(name, all)}

    @property
    def suspects(self) -> set[str]:
        """The commits of which a narrowed set must hold one. Where a branch never had the bug, a fix may merge it."""
        return (
            {name for name in self.parents if self._turned(name, any)} if self.find_fix and self.odd else self.answers
        )

    def _turned(self, name: str, how: Callable[[Iterable[bool]], bool]) -> bool:
        parents = self.parents[name]
        if self.find_fix:
            return name not in self.bugs and bool(parents) and how(parent in self.bugs for parent in parents)
        return name in self.bugs and how(parent not in self.bugs for parent in parents)


class _Maker:
    """Draws one history. The graph first, then where the bug is, then what each tree holds."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(f"history {seed}")
        self.parents: dict[str, tuple[str, ...]] = {}
        self.words: list[str] = []

    def made(self) -> Made:
        """The history."""
        draw = self.draw
        self._graph(draw.randint(*COMMITS))
        end, old = list(self.parents)[-1], self._older_end()
        find_fix, bugs, culprit, fix = draw.random() < 0.2, set[str](), "", ""
        if find_fix:
            culprit, fix = self._came(old), self._between(old, end)
            self.words.append(f"fixed by {fix}, came with {culprit}")
        else:
            culprit, fix = self._between(old, end), ""
            if draw.random() < 0.1:
                culprit, fix = self._came_and_went(old, end) or (culprit, "")
            self.words.append(f"came with {culprit}" + f", went with {fix} before {old}" * bool(fix))
        bugs = {name for name in self.parents if self._has(name, culprit) and not (fix and self._has(name, fix))}
        odd = bool(fix) and not find_fix
        if not find_fix and draw.random() < 0.05:
            odd = self._evil_merge(bugs, old, end) or odd
        good, bad = (end, old) if find_fix else (old, end)
        wrong = draw.choice(list(EDITS)) if draw.random() < 0.6 else ""
        plan = self._trees(bugs, culprit if not find_fix else "", old, end, wrong)
        made = Made(plan, good, bad, self._real(plan), find_fix, odd=odd, words=self.words)
        made.odd |= made.bugs != bugs or (find_fix and culprit != "c0")
        made.first_parent, made.fixed_trials = draw.random() < 0.15, draw.random() < 0.15
        rate = 1.0 if made.fixed_trials else draw.choice([1.0, 1.0, 0.7])
        made.world = World(rate=rate, other=draw.choice([0.0, 0.0, 0.05]))
        traits_ = ["find fix"] * find_fix + ["first parent"] * made.first_parent + ["fixed trials"] * made.fixed_trials
        self.words += [f"{good}..{bad}", *traits_, wrong, f"rate {rate}", f"other {made.world.other}", "odd" * made.odd]
        return made

    # ---- the graph

    def _graph(self, count: int) -> None:
        draw, childless = self.draw, ["c0"]
        self.parents["c0"] = ()
        for number in range(1, count):
            recent = list(self.parents)[-RECENT:]
            heads = [name for name in childless if name in recent]
            parents = [draw.choice(recent)]
            if draw.random() < MERGES and len(heads) > 1:
                most = draw.choice([3, 4]) if draw.random() < OCTOPUS else 2
                parents = draw.sample(heads, min(most, len(heads)))
            self._add(f"c{number}", parents, childless)
        number = 0
        while len(childless) > 1:
            heads = childless[: draw.choice([2, 2, 3, 4])]
            self._add(f"m{number}", heads, childless)
            number += 1
        self._add("end", childless[:], childless)

    def _add(self, name: str, parents: Sequence[str], childless: list[str]) -> None:
        self.parents[name] = tuple(parents)
        childless[:] = [*(head for head in childless if head not in parents), name]

    def _older_end(self) -> str:
        """An early commit, or one on top of it that the newer end does not hold."""
        names = list(self.parents)
        early = self.draw.choice(names[: max(1, len(names) // 3)])
        if self.draw.random() < 0.7:
            return early
        above = early
        end = self.parents.pop("end")
        for number in range(self.draw.randint(1, 4)):
            self.parents[f"g{number}"] = (above,)
            above = f"g{number}"
        self.parents["end"] = end
        return above

    def _held(self, name: str) -> set[str]:
        found, todo = set(), [name]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo.extend(self.parents[one])
        return found

    def _has(self, name: str, commit: str) -> bool:
        return commit in self._held(name)

    # ---- where the bug is

    def _between(self, old: str, end: str) -> str:
        return self.draw.choice(sorted(self._held(end) - self._held(old)))

    def _came(self, old: str) -> str:
        """For a fix: mostly the bug is as old as the history."""
        return "c0" if self.draw.random() < 0.8 else self.draw.choice(sorted(self._held(old)))

    def _came_and_went(self, old: str, end: str) -> tuple[str, str] | None:
        """A culprit and a fix that the older end both holds; the newer end holds the culprit alone."""
        culprits = sorted(self._held(old) & self._held(end))
        fixes = sorted(self._held(old) - self._held(end))
        pairs = [(one, other) for one in culprits for other in fixes if self._has(other, one) and one != other]
        return self.draw.choice(pairs) if pairs else None

    def _evil_merge(self, bugs: set[str], old: str, end: str) -> bool:
        """A merge brings the bug although none of its parents has it; so it is there in what holds that merge."""
        merges = [
            name for name in self._held(end) - self._held(old) if len(self.parents[name]) > 1 and name not in bugs
        ]
        if not merges:
            return False
        merge = self.draw.choice(sorted(merges))
        bugs |= {name for name in self.parents if self._has(name, merge)}
        self.words.append(f"evil merge {merge}")
        return True

    # ---- what each tree holds

    def _trees(self, bugs: set[str], culprit: str, old: str, end: str, wrong: str) -> list[Planned]:
        draw, trees, plan = self.draw, {}, []
        ends = {old, end} if draw.random() < 0.95 else {old}
        runs = self._runs() if draw.random() < 0.4 else None
        flag_file = "bug.if.helper" if culprit and wrong == "apply does not show" else "bug"
        for name, parents in self.parents.items():
            tree: dict[str, str] = {}
            for parent in parents:
                tree |= trees[parent]
            wanted = {flag: content for flag, content in tree.items() if flag not in (flag_file, "broken", "panics")}
            if name in bugs:
                wanted[flag_file] = tree.get(flag_file, "1")
            if name not in ends and (draw.random() < BROKEN if runs is None else name in runs):
                wanted["broken"] = "1"
            if name not in ends and draw.random() < PANICS:
                wanted["panics"] = "1"
            self._edits(name, wanted, culprit, old, end, wrong)
            changed = {flag: content for flag, content in wanted.items() if tree.get(flag) != content}
            gone = dict.fromkeys(tree.keys() - wanted.keys())
            trees[name] = wanted
            plan.append(Planned(name, parents, tuple({**changed, **gone}.items())))
        return plan

    def _runs(self) -> set[str]:
        """Commits that hold one that broke the build and not yet one that fixes it: long runs."""
        broke = self.draw.choice(list(self.parents))
        fixes = self.draw.sample(list(self.parents), min(3, len(self.parents)))
        return {
            name for name in self.parents if self._has(name, broke) and not any(self._has(name, one) for one in fixes)
        }

    def _edits(self, name: str, wanted: dict[str, str], culprit: str, old: str, end: str, wrong: str) -> None:
        """What is wrong with the culprit's edits lies in its commit, in those before it and in those after it."""
        if not culprit:
            return
        before = self._has(culprit, name) and name != culprit and name not in self._held(old)
        after = self._has(name, culprit) and name != culprit
        if name == culprit:
            wanted.update(EDITS[wrong])
        if before or self._has(name, culprit):
            wanted.update({"helper": "1"} if "apply" in wrong else {})
        if before and wrong == "apply conflicts":
            wanted["context"] = "as the culprit found it"
        if after and wrong == "revert conflicts" and "bug" in wanted:
            wanted["bug"] = "more of it"
        if after and wrong == "revert does not build":
            wanted["broken.unless.bug"] = "1"
        if after and wrong == "revert does not boot":
            wanted["panics.unless.bug"] = "1"

    @staticmethod
    def _real(plan: list[Planned]) -> set[str]:
        """The commits whose kernel has the bug, by their trees."""
        trees: dict[str, dict[str, str]] = {}
        for commit in plan:
            tree: dict[str, str] = {}
            for parent in commit.parents:
                tree |= trees[parent]
            for path, content in commit.files:
                tree.pop(path, None)
                if content is not None:
                    tree[path] = content
            trees[commit.name] = tree
        return {name for name, tree in trees.items() if "bug" in traits(tree)}


def made(seed: int, rate: float = 0.0) -> Made:
    """The history of a seed, always the same.

    Args:
        rate: at which its bug reproduces, in place of the one that was drawn; 0: that one. A fixed number of trials is
            for a bug that always does, so another rate takes it away.
    """
    history = _Maker(seed).made()
    if rate:
        history.world = replace(history.world, rate=rate)
        history.fixed_trials &= rate == 1.0
        history.words.append(f"rate in place of it {rate}")
    return history
