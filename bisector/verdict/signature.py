# SPDX-License-Identifier: GPL-2.0-only
"""Observation → signal: what a trial saw, read against the recipe's conditions. Pure.

The order is law: whichever came first of a bad console line and a foreign crash; infra; other bad facts;
``good_when``; else ``other_failure``. A condition about a step says something only where the workload got there, so it
does not count behind an earlier step that failed in a way that the recipe does not name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bisector.agent.plan import StepFacts
from bisector.model import (
    Condition,
    ConsoleEvent,
    Ending,
    Fact,
    FactKind,
    Observation,
    Question,
    Reading,
    Signal,
)

HARNESS_STAGES = ("plan", "tools")
"""Stages of an agent's fault that are the harness's own; a layer or a guest that cannot be made may be the kernel's."""

TEXT = 160
"""Characters of a program's words in a reason."""

FINDINGS = 3
"""So many blocks that are not as they were written stand in a reason; the rest in the trial's result."""

TIME_STAMP = re.compile(r"^\[\s*\d+\.\d+\]\s*(\[\s*[TC]\d+\]\s*)?")
"""printk's time, and the caller's id with CONFIG_PRINTK_CALLER."""


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
    return all(_holds(condition, index, observation) for index in range(len(condition.facts)))


def untimed(line: str) -> str:
    """A kernel's line without its time stamp."""
    return TIME_STAMP.sub("", line)


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
    if observation.result.fault:
        fault = observation.result.fault
        return Reading(Signal.OTHER_FAILURE, reason=f"{fault.stage}: {fault.message}")
    guest_crash = next((e for e in observation.console if e.kind == "crash"), None)
    if guest_crash:
        return Reading(Signal.OTHER_FAILURE, reason=f"crash in the inner guest: {untimed(guest_crash.text)}")
    for condition in question.good:
        if holds(condition, observation) and _stopped_before(condition, observation, question, good=True) is None:
            return Reading(Signal.CLEAN, condition.name, _reason(condition, observation))
    return Reading(Signal.OTHER_FAILURE, reason=_why_neither(observation, question), neither=True)


def _why_neither(observation: Observation, question: Question) -> str:
    for condition in (*question.bad, *question.good):
        if holds(condition, observation):
            stopped = _stopped_before(condition, observation, question, good=condition in question.good)
            if stopped is not None:
                return f"step {stopped.name} failed: {_words(stopped)}"
    return "neither bad nor good: " + summarize(observation)


def _words(step: StepFacts) -> str:
    """How a step ended, and the first line that it printed."""
    how = "it did not end" if not step.done else f"exit {step.exit}"
    said = next((line.strip() for line in step.detail.splitlines() if line.strip()), "")
    return ": ".join(filter(None, (how, step.errno, said[:TEXT])))


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
        f"{s.name}: " + ", ".join(filter(None, (f"exit {s.exit}" if s.exit is not None else "", s.errno, *s.blocks)))
        for s in observation.result.steps
    ]
    health = [f"{layer.name} {layer.health}" for layer in observation.result.layers if layer.health not in ("", "none")]
    return "; ".join(steps + health) or "no facts"


# ---- how far the workload got -------------------------------------------------------------------------------------

STEP_FACTS = (FactKind.EXIT, FactKind.OUTPUT, FactKind.ERRNO)
"""Facts that say something only where all before them was done.

Not health (an array is whole before the first step), blocks (held against what was flushed), events, console lines and
crashes: where one of those is seen it has happened, whatever else failed. That it was *not* seen says less.
"""

SIGHTS = (FactKind.CONSOLE, FactKind.EVENT, FactKind.OOPS)
KILLED = -9  # exit of a QEMU that the agent killed: a step's ``kill``, or a guest that did not let it end


def _stopped_before(
    condition: Condition, observation: Observation, question: Question, *, good: bool = False
) -> StepFacts | None:
    """The step that failed, in a way that the recipe does not name, before what the condition asks about; or None."""
    steps = observation.result.steps if observation.result else ()
    last = _last_named(condition, steps, good=good)
    own = set() if good else {fact.where for fact in condition.facts}  # a bad condition speaks of its own steps
    before = steps[: last + 1]
    return next((s for s in before if s.name not in own and _failed(s) and not _named(s, question)), None)


def _last_named(condition: Condition, steps: Sequence[StepFacts], *, good: bool) -> int:
    """Index of the last step that the condition's facts rest on, -1 where they rest on none."""
    kinds = (*STEP_FACTS, FactKind.BLOCKS) if good else STEP_FACTS
    named = {fact.where for fact in condition.facts if fact.kind in kinds}
    if any(fact.negate and fact.kind in SIGHTS for fact in condition.facts) or (good and not named):
        return len(steps) - 1  # it rests on the whole workload; one that did nothing is not good
    if any(fact.kind is FactKind.HANG for fact in condition.facts):
        return len(steps) - 2  # the one that hangs is the last
    return max((index for index, step in enumerate(steps) if step.name in named), default=-1)


def _failed(step: StepFacts) -> bool:
    """Whether a step did not do what it was for. A verify that found damage did, and so did one that a pause cut."""
    if step.blocks or step.skipped or (step.where == "guest" and step.exit == KILLED):
        return False
    return not step.done or step.exit not in (None, 0)


def _named(step: StepFacts, question: Question) -> bool:
    """Whether a condition of the recipe, bad or good, speaks of what the step ended with."""
    facts = [fact for condition in (*question.bad, *question.good) for fact in condition.facts]
    own = [fact for fact in facts if fact.where == step.name and fact.kind in STEP_FACTS]
    return any(
        (seen := _step_fact(fact, step)) is not None and seen is not fact.negate
        for fact in own
        if fact.kind is FactKind.EXIT or not fact.negate
    )


# ---- facts ---------------------------------------------------------------------------------------------------------


def _holds(condition: Condition, index: int, observation: Observation) -> bool:
    fact = condition.facts[index]
    if fact.kind is FactKind.CONSOLE:
        seen: bool | None = _watched(condition.watch_name(index), observation) is not None
        if fact.negate and observation.ending is not Ending.FINISHED:
            seen = None  # the line may have come later
    else:
        seen = _seen(fact, observation)
    return seen is not None and seen is not fact.negate


def _watched(name: str, observation: Observation) -> ConsoleEvent | None:
    return next((e for e in observation.console if e.kind == "watch" and e.name == name), None)


def _seen(fact: Fact, observation: Observation) -> bool | None:
    """True or False where the trial shows it, None where it does not."""
    if fact.kind is FactKind.OOPS:
        return _any_crash(fact, observation.console) is not None
    if fact.kind is FactKind.HANG:
        return _hung(fact, observation)
    if not observation.result:
        return None
    if fact.kind is FactKind.HEALTH:
        layer = observation.result.layer(fact.where)
        return layer.health in fact.values if layer and layer.health else None
    if fact.kind is FactKind.EVENT:
        seen = any(e.source in ("qmp", fact.where) and e.name in fact.values for e in observation.result.events)
        return seen or (False if observation.result.complete else None)
    return _step_fact(fact, observation.result.step(fact.where))


def _step_fact(fact: Fact, step: StepFacts | None) -> bool | None:
    if step is None or not step.done:
        return None
    if fact.kind is FactKind.EXIT:
        return None if step.exit is None else str(step.exit) in fact.values
    if fact.kind is FactKind.OUTPUT:
        return any(re.search(value, line) for line in step.detail.splitlines() for value in fact.values)
    if fact.kind is FactKind.ERRNO:
        return (step.errno or "none") in fact.values
    return any(block in fact.values for block in step.blocks) if step.blocks else None


def _hung(fact: Fact, observation: Observation) -> bool | None:
    """Whether the deadline passed in a step that had begun: of that name, any (vm), or one of the guest's."""
    steps = observation.result.steps if observation.result else ()
    last = steps[-1] if steps and not steps[-1].done and observation.ending is Ending.DEADLINE else None
    if fact.where in ("vm", "guest"):
        hung = last is not None and fact.where in ("vm", last.where)
        ended = observation.ending is Ending.FINISHED
    else:
        hung = last is not None and last.name == fact.where
        ended = any(step.name == fact.where and step.done for step in steps)
    return hung is ("true" in fact.values) if hung or ended else None


def _any_crash(fact: Fact, events: Iterable[ConsoleEvent]) -> ConsoleEvent | None:
    for event in events:
        if event.kind == "crash" and event.where == fact.where:
            if any(value in ("true", event.fingerprint) or re.search(value, event.text) for value in fact.values):
                return event
    return None


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
    times = []
    for index, fact in enumerate(condition.facts):
        event = None
        if fact.kind is FactKind.CONSOLE and not fact.negate:
            event = _watched(condition.watch_name(index), observation)
        elif fact.kind is FactKind.OOPS and not fact.negate:
            event = _any_crash(fact, observation.console)
        if event:
            times.append(event.at)
    return times


def _foreign_crash(observation: Observation, question: Question) -> ConsoleEvent | None:
    """The first crash of the kernel under test that no bad condition names."""
    wanted = [f for c in question.bad for f in c.facts if f.kind is FactKind.OOPS and not f.negate]
    for event in observation.console:
        if event.kind == "crash" and event.where == "vm":
            if not any(_any_crash(fact, (event,)) for fact in wanted):
                return event
    return None


def _reason(condition: Condition, observation: Observation) -> str:
    for index, fact in enumerate(condition.facts):
        event = _watched(condition.watch_name(index), observation)
        if fact.kind is FactKind.CONSOLE and event:
            return f"console: {untimed(event.text)}"
        if fact.kind is FactKind.BLOCKS and (found := _found(fact, observation)):
            return f"{fact.where}: {found}"
        if fact.kind is FactKind.OUTPUT and not fact.negate and (line := _printed(fact, observation)):
            return f"{fact.where}: {line}"
    return summarize(observation)


def _found(fact: Fact, observation: Observation) -> str:
    """What a step's verify found, in its own words: the sum, then which blocks first; "" when all was clean."""
    step = observation.result.step(fact.where) if observation.result else None
    if step is None or set(step.blocks) <= {"clean"}:
        return ""
    lines = step.detail.splitlines()
    more = f" (and {step.failed - FINDINGS} more)" if step.failed > FINDINGS else ""
    return "; ".join(line.strip() for line in lines[: FINDINGS + 1]) + more


def _printed(fact: Fact, observation: Observation) -> str:
    """The first line of a step's output in which the fact was seen."""
    step = observation.result.step(fact.where) if observation.result else None
    lines = step.detail.splitlines() if step else []
    return next((line.strip() for line in lines if any(re.search(value, line) for value in fact.values)), "")
