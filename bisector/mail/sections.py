# SPDX-License-Identifier: GPL-2.0-only
"""The sections of a mail that stand on figures: how sure, on what, by which command, and what is left open. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from bisector.direction import place_of
from bisector.mail import repeat
from bisector.mail.compose import COLUMNS, fold, wrap
from bisector.mail.fixed import FixResult, FixStatus, LaterCommit, Newest, Tree
from bisector.mail.regzbot import one_line
from bisector.model import EditKind, Judgement, Outcome, Signal, TargetKind, Verdict
from bisector.report.facts import NOT_DECODED, Facts
from bisector.report.stages import left_open
from bisector.search.refs import MentionKind

NAME = 34  # columns of a candidate's name in a table
NAMED_BY_GIT = re.compile(r"# first '?\w+'? commit: ")
WIDEST = 20  # columns of a name in the environment's table
WORDS = {
    MentionKind.FIXES: 'names it in "Fixes:"',
    MentionKind.REVERT: "reverts it",
    MentionKind.BACKPORT: "is the same change in a stable series",
}


def figures(judgement: Judgement, facts: Facts) -> list[str]:
    """One line of proof: the candidate, its verdict, how many of its trials reproduced."""
    reproduced, conclusive = judgement.counts
    trials = judgement.trials
    other = sum(trial.reading.signal is Signal.OTHER_FAILURE for trial in trials)
    shown = f"reproduced in {reproduced} of {conclusive} trials" if conclusive else one_line(judgement.reason)
    more = f", {other} ended in another failure" if other and conclusive else ""
    more += f", {judgement.harness_failures} failed in the harness" if judgement.harness_failures and conclusive else ""
    return _row(name_of(judgement, facts), f"{judgement.verdict}, {shown}{more}")


def revert_untested() -> list[str]:
    """The line that stands where a revert on the bad end was not tried."""
    return _row("revert on top of the bad end", "not tested")


def name_of(judgement: Judgement, facts: Facts) -> str:
    """The candidate as a reader of the mail knows it."""
    candidate = judgement.candidate
    oid = candidate.revision[:12] if re.fullmatch("[0-9a-f]{40}", candidate.revision) else candidate.revision
    bad = facts.outcome.bad.candidate.revision if facts.outcome and facts.outcome.bad else facts.campaign.bad
    kinds = {edit.kind for edit in candidate.edits}
    if EditKind.REVERT in kinds:
        return "revert on top of the bad end" if candidate.revision == bad else f"revert on top of {oid}"
    if EditKind.APPLY in kinds:
        return f"with it applied on {one_line(candidate.label) or oid}"
    if (place := place_of(candidate.label)) is not None:
        return (f"its parent {oid}" if place == 1 else f"its parent {place}, {oid}") if place else f"at it ({oid})"
    if candidate.target is TargetKind.GIVEN:  # a path of this machine says nothing to others
        return one_line(candidate.label) or "a given image"
    return f"{one_line(candidate.label)} ({oid})" if candidate.label and candidate.label != oid else oid


def _row(name: str, value: str) -> list[str]:
    return wrap(value, indent=" " * (NAME + 2), first=f"  {name:<{NAME}}" + ("" if len(name) < NAME else " "))


# ---- environment and command ---------------------------------------------------------------------------------------


def environment(facts: Facts) -> list[str]:
    """Versions of everything that mattered, taint, alignment masks."""
    rows: list[tuple[str, str]] = []
    side = facts.bad or facts.good
    result = side.trial.observation.result if side and side.trial else None
    tried = side.image if side and side.image and side.image.programs else None
    in_vm = side is not None and side.trial is not None and side.trial.observation.accel != "none"
    if tried:
        where = "in a virtual machine" if in_vm else "on the host, without a virtual machine"
        rows.append(("QEMU", f"{tried.release.removeprefix('QEMU ')}, tried {where}"))
    if result and (in_vm or not tried):
        taint = "not tainted" if not result.tested.taint else f"tainted: {result.tested.taint}"
        rows.append(("kernel", f"{result.tested.release} ({taint}), booted in a virtual machine"))
    elif side and side.image and side.image.release and not tried:
        rows.append(("kernel", side.image.release))
    rows += list(facts.tools)
    rows += [("layer", line) for line in facts.alignment]
    if facts.outcome and facts.outcome.cell:
        rows.append(("variant", facts.outcome.cell))
    width = max([len(name) for name, _ in rows if len(name) <= WIDEST], default=0)
    lines = []
    for name, value in rows:
        lines += wrap(value, indent=" " * (width + 4), first=f"  {one_line(name):<{width}}  ")
    return lines


def reproduce(facts: Facts, shipped: bool) -> list[str]:
    """The one command, cut where a shell allows it."""
    outcome = facts.outcome
    shown = facts.bad.judgement.candidate if facts.bad else outcome.bad.candidate if outcome and outcome.bad else None
    if shown is None:
        return []
    recipe = facts.campaign.recipe if shipped else f"./{facts.campaign.recipe}.yaml"
    match shown.target:
        case TargetKind.KERNEL_SOURCE:
            where = ["--repo LINUX", f"--rev {shown.revision[:12]}"]
        case TargetKind.QEMU_SOURCE:
            where = ["--repo QEMU", f"--rev {shown.revision[:12]}"]
        case TargetKind.KERNEL_PACKAGE:
            where = [f"--package '{shown.revision}'"]
        case _:
            where = ["--image IMAGE"]
    command, options = ["bisector test", recipe, *where], repeat.options(facts)
    if outcome and outcome.numbers and outcome.good and outcome.bad:  # one candidate has no verdict then
        good, bad = (end.candidate.revision[:12] for end in (outcome.good, outcome.bad))
        fix = ["--find-fix"] if outcome.find_fix else []
        command = ["bisector run", recipe, where[0], *fix, f"--good {good}", f"--bad {bad}"]
        options = tuple(each for each in options if each[0] == "--cell")
    words = [*command, *(f"{option} {_shown(option, value)}" for option, value in options)]
    notes = {
        "--repo LINUX": "LINUX is a git repository of the kernel",
        "--repo QEMU": "QEMU is a git repository of QEMU",
    }
    note = notes.get(where[0], "")
    note = (
        f"{note}; the recipe follows as an answer to this mail." if note and not shipped else f"{note}." if note else ""
    )
    return [*_command(words), *(["", *wrap(note)] if note else [])]


def _shown(option: str, value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'" if option == "--cell" else shlex.quote(value)


def _command(words: Sequence[str]) -> Iterator[str]:
    line = " "
    for word in words:
        if len(line) + len(word) + 3 > COLUMNS and line.strip():
            yield line + " \\"
            line = "     "
        line += f" {word}"
    yield line


# ---- log and what is open ------------------------------------------------------------------------------------------


def bisect_log(log: str, *, proven: bool = True) -> list[str]:
    """``git bisect log`` that ``git bisect replay`` still takes: ids of 12 digits, comments cut to a mail's width.

    ``proven``: False leaves out the line in which git names a first bad (or fixed) commit: no proof bore it out.
    """
    lines = []
    for line in log.replace(" '--no-checkout'", "").split("\n"):  # a reader has a work tree, our clone has none
        if NAMED_BY_GIT.match(line) and not proven:
            continue
        short = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28}\b", r"\1", one_line(line))
        if short.startswith("#"):
            lines.append(short if len(short) <= COLUMNS else short[: COLUMNS - 3] + "...")
        elif short:
            lines += [short] if len(short) <= COLUMNS else _broken(short)
    return lines


def _broken(line: str) -> list[str]:
    pieces = fold(line, indent="", more="  ")
    return [f"{piece} \\" if number < len(pieces) - 1 and len(piece) < COLUMNS - 1 else piece
            for number, piece in enumerate(pieces)]  # fmt: skip


def fixed_lines(fixed: FixStatus, facts: Facts) -> list[str]:
    """What the refs at hand say about a fix, and what the newest kernels there answered."""
    if not fixed.looked:
        return [f"  Not looked for: {one_line(fixed.why)}."] if fixed.why else []
    lines = [line for each in fixed.later for line in _later(each)]
    if fixed.left_out:
        more = (
            "1 more commit names it; it was"
            if fixed.left_out == 1
            else f"{fixed.left_out} more commits name it; they were"
        )
        lines += wrap(f"{more} not looked at.", indent="  ")
    if facts.outcome and facts.outcome.culprit and not fixed.later:
        lines += wrap("No commit on a ref at hand names the culprit as fixed or reverted.", indent="  ")
    lines += [line for each in fixed.newest for line in _newest(each)]
    return lines


def _later(later: LaterCommit) -> list[str]:
    where = f" (in {', '.join(map(one_line, later.inside))})" if later.inside else ""
    commit = f'{later.commit.oid[:12]} ("{one_line(later.commit.subject)}")'
    said = [f"{commit} {WORDS[later.kind]}{where}."]
    if later.in_bad_end:
        said.append("The bad end holds it and is bad all the same.")
    said += [_tried(each) for each in later.tried]
    if later.repairs and not later.tried:
        said.append("It was not tested.")
    return wrap(" ".join(said), indent="    ", first="  ")


def _tried(tried: FixResult) -> str:
    where = tried.where[:1].upper() + tried.where[1:]
    if tried.verdict in (Verdict.GOOD, Verdict.BAD):
        return f"{where} the kernel is {tried.verdict} ({tried.reproduced} of {tried.conclusive} trials reproduced)."
    return f"{where} the kernel could not be judged: {one_line(tried.why)}."


def _newest(newest: Newest) -> list[str]:
    name = f"The newest {newest.tree} at hand, {one_line(newest.name)},"
    if newest.verdict is None:
        return wrap(f"{name} was not tested.", indent="    ", first="  ")
    trials = f" ({newest.reproduced} of {newest.conclusive} trials reproduced)" if newest.conclusive else ""
    return wrap(f"{name} is {newest.verdict}{trials}.", indent="    ", first="  ")


def not_checked(outcome: Outcome, fixed: FixStatus, undecoded: str = "") -> list[str]:
    """What the campaign says it left open, less what was done since. ``undecoded``: why the trace has no lines."""
    decided = (Verdict.GOOD, Verdict.BAD)
    answered = any(each.verdict in decided and each.tree is Tree.MAINLINE for each in fixed.newest)
    lines = [line for each in left_open(outcome, answered) for line in wrap(one_line(each), indent="  ", first="- ")]
    if undecoded:
        lines += wrap(one_line(NOT_DECODED.format(undecoded)), indent="  ", first="- ")
    return lines
