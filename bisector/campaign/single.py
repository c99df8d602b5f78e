# SPDX-License-Identifier: GPL-2.0-only
"""``bisector test``: one candidate, every cell of the recipe, and its controls where wanted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.ahead import UpcomingTrial
from bisector.answer import Answer, CellAnswer
from bisector.case import Case
from bisector.errors import UsageError
from bisector.interfaces import Phase, Progress, Target
from bisector.judge import Judge
from bisector.model import Candidate, Cell, Image, Judgement, TargetKind, Verdict
from bisector.other_kernels import usable, verb_of, words_of
from bisector.recipe.matrix import apply, cells, controls
from bisector.recipe.model import Recipe
from bisector.recipe.modules import not_applied
from bisector.search.gitrepo import UserRepository
from bisector.session import Session
from bisector.stage import CampaignState, Stage
from bisector.store import CampaignRow
from bisector.targets import subject_of
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.neither import always_neither, stops
from bisector.verdict.sequential import Evidence, More

STAGE = Stage.TEST
MB = 1e6


@dataclass(frozen=True)
class SingleRequest:
    """A candidate to be tried: a revision of a repository, an image or build folder, a package.

    None of them is the installed QEMU, for a recipe that tests QEMU.
    """

    recipe: Recipe
    source: str  # the recipe as resolved
    repo: Path | None
    rev: str
    image: Path | None
    trials: int = 0  # of each cell, at most, and clean ones that make it good; 0: the recipe's
    controls: bool = False
    overrides: tuple[str, ...] = ()  # as given on the command line; they name a cell without axis
    package: str = ""  # a released kernel: a package version, an upstream version, or a .deb file
    good: str = ""  # where each trial uses that end's software too: a package, a revision of ``repo``, or an image
    bad: str = ""


def run(request: SingleRequest, session: Session) -> Answer:
    """Judge the candidate in every cell. Raises InfraError, Interrupted, UsageError."""
    named = ", ".join(request.overrides)
    wanted = tuple(replace(cell, name=cell.name or named) for cell in cells(request.recipe))
    wanted += controls(request.recipe) if request.controls else ()
    candidate, target = _candidate(request, session, tuple(cell for cell in wanted if not cell.not_applicable))
    session.vm_kernel(request.recipe)  # what is not to be had is said before anything is stored
    beside = _kernels_beside(request, session, wanted)
    row = session.add_campaign(
        CampaignRow(
            id=f"test-{request.recipe.recipe}-{time.strftime('%Y%m%d-%H%M%S')}",
            recipe=request.recipe.recipe,
            title=request.recipe.title or "",
            source=request.source,
            repo=str(request.repo or ""),
            good="",
            bad=candidate.revision,
            find_fix=False,
            cell="",
            created=time.time(),
            state=CampaignState.TEST,
        ),
        request.recipe,
    )
    judge = session.judge(row.id, request.recipe, target)
    for other, image, key in beside.values():
        session.store.add_build(row.id, key, other, image)
    kernels = {whose: image.identity for whose, (_, image, _) in beside.items()}
    cases = [None if cell.not_applicable else _case(request, session, cell, kernels) for cell in wanted]
    rows: list[CellAnswer] = []
    with judge.ahead() as scope:
        scope.want(_first_trials(judge, candidate, cases))
        for cell, case in zip(wanted, cases, strict=True):
            if case is None:
                rows.append(CellAnswer(cell, None))
                continue
            words = f"{candidate} {f'in {cell.name}' if cell.name else ''}".rstrip()
            session.setting.listener(Progress(Phase.STAGE, words, campaign=row.id, recipe=row.recipe, stage=STAGE))
            rows.append(CellAnswer(cell, _judged(judge, candidate, case, rows)))
    folder = str(session.store.campaign_folder(row.id))
    compares = any(case is not None and case.question.required for case in cases)
    return Answer(request.recipe.recipe, candidate, tuple(rows), row.id, folder, compares)


def _case(request: SingleRequest, session: Session, cell: Cell, kernels: Mapping[str, str]) -> Case:
    case = session.case(apply(request.recipe, cell), cell, kernels=kernels)
    if not request.trials:
        return case
    return replace(case, rule=FixedTrials(request.trials, case.rule.other_cap, most=request.trials))


def _kernels_beside(
    request: SingleRequest, session: Session, wanted: tuple[Cell, ...]
) -> dict[str, tuple[Candidate, Image, str]]:
    """Whose → (candidate, image, key of its build) of what each trial uses beside the software under test."""
    verb = verb_of(request.recipe)
    cells = tuple(cell for cell in wanted if not cell.not_applicable)
    used = {whose for cell in cells for whose in apply(request.recipe, cell).kernels_beside}
    named = {"good-end": request.good, "bad-end": request.bad}
    search = {"good-end": request.recipe.search.good, "bad-end": request.recipe.search.bad}
    for whose, name in named.items():
        if name and whose not in used:
            what = f"no trial of this recipe {verb} the {words_of(request.recipe, whose)}"
            raise UsageError(what, hint=f"leave {_option(whose)} out")
    found = {}
    for whose in sorted(used):
        name = named[whose] or search[whose] or ""
        if not name:
            what = f"each trial {verb} the {words_of(request.recipe, whose)} too, and none is named"
            either = "a folder of programs" if request.recipe.programs else "a packaged version, a kernel image"
            raise UsageError(what, hint=f"give {_option(whose)}: {either}, or with --repo a revision")
        candidate, target = _kernel_named(name, request, session, cells)
        made = session.made(target, candidate)
        found[whose] = (candidate, usable(made, candidate, request.recipe, whose), target.key(candidate))
        text = f"Each trial {verb} {candidate} too, as the {words_of(request.recipe, whose)}"
        session.setting.listener(Progress(Phase.STAGE, text))
    return found


def _option(whose: str) -> str:
    return f"--{whose.removesuffix('-end')}"


def _kernel_named(
    name: str, request: SingleRequest, session: Session, wanted: tuple[Cell, ...]
) -> tuple[Candidate, Target]:
    """What the command line names: an image or a folder, a revision of the repository, a packaged kernel."""
    by_image = "/" in name or Path(name).exists()
    one = replace(request, image=Path(name) if by_image else None, rev=name, package="", good="", bad="")
    if not by_image and request.repo is None:
        one = replace(one, package=name.removeprefix("v"))
    return _candidate(one, session, wanted)


def _first_trials(judge: Judge, candidate: Candidate, cases: Iterable[Case | None]) -> Iterator[UpcomingTrial]:
    """What the candidate needs in each of the cells if it is good there."""
    for case in filter(None, cases):
        step = case.rule.decide(Evidence())
        if isinstance(step, More):
            yield from judge.coming(candidate, case, STAGE, step.count)


def _judged(judge: Judge, candidate: Candidate, case: Case, before: Sequence[CellAnswer]) -> Judgement:
    """The candidate's verdict in one cell. Where all trials of the cells before were neither bad nor good for one
    reason, one that is so too is enough."""
    known = [trial for row in before if row.judgement for trial in row.judgement.trials]
    if stops(known):
        series = judge.series(candidate, case, STAGE)
        if not series.untestable:
            series.draw()
            if always_neither((*known, *series.trials)):
                return series.judgement(Verdict.SKIP, "as in the cells before")
    return judge.ask(candidate, case, STAGE)


def _candidate(request: SingleRequest, session: Session, wanted: tuple[Cell, ...]) -> tuple[Candidate, Target]:
    subject = subject_of(request.recipe)
    if request.image:
        path = request.image.resolve()
        return Candidate(TargetKind.GIVEN, str(path), label=path.name), subject.given(session)
    if request.package:
        subject.check_package()
        path = Path(request.package)
        for line in not_applied(request.recipe):
            session.setting.listener(Progress(Phase.STAGE, line))
        packages = session.kernel_package(request.recipe, wanted, (path.parent,) if path.suffix == ".deb" else ())
        found = packages.candidate(path.name)
        if size := packages.to_download(found):
            session.setting.listener(Progress(Phase.STAGE, f"{found}: {size / MB:,.0f} MB to download"))
        return found, packages
    if request.repo is None and subject.installed:
        return subject.installed, subject.given(session)
    if request.repo is None:
        raise UsageError("no repository", hint="give --repo DIR")
    user = UserRepository(request.repo)
    commit = user.resolve(request.rev)
    target = session.source(request.recipe, wanted, session.clone(user))
    label = request.rev if not commit.oid.startswith(request.rev) else ""
    return Candidate(subject.commits, commit.oid, label=label), target
