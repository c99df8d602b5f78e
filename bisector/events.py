# SPDX-License-Identifier: GPL-2.0-only
"""What a command does, as JSON lines for a program that watches: one object a line, each with ``schema``, ``at``
(seconds since 1970), ``event`` and what belongs to it. A reader skips events and fields that it does not know.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bisector import __version__
from bisector.direction import of_outcome
from bisector.errors import BisectorError, UsageError
from bisector.execute.work import Work
from bisector.exitcodes import ExitCode
from bisector.interfaces import Listener, Phase, Progress
from bisector.model import Judgement, Outcome, OutcomeKind, Trial
from bisector.printable import printable

SCHEMA = "bisector.event/1"
LIVE_SECONDS = 1.0
"""A phase that goes on (build 43 %, 44 % ...) is written when it begins and then at most this often."""
ALWAYS = (Phase.TAKEN, Phase.FREE)
"""Events that come in pairs: each is written, however short what lies between them is."""


class EventLog:
    """Appends events to a file; every line is whole once ``write`` has returned.

    Args:
        path: made when it is not there; a later command goes on where an earlier one stopped.
        clock: gives seconds since 1970.

    Raises UsageError when the file cannot be opened. A disk that fills later ends the events and never the campaign.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(f"--events {path}: {error.strerror or error}") from error
        self._clock = clock
        self._lock = threading.Lock()
        self._live: dict[tuple[Work | None, Phase], tuple[str, float]] = {}
        self.exit_code = ExitCode.OK
        """What the command that is watched will exit with; the event ``end`` has it."""

    def write(self, event: str, **fields: object) -> None:
        """Write one event. Safe from threads."""
        line = json.dumps({"schema": SCHEMA, "at": round(self._clock(), 3), "event": event, **fields}, default=str)
        with self._lock:
            try:
                self._file.write(printable(line).encode() + b"\n")
            except (OSError, ValueError):
                self._file.close()

    def listen(self, progress: Progress) -> None:
        """A listener: what people read, and of trials and verdicts what they stand on."""
        about = (progress.trial, progress.judgement, progress.outcome, progress.facts)
        if not any(about) and not self._is_news(progress):
            return
        names = ("campaign", "recipe", "stage", "candidate")
        fields: dict[str, object] = {name: value for name in names if (value := getattr(progress, name))}
        if progress.work is not None:
            fields |= {"slot": progress.work.slot, "worker": progress.work.worker}
        fields["detail"] = progress.detail
        if progress.fraction is not None:
            fields["fraction"] = round(progress.fraction, 4)
        if progress.trial is not None:
            fields |= _trial(progress.trial)
        if progress.judgement is not None:
            fields |= _verdict(progress.judgement)
        if progress.outcome is not None:
            fields |= _outcome(progress.outcome)
        fields |= progress.facts or {}
        self.write(progress.phase, **fields)

    def beside(self, listener: Listener) -> Listener:
        """A listener that calls both."""

        def both(progress: Progress) -> None:
            self.listen(progress)
            listener(progress)

        return both

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._file.close()

    def _is_news(self, progress: Progress) -> bool:
        now, what = self._clock(), (progress.work, progress.phase)
        with self._lock:
            detail, at = self._live.get(what, ("", -LIVE_SECONDS))
            another = progress.fraction is None and detail != progress.detail
            if progress.phase not in ALWAYS and not another and now - at < LIVE_SECONDS:
                return False
            self._live[what] = (progress.detail, now)
        return True


@contextmanager
def watched(path: Path | None, command: str, **about: object) -> Iterator[EventLog]:
    """An event log around a command: ``begin`` first, and ``end`` with the error, if any, last.

    Args:
        path: None: nobody watches.
        about: what ``begin`` says of the command.

    Raises UsageError when the file cannot be opened, and what comes from inside.
    """
    log = EventLog(path or Path(os.devnull))
    log.write("begin", command=command, version=__version__, pid=os.getpid(), **about)
    try:
        yield log
    except BisectorError as error:
        log.write("end", error=error.what, hint=error.hint, exit_code=int(error.exit_code))
        raise
    except KeyboardInterrupt:
        log.write("end", error="interrupted", exit_code=int(ExitCode.INTERRUPTED))
        raise
    except Exception as error:
        log.write("end", error=f"{type(error).__name__}: {error}", exit_code=int(ExitCode.INFRA))
        raise
    else:
        log.write("end", exit_code=int(log.exit_code))
    finally:
        log.close()


def _trial(trial: Trial) -> dict[str, object]:
    timing = trial.observation.timing
    return {
        "number": trial.number,
        "candidate": str(trial.candidate),
        "revision": trial.candidate.revision,
        "stage": trial.stage,
        "cell": trial.cell,
        "signal": trial.reading.signal.value,
        "condition": trial.reading.condition,
        "reason": trial.reading.reason,
        "seconds": timing.total,
        "slot": trial.observation.slot,
        "worker": trial.observation.worker,
        "folder": trial.folder,
    }


def _outcome(outcome: Outcome) -> dict[str, object]:
    """A search for a fix names a fix: a program that acts on culprits has nothing to do with it."""
    commit, words = outcome.culprit, of_outcome(outcome)
    return {
        "kind": words.change if outcome.kind is OutcomeKind.CULPRIT else outcome.kind.value,
        "summary": outcome.summary,
        "cell": outcome.cell,
        "culprit": commit.oid if commit and not outcome.find_fix else "",
        "fix": commit.oid if commit and outcome.find_fix else "",
        "subject": commit.subject if commit else "",
        "suspects": [each.oid for each in outcome.suspects],
        "same_inputs": outcome.same_inputs,
    }


def _verdict(judgement: Judgement) -> dict[str, object]:
    reproduced, conclusive = judgement.counts
    return {
        "candidate": str(judgement.candidate),
        "revision": judgement.candidate.revision,
        "cell": judgement.cell,
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "reproduced": reproduced,
        "conclusive": conclusive,
        "same_inputs": judgement.same_inputs,
    }
