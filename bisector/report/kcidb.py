# SPDX-License-Identifier: GPL-2.0-only
"""A campaign in the I/O format of KCIDB, version 5.0, as kcidb-io validates it. Pure.

A checkout per candidate, a build per image or failed build, a test per trial; for a confirmed culprit an issue, and an
incident for each trial of the proof that says whether it was there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from bisector.codec import digest
from bisector.direction import direction
from bisector.model import (
    FROM_SOURCE,
    BuildFailure,
    Candidate,
    Image,
    Observation,
    OutcomeKind,
    Signal,
    TargetKind,
    Trial,
)
from bisector.report.excerpt import printable
from bisector.report.facts import Facts
from bisector.stage import Stage

VERSION = {"major": 5, "minor": 0}
ORIGIN = "bisector"
EXCERPT = 16_000  # characters; the format allows 16,384
STATUS = {Signal.REPRODUCED: "FAIL", Signal.CLEAN: "PASS", Signal.OTHER_FAILURE: "ERROR", Signal.INFRA: "MISS"}

Object = dict[str, object]


def render(facts: Facts) -> str:
    """One JSON object, indented, that ends in a newline."""
    began = datetime.fromtimestamp(facts.campaign.created, UTC).isoformat()
    candidates = {_key(candidate): candidate for candidate in (*(c for c, _ in facts.builds), *_tried(facts))}
    builds = list(_builds(facts))
    tests = [_test(trial, facts) for trial in facts.trials]
    issue = _issue(facts)
    document = {
        "version": VERSION,
        "checkouts": [_checkout(facts, candidate, began) for candidate in candidates.values()],
        "builds": builds,
        "tests": tests,
        "issues": [issue] if issue else [],
        "incidents": list(_incidents(facts, str(issue["id"]))) if issue else [],
    }
    return json.dumps(document, indent=2) + "\n"


def _tried(facts: Facts) -> Iterator[Candidate]:
    for _, judgement in facts.judgements:
        yield judgement.candidate
    for trial in facts.trials:
        yield trial.candidate


def _key(candidate: Candidate) -> str:
    return digest(candidate.target, candidate.revision, [(e.kind, e.commit) for e in candidate.edits])[:24]


def _id(facts: Facts, *parts: object) -> str:
    return f"{ORIGIN}:" + ":".join([facts.campaign.id, *map(str, parts)])


def _checkout(facts: Facts, candidate: Candidate, began: str) -> Object:
    made: Object = {
        "id": _id(facts, "checkout", _key(candidate)),
        "origin": ORIGIN,
        "comment": printable(str(candidate)),
        "start_time": began,
        "valid": True,
        "misc": {"target": candidate.target.value, "edits": [[e.kind, e.commit] for e in candidate.edits]},
    }
    if candidate.target in FROM_SOURCE and re.fullmatch("[0-9a-f]{40}", candidate.revision):
        made |= {"git_commit_hash": candidate.revision} | ({} if candidate.edits else {"patchset_hash": ""})
    if candidate.target is TargetKind.KERNEL_PACKAGE:
        made["git_commit_name"] = printable(candidate.revision)
    return made


def _builds(facts: Facts) -> Iterator[Object]:
    """One per candidate: two commits that give the same image are two builds with one result."""
    seen = set()
    for candidate, made in facts.builds:
        if _key(candidate) not in seen:
            seen.add(_key(candidate))
            yield _build(facts, candidate, made)
    for trial in facts.trials:  # an image known from a candidate before it
        if _key(trial.candidate) not in seen:
            seen.add(_key(trial.candidate))
            yield _common_build(facts, trial.candidate) | {"status": "PASS"}


def _common_build(facts: Facts, candidate: Candidate) -> Object:
    return {
        "id": _id(facts, "build", _key(candidate)),
        "checkout_id": _id(facts, "checkout", _key(candidate)),
        "origin": ORIGIN,
    }


def _build(facts: Facts, candidate: Candidate, made: Image | BuildFailure) -> Object:
    common = _common_build(facts, candidate) | {"duration": made.seconds}
    if isinstance(made, BuildFailure):
        text = "\n".join(map(printable, made.errors))
        return common | {"status": "FAIL", "log_excerpt": text[:EXCERPT], "comment": f"{made.stage} failed"}
    tools = dict(made.tools)
    named = {"compiler": printable(tools["compiler"])} if tools.get("compiler") else {}
    return common | named | {"status": "PASS", "misc": {"image": made.identity, "release": made.release}}


def _test(trial: Trial, facts: Facts) -> Object:
    observation = trial.observation
    made: Object = {
        "id": _id(facts, "trial", trial.number),
        "build_id": _id(facts, "build", _key(trial.candidate)),
        "origin": ORIGIN,
        "path": f"{ORIGIN}." + re.sub(r"[^A-Za-z0-9_-]+", "_", facts.campaign.recipe),
        "status": STATUS[trial.reading.signal],
        "comment": printable(trial.reading.reason),
        "duration": observation.timing.total,
        "environment": {"comment": "; ".join(filter(None, (_where(observation), facts.note)))},
        "misc": {
            "stage": trial.stage,
            **({"side": stood} if (stood := direction(facts.campaign.find_fix).side(trial.reading.signal)) else {}),
            "cell": trial.cell,
            "seed": trial.seed,
            "condition": trial.reading.condition,
            "ending": observation.ending.value,
        },
    }
    side = facts.bad if facts.bad and facts.bad.trial and facts.bad.trial.number == trial.number else None
    return made | ({"log_excerpt": "\n".join(side.excerpt.lines)[:EXCERPT]} if side else {})


def _where(observation: Observation) -> str:
    return f"virtual machine, {observation.accel}" if observation.accel not in ("", "none") else "no virtual machine"


def _issue(facts: Facts) -> Object | None:
    outcome = facts.outcome
    if outcome is None or outcome.kind is not OutcomeKind.CULPRIT or outcome.culprit is None or outcome.find_fix:
        return None
    return {
        "id": f"{ORIGIN}:{outcome.culprit.oid}:{facts.campaign.recipe}",
        "version": 1,
        "origin": ORIGIN,
        "comment": printable(facts.campaign.title or facts.campaign.recipe),
        "culprit": {"code": True, "tool": False, "harness": False},
        "misc": {"commit": outcome.culprit.oid, "subject": printable(outcome.culprit.subject)},
    }


def _incidents(facts: Facts, issue: str) -> Iterator[Object]:
    for trial in facts.trials:
        if Stage.of(trial.stage) is Stage.PROOF and trial.reading.signal in (Signal.REPRODUCED, Signal.CLEAN):
            yield {
                "id": _id(facts, "incident", trial.number),
                "origin": ORIGIN,
                "issue_id": issue,
                "issue_version": 1,
                "test_id": _id(facts, "trial", trial.number),
                "present": trial.reading.signal is Signal.REPRODUCED,
            }
