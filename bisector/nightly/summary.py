# SPDX-License-Identifier: GPL-2.0-only
"""What a night has to say: text for people, JSON for programs, and one HTML page over all nights."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from bisector import __version__
from bisector.errors import InfraError
from bisector.model import Verdict
from bisector.nightly.config import Watch
from bisector.nightly.records import Answer, Kind, News, Night, Regression, Role, State
from bisector.printable import printable
from bisector.report.excerpt import printable as bare
from bisector.report.timeline import duration
from bisector.system.files import write_whole

SCHEMA = "bisector.nightly/1"
TEMPLATE = "index.html.j2"
NIGHTS_SHOWN = 60

WRITTEN = (Kind.BACK, Kind.NAMED, Kind.CHANGED, Kind.REBASED)
"""News with which a draft is written, or written anew."""

HEADINGS = {
    Kind.OPENED: "new",
    Kind.BACK: "there again",
    Kind.NAMED: "culprit",
    Kind.CHANGED: "another culprit",
    Kind.STILL: "still there",
    Kind.REBASED: "rebased",
    Kind.MOVED: "in its base now",
    Kind.SAME: "the same bug",
    Kind.HELD: "gone, not from its base",
    Kind.FIXED: "fixed",
    Kind.UNKNOWN: "not known",
    Kind.NOTE: "note",
    Kind.UNFINISHED: "search",
}


def news(night: Night, regressions: Iterable[Regression], kinds: Sequence[Kind]) -> tuple[News, ...]:
    """The news of these kinds; of a regression that turned out to be another one, nothing."""
    merged = {each.id for each in regressions if each.same_as}
    return tuple(each for each in night.news if each.kind in kinds and each.regression not in merged)


def text(night: Night, regressions: Sequence[Regression]) -> str:
    """The night for people at a terminal or in a mail."""
    lines = [f"{night.tag} ({night.next[:12]}) on {night.base_name} {night.base[:12]}"]
    if night.moved_from:
        lines.append(f"the tag was moved: it named {night.moved_from[:12]} when it was tried before")
    lines += ["", *(_answer(each) for each in night.answers if not each.condition)]
    lines += [f"  {_answer(each)}, for {each.condition} alone" for each in night.answers if each.condition]
    if night.news:
        lines += ["", *(f"{HEADINGS[each.kind]}: {each.regression}: {bare(each.text)}" for each in night.news)]
    known = {each.id: each for each in regressions}
    fresh = {each.regression for each in night.news if each.kind in WRITTEN}
    drafts = [known[name].draft for name in sorted(fresh) if name in known and known[name].draft]
    if drafts:
        lines += ["", *(f"draft of a report (not sent): {draft}" for draft in drafts)]
    if names := unjudged(night):
        lines += ["", f"not tested: {', '.join(names)}; whether anything is new there is not known"]
    if night.troubles:
        lines += ["", *(f"the harness failed: {bare(trouble)}" for trouble in night.troubles)]
    lines += ["", "{open} open, {fixed} fixed".format(**counts(regressions)), f"took {took(night)}"]
    if night.stopped:
        lines.append(f"not done: {night.stopped}; the next call goes on")
    return "\n".join(lines) + "\n"


def unjudged(night: Night) -> tuple[str, ...]:
    """Recipes of which the night's tree could be judged in no cell: it does not build or boot, or fails otherwise."""
    tried = [each for each in night.answers if each.role is Role.NEXT and not each.condition]
    judged = {each.recipe for each in tried if each.verdict in (Verdict.GOOD, Verdict.BAD)}
    return tuple(dict.fromkeys(each.recipe for each in tried if each.recipe not in judged))


def took(night: Night) -> str:
    """How long a night took, over all calls: time, and that of all builds and trials together."""
    return f"{duration(night.seconds)}; machine time {duration(night.machine)}"


def nothing_text(night: Night) -> str:
    """There was no new day."""
    return f"nothing new: {night.tag} was looked at before, and nothing was run\n"


def document(night: Night, regressions: Sequence[Regression], exit_code: int, *, nothing: bool = False) -> str:
    """The night as one JSON object; ``ran`` is false when there was no new day."""
    body = {
        **asdict(night),
        "ran": not nothing,
        "exit_code": exit_code,
        "regressions": [asdict(each) for each in regressions],
    }
    return json.dumps({"schema": SCHEMA, "nightly": body}, indent=2) + "\n"


def write(
    watch: Watch, night: Night, nights: Sequence[Night], regressions: Sequence[Regression], exit_code: int
) -> None:
    """Write a night's summary into ``watch.out``, and the page over all nights anew. Raises InfraError."""
    folder = watch.out / night.name
    _folder(folder)
    write_whole(folder / "summary.txt", printable(text(night, regressions)))
    write_whole(folder / "summary.json", document(night, regressions, exit_code))
    write_index(watch.out, watch.name, nights, regressions)


def write_index(out: Path, name: str, nights: Sequence[Night], regressions: Sequence[Regression]) -> None:
    """The page over all nights. Raises InfraError."""
    _folder(out)
    write_whole(out / "index.html", page(out, name, nights, regressions))


def page(out: Path, name: str, nights: Sequence[Night], regressions: Sequence[Regression]) -> str:
    """One self-contained page: what is open, what was fixed, and every night."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # loaded for this page alone

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["plain"] = bare
    order = sorted(regressions, key=lambda each: (each.opened, each.id), reverse=True)
    return environment.get_template(TEMPLATE).render(
        name=name,
        open_ones=[each for each in order if each.is_open],
        fixed=[each for each in order if not each.is_open and not each.same_as],
        nights=list(reversed(nights))[:NIGHTS_SHOWN],
        older=max(0, len(nights) - NIGHTS_SHOWN),
        headings=HEADINGS,
        there={night.name for night in nights if (out / night.name / "summary.txt").exists()},
        links={each.id: _links(out, each) for each in regressions},
        when=lambda at: time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else "",
        version=__version__,
    )


def _links(out: Path, regression: Regression) -> list[tuple[str, str]]:
    """What there is to read of a regression: names and paths from the page's own folder."""
    found = [
        (f"report {number}", f"campaigns/{name}/report.html") for number, name in enumerate(regression.campaigns, 1)
    ]
    drafts = sorted(Path(regression.draft).glob("*.eml")) if regression.draft else []
    if drafts:
        found.append(("draft", f"drafts/{regression.id}/{drafts[0].name}"))
    return [(words, path) for words, path in found if (out / path).exists()]


def _answer(answer: Answer) -> str:
    cell = f" ({answer.cell})" if answer.cell else ""
    carried = f", known from {answer.carried}" if answer.carried else ""
    word = "cannot be judged" if answer.verdict in (Verdict.SKIP, Verdict.WEAK) else answer.verdict.value
    return f"{answer.role:<4} {word:<4} {answer.recipe}{cell}: {bare(answer.reason)}{carried}"


def counts(regressions: Iterable[Regression]) -> dict[str, int]:
    """How many bugs are open, and how many were fixed; one that turned out to be another one is none."""
    own = [each.state for each in regressions if not each.same_as]
    return {"open": own.count(State.OPEN), "fixed": own.count(State.FIXED)}


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InfraError(f"{folder} cannot be written: {error.strerror or error}", hint="see 'out'") from error
