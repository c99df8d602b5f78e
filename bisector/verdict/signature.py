# SPDX-License-Identifier: GPL-2.0-only
"""Observation → signal: what a trial saw, read against the recipe's conditions. Pure.

The order is law: whichever came first of a bad console line and a foreign crash; infra; other bad facts;
``good_when``; else ``other_failure``. A condition about a step says something only where the workload got there, so it
does not count behind an earlier step that failed in a way that the recipe does not name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from bisector.agent.plan import LEFT_OUT, StepFacts
from bisector.causes import HANGS
from bisector.model import (
    Condition,
    ConsoleEvent,
    Ending,
    EventKind,
    Fact,
    Observation,
    Question,
    Reading,
    Signal,
)
from bisector.recipe.facts.console import untimed
from bisector.recipe.facts.hang import asks_for_hang
from bisector.recipe.facts.number import NUMBERS
from bisector.recipe.facts.row import Finding, Row, StepRequirement
from bisector.recipe.facts.step import failed
from bisector.recipe.facts.table import ROWS

HARNESS_STAGES = ("plan", "tools")
"""Stages of an agent's fault that are the harness's own; a layer or a guest that cannot be made may be the kernel's."""

LOST_WORDS = "gave more than is kept, and what a bad condition looks for may stand in the rest; let it print less"

TEXT = 160
"""Characters of a program's words in a reason."""


def read(observation: Observation, question: Question) -> Reading:
    """The signal of one trial.

    Args:
        observation: what the trial saw; ending CANCELLED has no signal and is the caller's to handle.
        question: the recipe's conditions.
    """
    crash = _foreign_crash(observation, question)
    console = _first_bad_console(observation, question)
    if console and (crash is None or console[0] <= crash.at):
        return Reading(Signal.REPRODUCED, console[1].name, _reason(console[1], observation))
    if crash:
        fingerprint = crash.fingerprint or crash.name
        return Reading(Signal.OTHER_FAILURE, reason=f"crash: {untimed(crash.text)}", fingerprint=fingerprint)
    if infra := _infra(observation):
        return Reading(Signal.INFRA, reason=infra)
    for condition in question.bad:
        if holds(condition, observation) and _stopped_before(condition, observation, question) is None:
            return Reading(Signal.REPRODUCED, condition.name, _reason(condition, observation))
    return _clean_or_other(observation, question)


def holds(condition: Condition, observation: Observation) -> bool:
    """Whether every fact of the condition was seen. A fact that could not be seen holds neither way."""
    found = zip(condition.facts, findings(condition, observation), strict=True)
    return all(one.seen is not None and one.seen is not fact.negate for fact, one in found)


def reached_agent(observation: Observation) -> bool:
    """Whether the VM came as far as our agent; else a control boot shows whether it is kernel or harness.

    A trial that the harness failed shows its console only where the agent had begun.
    """
    return observation.result is not None or observation.ending is Ending.HARNESS


def _infra(observation: Observation) -> str:
    if observation.ending is Ending.HARNESS:
        return observation.detail or "the harness failed"
    fault = observation.result.fault if observation.result else None
    if fault and fault.stage in HARNESS_STAGES:
        return f"agent, {fault.stage}: {fault.message}"
    return ""


def _clean_or_other(observation: Observation, question: Question) -> Reading:
    if observation.ending is not Ending.FINISHED or not observation.result:
        return Reading(Signal.OTHER_FAILURE, reason=_why_unfinished(observation))
    fault = observation.result.fault
    if fault and not any(_explains(condition, observation) for condition in question.good):
        return Reading(Signal.OTHER_FAILURE, reason=f"{fault.stage}: {fault.message}")
    guest_crash = next((e for e in observation.console if e.kind is EventKind.CRASH), None)
    if guest_crash:
        return Reading(Signal.OTHER_FAILURE, reason=f"crash in the inner guest: {untimed(guest_crash.text)}")
    if where := _lost(observation, question):
        return Reading(Signal.OTHER_FAILURE, reason=f"{where}: {LOST_WORDS}", neither=True)
    numbers = [ROWS[fact.kind].evaluate(fact, observation) for fact in question.required]
    missing = next((fact for fact, found in zip(question.required, numbers, strict=True) if found.seen is None), None)
    for condition in question.good:
        if holds(condition, observation) and _stopped_before(condition, observation, question, good=True) is None:
            if missing:
                return Reading(Signal.OTHER_FAILURE, reason=_no_number(missing, observation), neither=True)
            given = "; ".join(filter(None, (found.reason for found in numbers)))
            return Reading(Signal.CLEAN, condition.name, given or _reason(condition, observation))
    return Reading(Signal.OTHER_FAILURE, reason=_why_neither(observation, question), neither=True)


def _lost(observation: Observation, question: Question) -> str:
    """What a bad condition speaks of that may have been in what was not kept; "" where nothing was left out of it."""
    for condition in question.bad:
        found = list(zip(condition.facts, findings(condition, observation), strict=True))
        lost = [fact.where for fact, one in found if one.lost]
        if lost and all(one.seen is not fact.negate for fact, one in found):
            return lost[0]
    return ""


def _no_number(fact: Fact, observation: Observation) -> str:
    """Why a trial of a condition that compares with the good end is neither bad nor good."""
    reason = ROWS[fact.kind].evaluate(fact, observation).reason
    if reason:
        return f"{reason}; it is compared with the good end's, which only a search among commits has"
    return f"{fact.where} gave no number{f' {fact.name}' if fact.name else ''}"


def _explains(condition: Condition, observation: Observation) -> bool:
    """Whether a storage that could not be built is what the condition looks for."""
    return any(row.explains_fault for _, row in _rows(condition)) and holds(condition, observation)


def _why_neither(observation: Observation, question: Question) -> str:
    for condition in (*question.bad, *question.good):
        if holds(condition, observation):
            stopped = _stopped_before(condition, observation, question, good=condition in question.good)
            if stopped is not None:
                return f"step {stopped.name} failed: {_ended(stopped)}"
    return "neither bad nor good: " + summarize(observation)


def _ended(step: StepFacts) -> str:
    """How a step ended, and the first line that it printed."""
    how = "it did not end" if not step.done else _code(step)
    said = next(filter(None, map(str.strip, step.detail.removeprefix(LEFT_OUT).splitlines())), "")
    return ": ".join(filter(None, (how, step.errno, said[:TEXT])))


def _code(step: StepFacts) -> str:
    """How a step came to its end: a pause or a reset of its guest leaves it without an exit code."""
    if step.exit is not None:
        return f"exit {step.exit}"
    return "cut off" if step.done else ""


def _why_unfinished(observation: Observation) -> str:
    if not reached_agent(observation):
        return "the VM never reached the agent" + (f": {observation.detail}" if observation.detail else "")
    where = next((s.name for s in observation.result.steps if not s.done), "") if observation.result else ""
    inside = f" in step {where}" if where else ""
    if observation.result and not observation.result.steps:
        inside = " before the first step"
    words = {
        Ending.DEADLINE: f"the deadline passed{inside}",
        Ending.VM_GONE: f"the VM ended by itself{inside}",
        Ending.CRASH: f"crash{inside}",
        Ending.DECISIVE: f"ended at a console line that no condition takes{inside}",
    }
    return words.get(observation.ending, f"ended as {observation.ending}") + (
        f": {observation.detail}" if observation.detail else ""
    )


def summarize(observation: Observation) -> str:
    """The facts of a trial in one line for people."""
    if not observation.result:
        return "no facts"
    steps = [
        f"{step.name}: {', '.join(filter(None, (_code(step), step.errno, *step.blocks)))}"
        for step in observation.result.steps
    ]
    health = [f"{layer.name} {layer.health}" for layer in observation.result.layers if layer.health not in ("", "none")]
    return "; ".join(steps + health) or "no facts"


# ---- facts ---------------------------------------------------------------------------------------------------------


def findings(condition: Condition, observation: Observation) -> Iterator[Finding]:
    """What the trial shows of each fact, in their order (recipe/facts)."""
    for index, fact in enumerate(condition.facts):
        row = ROWS[fact.kind]
        if not row.watched:
            yield row.evaluate(fact, observation)
            continue
        watch = condition.watch_name(index)
        lines = tuple(event for event in observation.console if event.kind is EventKind.WATCH and event.name == watch)
        yield row.evaluate(fact, dataclasses.replace(observation, console=lines))


def _rows(condition: Condition) -> Iterator[tuple[Fact, Row]]:
    return ((fact, ROWS[fact.kind]) for fact in condition.facts)


# ---- how far the workload got -------------------------------------------------------------------------------------


def _stopped_before(
    condition: Condition, observation: Observation, question: Question, *, good: bool = False
) -> StepFacts | None:
    """The step that failed, in a way that the recipe does not name, before what the condition is about; or None."""
    steps = observation.result.steps if observation.result else ()
    own = set() if good else {fact.where for fact in condition.facts}  # a bad condition speaks of its own steps
    last = _last_named(condition, steps, good=good)
    beside = steps[last].group if last >= 0 else ""  # none of these is before another: each counts for all of them
    before = [step for index, step in enumerate(steps) if index <= last or (beside and step.group == beside)]
    others = (s for s in before if s.name not in own and not (own and _same_end(s, condition, steps)))
    return next((s for s in others if failed(s) and not _named(s, observation, question)), None)


def _same_end(step: StepFacts, condition: Condition, steps: Sequence[StepFacts]) -> bool:
    """Whether a step met what one beside it met, of which a bad condition speaks: QEMU's end by a signal, a hang."""
    if not step.group:
        return False
    hangs = any(row.rests_on is StepRequirement.STEPS_BEFORE_LAST for _, row in _rows(condition))
    if hangs and step.group == steps[-1].group and not step.done and step.exit is None:
        return True
    own = {fact.where for fact in condition.facts}
    beside = (one for one in steps if one.group == step.group and one.name in own)
    return step.exit is not None and step.exit < 0 and any(one.exit == step.exit for one in beside)


def _last_named(condition: Condition, steps: Sequence[StepFacts], *, good: bool) -> int:
    """Index of the last step that the condition's facts rest on, -1 where they rest on none."""
    facts = [(fact, row.rests_on) for fact, row in _rows(condition)]
    on_its_step = {StepRequirement.ITS_STEP, StepRequirement.ITS_STEP_IF_GOOD} if good else {StepRequirement.ITS_STEP}
    named = {fact.where for fact, rests_on in facts if rests_on in on_its_step}
    on_all = any(row.absence(fact) and row.rests_on is StepRequirement.ALL_IF_NEGATED for fact, row in _rows(condition))
    hangs = [fact for fact, rests_on in facts if rests_on is StepRequirement.STEPS_BEFORE_LAST]
    if good:  # one that names no step rests on the whole workload
        on_all = on_all or not named or any(fact.where in ("vm", "guest") for fact in hangs)
        named |= {fact.where for fact in hangs}
    elif any(map(asks_for_hang, hangs)) or (hangs and not on_all):
        hung_beside = bool(steps) and bool(steps[-1].group)
        return len(steps) - 1 if hung_beside else len(steps) - 2  # the one that hangs is the last
    if on_all:
        return len(steps) - 1
    return max((index for index, step in enumerate(steps) if step.name in named), default=-1)


def _named(step: StepFacts, observation: Observation, question: Question) -> bool:
    """Whether a condition of the recipe, bad or good, speaks of what the step ended with."""
    for condition in (*question.bad, *question.good):
        for fact, row in _rows(condition):
            if fact.where != step.name or row.rests_on is not StepRequirement.ITS_STEP:
                continue
            if (fact.negate and not row.negated_names_failure) or fact.kind in NUMBERS:
                continue  # a number says nothing of how it ended
            seen = row.evaluate(fact, observation).seen
            if seen is not None and seen is not fact.negate:
                return True
    return False


# ---- console lines and crashes, by time ----------------------------------------------------------------------------


def _first_bad_console(observation: Observation, question: Question) -> tuple[float, Condition] | None:
    """The earliest bad condition that holds by a line of a console (a watch, or a crash that the recipe names)."""
    found = []
    for condition in question.bad:
        times = _console_times(condition, observation)
        if times and holds(condition, observation):
            found.append((max(times), condition))
    return min(found, key=lambda pair: pair[0]) if found else None


def _console_times(condition: Condition, observation: Observation) -> list[float]:
    pairs = zip(condition.facts, findings(condition, observation), strict=True)
    return [found.at for fact, found in pairs if found.at is not None and not fact.negate]


def _foreign_crash(observation: Observation, question: Question) -> ConsoleEvent | None:
    """The first crash of the kernel under test that is in no bad condition which holds.

    One that asks for more than the crash (a line of its trace) and did not see it names another crash.
    """
    facts = [pair for one in question.bad if holds(one, observation) for pair in _rows(one)]
    naming = [(fact, row) for fact, row in facts if not fact.negate]
    for event in observation.console:
        if event.kind is EventKind.CRASH and event.where == "vm":
            alone = dataclasses.replace(observation, console=(event,))
            its = [pair for pair in naming if pair[1].names_crash or (pair[1].names_hang and event.name in HANGS)]
            if not any(row.evaluate(fact, alone).seen for fact, row in its):
                return event
    return None


def _reason(condition: Condition, observation: Observation) -> str:
    reasons = (found.reason for found in findings(condition, observation))
    return next(filter(None, reasons), "") or summarize(observation)
