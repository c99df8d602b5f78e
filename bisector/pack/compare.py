# SPDX-License-Identifier: GPL-2.0-only
"""Two trials of one question, and in what they differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bisector.model import Image, Observation, Trial

NONE = "-"


@dataclass(frozen=True)
class Side:
    """One trial with what it ran on. ``bisector``: the version that ran it; ``plan``: identity of the question."""

    trial: Trial
    image: Image
    bisector: str
    config: str = ""  # text of the .config


class LineKind(StrEnum):
    """What a line of a comparison is about."""

    ANSWER = "answer"
    KERNEL = "kernel"
    TOOL = "tool"
    FACT = "fact"
    TIME = "time"


@dataclass(frozen=True)
class Line:
    """One thing of both trials."""

    kind: LineKind
    name: str
    first: str
    now: str

    @property
    def same(self) -> bool:
        """Whether the two say the same; times never do, and are not compared."""
        return self.kind is LineKind.TIME or self.first == self.now


def compare(first: Side, now: Side) -> tuple[Line, ...]:
    """All that is known of both, in the order in which people look."""
    return (*_answer(first, now), *_kernel(first, now), *_tools(first, now), *_facts(first, now), *_times(first, now))


def same_answer(lines: tuple[Line, ...]) -> bool:
    """Whether the trial read as it did the first time."""
    return all(line.same for line in lines if line.kind is LineKind.ANSWER)


def _answer(first: Side, now: Side) -> Iterator[Line]:
    one, other = first.trial.reading, now.trial.reading
    yield Line(LineKind.ANSWER, "signal", one.signal.value, other.signal.value)
    yield Line(LineKind.ANSWER, "condition", one.condition or NONE, other.condition or NONE)


def _kernel(first: Side, now: Side) -> Iterator[Line]:
    for name in ("identity", "build_id", "release"):
        ours, theirs = getattr(first.image, name), getattr(now.image, name)
        yield Line(LineKind.KERNEL, f"image {name}".replace("_", " "), ours or NONE, theirs or NONE)
    if first.config and now.config:
        ours, theirs = (set(side.config.splitlines()) - {""} for side in (first, now))
        changed = sorted(line for line in ours ^ theirs if "CONFIG_" in line)
        yield Line(
            LineKind.KERNEL, ".config", "as recorded", f"{len(changed)} lines differ" if changed else "as recorded"
        )


def _tools(first: Side, now: Side) -> Iterator[Line]:
    """Versions of what built the kernel and of what ran beside it, ours included."""
    yield Line(LineKind.TOOL, "bisector", first.bisector or NONE, now.bisector or NONE)
    yield from _pairs(LineKind.TOOL, dict(first.image.tools), dict(now.image.tools))
    yield from _pairs(LineKind.TOOL, _inside(first), _inside(now))
    yield Line(LineKind.TOOL, "virtme-ng", *(side.trial.observation.vng or NONE for side in (first, now)))
    yield Line(LineKind.TOOL, "acceleration", *(side.trial.observation.accel or NONE for side in (first, now)))


def _inside(side: Side) -> dict[str, str]:
    result = side.trial.observation.result
    return dict(result.tools) if result else {}


def _facts(first: Side, now: Side) -> Iterator[Line]:
    question = ("the recorded one", "the recorded one" if first.trial.plan == now.trial.plan else "another one")
    yield Line(LineKind.FACT, "question", *question)
    yield Line(LineKind.FACT, "ending", first.trial.observation.ending.value, now.trial.observation.ending.value)
    yield from _pairs(LineKind.FACT, dict(_seen(first.trial.observation)), dict(_seen(now.trial.observation)))


def _seen(observation: Observation) -> Iterator[tuple[str, str]]:
    """What the agent and the consoles saw; counts that hang on the speed of a machine are left away."""
    result = observation.result
    if result:
        yield "taint", str(result.tested.taint)
        for step in result.steps:
            done = "done" if step.done else "skipped" if step.skipped else "not ended"
            parts = [f"exit {step.exit}"] if step.exit is not None else []
            yield f"step {step.name}", ", ".join([done, *parts, *filter(None, [step.errno]), *step.blocks])
        for layer in result.layers:
            yield f"layer {layer.name}", f"{layer.health or 'no state'}, dma_alignment {layer.dma_alignment}"
        if result.fault:
            yield "fault", f"{result.fault.stage}: {result.fault.message}"
    for event in observation.console:
        yield f"console {event.where}", f"{event.kind} {event.name}"


def _times(first: Side, now: Side) -> Iterator[Line]:
    for name in ("boot", "storage", "workload", "total"):
        ours, theirs = (getattr(side.trial.observation.timing, name) for side in (first, now))
        yield Line(LineKind.TIME, name, f"{ours:.1f} s", f"{theirs:.1f} s")


def _pairs(kind: LineKind, ours: dict[str, str], theirs: dict[str, str]) -> Iterator[Line]:
    """A line for each name that one of the two has; what only one of them knows differs."""
    for name in dict.fromkeys((*ours, *theirs)):
        yield Line(kind, name, ours.get(name) or NONE, theirs.get(name) or NONE)
