# SPDX-License-Identifier: GPL-2.0-only
"""Steps that run beside each other: each in a thread of its own, the next step when all of them have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from .plan import Step

HasEnded = Callable[[str], bool]
"""Whether the step of that name has ended."""


def groups(steps: Sequence[Step]) -> Iterator[tuple[Step, ...]]:
    """The steps in their order: each alone, and those of one group together."""
    held: list[Step] = []
    for step in steps:
        if held and not (step.group and step.group == held[0].group):
            yield tuple(held)
            held = []
        held.append(step)
    if held:
        yield tuple(held)


def perform_beside(steps: Sequence[Step], do: Callable[[Step, HasEnded], None]) -> None:
    """Do all steps at the same time, and wait for all of them.

    Raises what the first of them in the plan's order raised: which one fails first decides nothing.
    """
    ended: set[str] = set()
    raised: dict[str, Exception] = {}
    begin = threading.Barrier(len(steps))

    def perform(step: Step) -> None:
        begin.wait()
        try:
            do(step, ended.__contains__)
        except Exception as error:  # noqa: BLE001  # raised below, in the thread that waits
            raised[step.name] = error
        finally:
            ended.add(step.name)

    threads = [threading.Thread(target=perform, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step in steps:
        if step.name in raised:
            raise raised[step.name]
