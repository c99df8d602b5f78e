# SPDX-License-Identifier: GPL-2.0-only
"""A campaign as JUnit XML, laid out as the kernel's kunit writes it (tools/testing/kunit/kunit_junit.py, 7.0). Pure.

Suites in suites, a case per verdict, no properties, what was logged in ``system-out``.

A bad candidate is a failure, also where a bisection expects it: the file says what each kernel did.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from bisector.direction import direction
from bisector.model import Judgement, Signal, Verdict
from bisector.report.excerpt import printable
from bisector.report.facts import Facts
from bisector.report.stages import case_name, stages


def render(facts: Facts) -> str:
    """One XML document."""
    root = ET.Element("testsuite", {"name": facts.campaign.id})
    for stage, judgements in stages(facts):
        suite = ET.SubElement(root, "testsuite", {"name": stage})
        for judgement in judgements:
            _case(suite, stage, judgement, facts)
        _count(suite)
    if facts.note:
        ET.SubElement(root, "system-out").text = facts.note
    _count(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, stage: str, judgement: Judgement, facts: Facts) -> None:
    case = ET.SubElement(suite, "testcase", {"name": printable(case_name(judgement))})
    match judgement.verdict:
        case Verdict.BAD:
            ET.SubElement(case, "failure").text = printable(judgement.reason)
        case Verdict.SKIP | Verdict.WEAK:
            ET.SubElement(case, "skipped").text = printable(f"{judgement.verdict}: {judgement.reason}")
    trials, words = facts.trials_of(stage, judgement), direction(facts.campaign.find_fix)
    lines = [printable(f"trial {t.number}: {words.with_side(t.reading.signal)}, {t.reading.reason}") for t in trials]
    if facts.bad and facts.bad.trial and facts.bad.trial.number in [trial.number for trial in trials]:
        lines += facts.bad.excerpt.lines
    if lines:
        ET.SubElement(case, "system-out").text = "\n".join(lines)
    broken = [t for t in trials if t.reading.signal is Signal.INFRA]
    if broken and judgement.verdict is not Verdict.BAD:
        ET.SubElement(case, "error").text = printable(broken[-1].reading.reason)


def _count(suite: ET.Element) -> None:
    cases = list(suite.iter("testcase"))
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
    }
    for name, count in counts.items():
        suite.set(name, str(count))
