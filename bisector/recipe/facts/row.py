# SPDX-License-Identifier: GPL-2.0-only
"""What is known of one fact of a condition: its grammar, and how a trial is searched for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from bisector.model import Fact, FactKind, Observation
from bisector.recipe.facts.expect import Expect


class Key(Enum):
    """What stands before the value of a fact: ``exit: {KEY: 0}``."""

    MACHINE = auto()  # vm or guest
    VM = auto()  # vm
    GUEST = auto()  # guest
    STEP = auto()  # the name of a step
    STEP_OR_MACHINE = auto()  # the name of a step, or vm or guest for all steps in there
    LAYER = auto()  # the name of a layer of the VM or of the guest


class StepRequirement(Enum):
    """Which steps must have worked for a condition with that fact to say anything (docs/recipes.md, Conditions)."""

    NO_STEP = auto()  # it has happened, whatever the steps ended with
    ITS_STEP = auto()  # all steps before its own
    ITS_STEP_IF_GOOD = auto()  # as above in a good condition, no step in a bad one
    ALL_IF_NEGATED = auto()  # the whole workload where it must not be seen, else no step
    STEPS_BEFORE_LAST = auto()  # all but the last step that began


class WorkEvidence(Enum):
    """When a good condition may rest on that fact alone: the fact shows that the workload did something."""

    ALWAYS = auto()
    UNLESS_NEGATED = auto()
    NEVER = auto()


@dataclass(frozen=True)
class Subject:
    """The step or the layer that a fact is about.

    Args:
        name: its name in the recipe.
        kind: a step's verb, or a layer's kind.
        type: a layer's type, "" of a step.
        good: all values that the good conditions give to this fact of it.
        inside: whether it is in the inner guest.
    """

    name: str
    kind: str
    type: str = ""
    good: frozenset[object] = frozenset()
    inside: bool = False


@dataclass(frozen=True)
class Finding:
    """What a trial shows of one fact.

    Args:
        seen: True where one of the fact's values was found, False where none was, None where the trial cannot show it.
        reason: what showed it, for people; "" where a summary of all facts says as much.
        at: seconds, the time of the console's line that showed it; None where no console did.
        number: the one that was compared; None where the fact has none, or the trial did not show it.
        lost: what it looks for may stand in what was not kept. A trial of which a bad condition says so is not good.
    """

    seen: bool | None
    reason: str = ""
    at: float | None = None
    number: float | None = None
    lost: bool = False


UNKNOWN = Finding(None)
LOST = Finding(None, lost=True)

ValueFaults = Callable[[Sequence[Any]], Iterator[tuple[int | None, str]]]
"""What is wrong with values that the grammar let pass: index of the one (None: all of them together), message."""


@dataclass(frozen=True)
class Row:
    """One fact of a condition.

    Args:
        kind: the fact; its value is the key of the recipe.
        key: what stands before its value.
        expect: the type of its value; it parses it and gives its JSON schema.
        evaluate: whether a trial shows the fact's values (``negate`` is the caller's to turn round). Of a watched fact
            the observation holds the console's lines of that fact's watch, and no others.
        rests_on: which steps must have worked.
        shows_work: whether a good condition may rest on it alone.
        value_faults: what is wrong with its values.
        misfit: why a recipe cannot have it of that step or layer, "" where it can.
        expressions: whether its values are regular expressions.
        watched: whether the plan carries it as a watch of a console.
        names_crash: whether a crash that it is seen in is the recipe's own, and so not another failure.
        names_hang: the same of what the kernel says of a hang (a blocked task, a processor that is stuck).
        needs_deadline: whether a trial that reaches its deadline is what it looks for, so that none is shortened.
        negated_names_failure: whether ``not:`` of it names a failure of the step too: ``exit: {race: {not: 0}}``.
        named: whether names stand before its values: ``value: {STEP: {NAME: '> 3'}}``; each is a fact of its own.
        name_faults: what is wrong with such a name, "" for nothing.
        absence: whether such a fact says that something was not seen, and so rests on the whole workload.
        output: bytes of a step's output that it is looked for in; 0: what is kept of each (agent/command.py).
        explains_fault: whether a storage that could not be built is what it looks for, and so no other failure.
    """

    kind: FactKind
    key: Key
    expect: type[Expect[Any]]
    evaluate: Callable[[Fact, Observation], Finding]
    rests_on: StepRequirement
    shows_work: WorkEvidence
    value_faults: ValueFaults = lambda values: iter(())
    misfit: Callable[[Subject], str] = lambda subject: ""
    expressions: bool = False
    watched: bool = False
    names_crash: bool = False
    names_hang: bool = False
    needs_deadline: bool = False
    negated_names_failure: bool = False
    named: bool = False
    name_faults: Callable[[str], str] = lambda name: ""
    absence: Callable[[Fact], bool] = lambda fact: fact.negate
    output: int = 0
    explains_fault: bool = False
