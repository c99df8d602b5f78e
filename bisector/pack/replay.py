# SPDX-License-Identifier: GPL-2.0-only
"""``bisector replay``: one recorded trial once more, and in what it differs from the first time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from bisector import __version__
from bisector.agent.plan import Plan
from bisector.case import LONGEST, Case
from bisector.codec import digest, dump
from bisector.errors import InfraError, Interrupted, UsageError
from bisector.exitcodes import ExitCode
from bisector.interfaces import CancelToken, Listener, Phase, Progress, Runner, Target, with_context
from bisector.jobs import in_slot
from bisector.model import (
    BuildFailure,
    Candidate,
    Ending,
    Image,
    Observation,
    Signal,
    TargetKind,
    Trial,
)
from bisector.other_kernels import usable, words_of
from bisector.pack.compare import Line, Side, compare, same_answer
from bisector.pack.source import Source
from bisector.recipe.matrix import apply, cell_named, cells, controls
from bisector.recipe.model import Recipe
from bisector.search.gitrepo import UserRepository
from bisector.search.measure import STAGE as MEASURED
from bisector.session import Session
from bisector.stage import CampaignState
from bisector.store import CampaignRow
from bisector.target.images import Images
from bisector.targets import subject_of
from bisector.verdict.clock import read_in_time
from bisector.verdict.duration import lasting
from bisector.verdict.numbers import measuring, resolved


@dataclass(frozen=True)
class ReplayRequest:
    """What a person wants: a trial, and where its image comes from (neither: from the export or the cache).

    ``trusted``: a recipe without a VM, of somebody else's, may run its programs on this host.
    """

    trial: int
    image: Path | None = None
    repo: Path | None = None
    trusted: bool = False


@dataclass(frozen=True)
class ReplayResult:
    """A trial and its repetition."""

    source: str  # the campaign, and the file it came in
    first: Trial
    now: Trial
    lines: tuple[Line, ...]
    campaign: str  # where the repetition is stored
    folder: str

    @property
    def same(self) -> bool:
        """Whether signal and condition are those of the first time."""
        return same_answer(self.lines)

    @property
    def exit_code(self) -> ExitCode:
        """0 for the same answer, 4 for another, 3 when the harness failed (which is no answer)."""
        if self.now.reading.signal is Signal.INFRA and self.first.reading.signal is not Signal.INFRA:
            return ExitCode.INFRA
        return ExitCode.OK if self.same else ExitCode.UNDECIDED


def run(request: ReplayRequest, source: Source, session: Session) -> ReplayResult:
    """Repeat one trial with its own seed. Raises UsageError, RecipeError, InfraError, Interrupted."""
    first = source.trial(request.trial)
    recipe = source.recipe()
    if source.file and not request.trusted:
        _refuse_what_runs_here(recipe, request, source.file)
    cell = cell_named(recipe, first.cell)
    recipe = apply(recipe, cell)
    planned = source.plan(first)
    beside = _kernels(planned, source, recipe, session)
    kernels = {whose: image.identity for whose, (_, image) in beside.items()}
    case = _as_long(session.case(recipe, cell, kernels=kernels), planned)
    case = _with_numbers(case, source.record.campaign, first)
    image = _image(request, source, first, recipe, session)
    row = session.add_campaign(_row(source, first), recipe)
    for candidate, other in beside.values():  # so that the repetition can be exported and repeated in its turn
        session.store.add_build(row.id, other.identity, candidate, other)
    trial = _tried(session, row, first, image, case, session.runner(recipe))
    known = source.record.images().get(first.image) or replace(image, identity=first.image, tools=())
    lines = compare(
        Side(first, known, source.made_by, source.config(first.image)),
        Side(trial, image, __version__, _text(image.config)),
    )
    where = source.record.campaign.id + (f" ({source.file})" if source.file else "")
    folder = session.store.campaign_folder(row.id) / trial.folder
    return ReplayResult(where, first, trial, lines, row.id, str(folder))


def _as_long(case: Case, recorded: Plan | None) -> Case:
    """The case with steps as long as they were: a campaign stretches ``for:`` to what its bug takes to show.

    All else comes from the recipe, which is checked when it is read; of the recorded plan seconds alone are taken, and
    no more of them than a campaign could come to.
    """
    lasted = {step.name: step.seconds for step in recorded.steps} if recorded else {}
    plan = case.plan
    most = plan.deadline if case.fixed_deadline else LONGEST
    steps = tuple(replace(step, seconds=min(lasted.get(step.name, step.seconds), most)) for step in plan.steps)
    longer = lasting(replace(plan, steps=steps)) - lasting(plan)
    deadline = plan.deadline if case.fixed_deadline else plan.deadline + max(0.0, longer)
    return replace(case, plan=replace(plan, steps=steps, deadline=deadline))


def _with_numbers(case: Case, campaign: CampaignRow, first: Trial) -> Case:
    """The case that reads a trial as it was read: against the limits that the ends gave, or for its numbers alone."""
    if first.stage == MEASURED:
        return replace(case, question=measuring(case.question))
    return replace(case, question=resolved(case.question, campaign.outcome.numbers if campaign.outcome else ()))


def _refuse_what_runs_here(recipe: Recipe, request: ReplayRequest, file: str) -> None:
    """Of somebody else's export nothing runs on this host, outside of a VM, that the person did not agree to."""
    if recipe.vm is None:
        said = [" ".join(step.run or ("fio",)) for step in recipe.steps.values() if step.run or step.fio]
        programs = ", ".join([*said, *(["QEMU with its guest"] if recipe.guest else [])])
        raise UsageError(
            f"this recipe runs its programs on this host and not in a VM, and they came with {file}",
            hint=f"read them first ({programs}); --trust runs them",
        )
    variables = subject_of(recipe).make
    if request.repo and variables:
        settings = ", ".join(f"{name}={value}" for name, value in variables)
        raise UsageError(
            f"the recipe in {file} gives variables to make, which runs on this host",
            hint=f"look at them first ({settings}); --trust builds with them",
        )


def _row(source: Source, first: Trial) -> CampaignRow:
    """Where the repetition is stored: like a test of one candidate, to be read, exported and repeated as one."""
    known = source.record.campaign
    return CampaignRow(
        id=f"replay-{known.recipe}-{time.strftime('%Y%m%d-%H%M%S')}",
        recipe=known.recipe,
        title=known.title,
        source=known.source,
        repo="",
        good="",
        bad=first.candidate.revision,
        find_fix=False,
        cell=first.cell,
        created=time.time(),
        state=CampaignState.TEST,
    )


# ---- the image -----------------------------------------------------------------------------------------------------


def _image(request: ReplayRequest, source: Source, first: Trial, recipe: Recipe, session: Session) -> Image:
    candidate = first.candidate
    target: Target | None = None
    if request.image:
        path = request.image.resolve()
        candidate = Candidate(TargetKind.GIVEN, str(path), label=path.name)
        target = subject_of(recipe).given(session)
    elif request.repo:
        target = _built_from(request.repo, candidate, recipe, session)
    elif found := source.image(first.image, Images(session.setting.folders.cache)):
        return found
    else:
        target = _packages(candidate, recipe, session)
    if target is None:
        raise UsageError(
            f"the image of trial {first.number} ({candidate}, {first.image[:12]}) is not at hand",
            hint="give --image PATH or --repo DIR, or ask for an export made --with-images",
        )
    made = session.made(target, candidate)
    if isinstance(made, BuildFailure):
        first_line = made.errors[0] if made.errors else made.log
        raise UsageError(f"{candidate} cannot be built here: {made.stage} failed: {first_line}", hint=made.log)
    return made


def _packages(candidate: Candidate, recipe: Recipe, session: Session) -> Target | None:
    """What fetches the candidate again, where it is a package."""
    packaged = candidate.target is TargetKind.KERNEL_PACKAGE
    return session.kernel_package(recipe, cells(recipe)) if packaged else None


def _kernels(
    planned: Plan | None, source: Source, recipe: Recipe, session: Session
) -> dict[str, tuple[Candidate, Image]]:
    """Whose → what the trial used beside its candidate, all of it in the cache."""
    images = Images(session.setting.folders.cache)
    known = {build.image.identity: build for build in source.record.builds if build.image}
    recorded = dict(planned.kernels) if planned else {}
    found = {}
    for whose in recipe.kernels_beside:
        build = known.get(recorded.get(whose, ""))
        if build is None or build.image is None:
            raise UsageError(f"it is not recorded what the trial used as the {words_of(recipe, whose)}")
        image = source.image(build.image.identity, images)
        if image is None and (target := _packages(build.candidate, recipe, session)):
            image = usable(session.made(target, build.candidate), build.candidate, recipe, whose)
        if image is None or images.held(image.identity) is None:
            what = f"the {words_of(recipe, whose)} ({build.candidate}), which the trial used too, is not at hand"
            raise UsageError(what, hint="ask for an export made --with-images")
        found[whose] = (build.candidate, image)
    return found


def _built_from(repo: Path, candidate: Candidate, recipe: Recipe, session: Session) -> Target:
    if candidate.target not in (TargetKind.KERNEL_SOURCE, TargetKind.QEMU_SOURCE):
        raise UsageError(f"{candidate} was not built from source: --repo does not fit", hint="give --image PATH")
    user = UserRepository(repo)
    for oid in (candidate.revision, *(edit.commit for edit in candidate.edits)):
        user.resolve(oid)
    return session.source(recipe, (*cells(recipe), *controls(recipe)), session.clone(user))


# ---- the trial -----------------------------------------------------------------------------------------------------


def _tried(session: Session, row: CampaignRow, first: Trial, image: Image, case: Case, runner: Runner) -> Trial:
    """The recorded trial's question and seed on an image; stored. The clock is the recipe's whole one: a deadline that
    was scaled to another machine means nothing here."""
    token = digest(row.id, time.time_ns())[:12]
    plan = replace(case.plan, seed=first.seed, token=token)
    place = f"trials/{first.stage}-{image.identity[:12]}-0-{token}"
    folder = session.store.campaign_folder(row.id) / place
    listener = with_context(session.setting.listener, campaign=row.id, recipe=row.recipe, stage=first.stage)
    listener = with_context(listener, candidate=str(first.candidate))
    listener(Progress(Phase.CANDIDATE, f"trial {first.number}, {first.stage}: {first.candidate}"))
    future = session.executor.submit("trial", _run, runner, image, plan, folder, listener, session.cancel)
    observation = future.result()
    if observation.ending is Ending.CANCELLED:
        raise Interrupted("stopped during the trial; nothing of it is stored")
    reading = read_in_time(observation, case.question)
    session.store.add_build(row.id, image.identity, first.candidate, image)
    stored = session.store.add_trial(
        row.id,
        replace(
            first, number=0, image=image.identity, plan=plan.identity(), reading=reading, observation=observation,
            folder=place,
        ),
    )  # fmt: skip
    text = f"{first.candidate}: {reading.signal} ({reading.condition or reading.reason})"
    listener(Progress(Phase.TRIAL, text, trial=stored))
    return stored


def _run(
    runner: Runner, image: Image, plan: Plan, folder: Path, listener: Listener, cancel: CancelToken
) -> Observation:
    with in_slot(listener) as job:
        observation = runner.run(image, plan, folder, listener=job.listener, cancel=cancel)
        job.ended = "stopped" if observation.ending is Ending.CANCELLED else ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "observation.json").write_text(dump(observation) + "\n", encoding="utf-8")
    except OSError as error:
        raise InfraError(f"{folder} cannot be written: {error.strerror or error}") from error
    return observation


def _text(path: str) -> str:
    return Path(path).read_text(errors="replace", encoding="utf-8") if path and Path(path).is_file() else ""
