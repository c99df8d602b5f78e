# SPDX-License-Identifier: GPL-2.0-only
"""A campaign for machines: one JSON object with a ``schema`` version. Pure."""

from __future__ import annotations

import dataclasses
import json

from bisector.report.facts import Facts

SCHEMA = "bisector.campaign/1"


def render(facts: Facts) -> str:
    """The whole report as one JSON object, indented, that ends in a newline."""
    campaign = {k: v for k, v in dataclasses.asdict(facts.campaign).items() if k not in ("outcome", "source")}
    document = {
        "schema": SCHEMA,
        "campaign": campaign,
        "outcome": dataclasses.asdict(facts.outcome) if facts.outcome else None,
        "judgements": [{"stage": stage, **dataclasses.asdict(judgement)} for stage, judgement in facts.judgements],
        "trials": [dataclasses.asdict(trial) for trial in facts.trials],
        "other_failures": [dataclasses.asdict(other) for other in facts.others],
        "tools": dict(facts.tools),
        "alignment": list(facts.alignment),
        "folder": facts.folder,
    }
    return json.dumps(document, indent=2) + "\n"
