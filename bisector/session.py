# SPDX-License-Identifier: GPL-2.0-only
"""Assembles what a campaign or a test works with: store, processes, slots, target, runner, judge."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType

from bisector.cache import at_work
from bisector.case import Case
from bisector.codec import digest
from bisector.errors import InfraError, RecipeChanged, RecipeError, UsageError
from bisector.execute.executor import Executor
from bisector.execute.local import LocalExecutor
from bisector.execute.share import TrialSlots
from bisector.interfaces import CancelToken, Listener, Phase, Progress, Runner, Target, with_context
from bisector.jobs import make_image
from bisector.judge import AddFixups, Judge
from bisector.model import BuildFailure, Candidate, Cell, Image
from bisector.recipe import kept, load
from bisector.recipe.model import DEFAULT_TRIALS, Recipe
from bisector.recipe.modules import all_modules, modules_for
from bisector.recipe.plan import build_config, largest_vm, plan_for, question_for
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import UserRepository
from bisector.store import CampaignRow, Store
from bisector.system.apt import Archive, host_mirror
from bisector.system.distribution import DEBIAN
from bisector.system.locks import locked
from bisector.system.proc import Processes
from bisector.system.sandbox import CONFINED, Sandbox
from bisector.system.xdg import Folders
from bisector.target.given import GivenKernel
from bisector.target.images import Images
from bisector.target.kernel_package import ArchiveSource, FolderSource, KernelPackage, PackageSource
from bisector.target.kernel_source import KernelSource
from bisector.target.programs import Programs
from bisector.target.qemu_source import QemuSource
from bisector.target.source import SourceTarget
from bisector.targets import subject_of
from bisector.tools import JudgeTools
from bisector.trial import fio_jobs, programs
from bisector.trial.run import VmRunner
from bisector.trial.sandbox import SandboxRunner
from bisector.verdict.budget import Budget
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.rule import Rule, Sequential
from bisector.verdict.sequential import Belief
from bisector.vm_kernel import VmKernels
from bisector.work_log import WorkLog

DEFAULT_MAX_ERROR = 0.01
"""Chance of a wrong culprit that a campaign allows itself, where the recipe says nothing."""

NO_KERNELS: Mapping[str, str] = MappingProxyType({})

OTHER_FAILURES = 3
"""So many trials that ended in another failure make a candidate a skip."""


@dataclass(frozen=True)
class Setting:
    """What one command was given by its caller. ``jobs``: parallel jobs of one build; ``trials_at_once``: slots;
    ``builds_ahead``: builds at once that nobody needs yet, None: as builders of a cluster are idle; ``cluster``: where
    jobs run, "" for this host, whose workers are checked for ``recipes``; ``build_all``: build also what has the inputs
    of another build."""

    folders: Folders
    environ: Mapping[str, str]
    listener: Listener
    jobs: int
    sandbox: Sandbox = CONFINED
    trials_at_once: int = 1
    builds_ahead: int | None = 0
    cluster: str = ""
    recipes: tuple[Recipe, ...] = ()
    build_all: bool = False


class Session:
    """Everything that must be opened and closed around a campaign. Use as a context manager.

    Raises InfraError when the state folder cannot be used, SandboxUnusable where nothing can be confined.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.processes = Processes(setting.folders.state / "processes", setting.sandbox)
        self.processes.check_sandbox()
        self.store = Store(setting.folders.state)
        self.processes.reap_orphans()
        self._vm_kernels = VmKernels(
            self.given, lambda recipe: self._packages(recipe, all_modules(), ()), self.made, setting.folders.cache,
            setting.listener,
        )  # fmt: skip
        self._at_work = ExitStack()
        self.before_close = ExitStack()
        """Closed when all work has ended, while the store is still open."""
        try:
            self.executor = self._executor()
            self._slots = TrialSlots(partial(self.executor.count, "trial"))
            self._at_work.enter_context(at_work(setting.folders.cache))
        except BaseException:
            self._at_work.close()
            self.store.close()
            raise
        self.cancel = CancelToken(str(setting.folders.state / f"cancel-{os.getpid()}-{time.time_ns()}"))

    def _executor(self) -> Executor:
        setting = self.setting
        if not setting.cluster:
            return LocalExecutor(builds=1, trials=setting.trials_at_once, ahead=setting.builds_ahead or 0)
        try:  # the extra is imported where it is needed alone
            from bisector.execute.start import StartSetting
            from bisector.remote import ClusterSetting, cluster_executor
        except ImportError as error:
            what = f"--cluster needs the module {error.name or 'distributed'}, which is not installed"
            raise UsageError(what, hint="pip install 'bisector[cluster]'") from error
        places = setting.folders
        starting = StartSetting(
            places.state, self.processes, setting.environ, lambda line: setting.listener(Progress(Phase.STAGE, line)),
            *largest_vm(setting.recipes),
        )  # fmt: skip
        wanted = ClusterSetting(
            setting.cluster, setting.recipes, places.cache, places.state, setting.sandbox, setting.listener,
            setting.builds_ahead,
        )  # fmt: skip
        return self._at_work.enter_context(cluster_executor(wanted, starting))

    @property
    def trials_at_once(self) -> int:
        """Trials that run beside each other now."""
        return self.executor.count("trial")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel.cancel()  # what still runs in a slot, and nobody needs, ends soon
        self.executor.shutdown(cancel_futures=True)
        Path(self.cancel.path).unlink(missing_ok=True)
        self.before_close.close()
        self.store.close()
        self._at_work.close()

    # ---- the campaign's row and folder

    def add_campaign(self, row: CampaignRow, recipe: Recipe) -> CampaignRow:
        """Store a new campaign under an id that is free, with its recipe in its folder and the files that it names.

        Raises InfraError, also when this host lacks a program of the recipe's steps: then nothing is stored.
        """
        self._require_programs(recipe)
        made = self.store.add_campaign(row)
        try:
            kept.keep(recipe, self.store.campaign_folder(made.id) / kept.OWN)
        except BaseException as error:
            self.store.remove_campaign(made.id)
            if not isinstance(error, OSError):
                raise
            raise InfraError(
                f"the files that {row.recipe} names cannot be kept: {error.filename or ''} {error.strerror or error}",
                hint="free space, or correct the rights of the file or of the state folder",
            ) from error
        return made

    def check_own(self, campaign: str, recipe: Recipe) -> None:
        """Raise RecipeChanged where a file that the recipe names is not what it was when the campaign began, InfraError
        where one cannot be read."""
        try:
            name = kept.changed(recipe, self.store.campaign_folder(campaign) / kept.OWN)
        except OSError as error:
            raise InfraError(f"{error.filename} cannot be read: {error.strerror}") from error
        if name:
            raise RecipeChanged(name, campaign)

    @contextmanager
    def lock(self, campaign: str) -> Iterator[None]:
        """Held while a process works on the campaign. Raises InfraError when another one does."""
        busy = f"campaign {campaign} is at work in another process"
        with locked(self.store.campaign_folder(campaign) / "lock", busy=busy):
            yield

    # ---- what a campaign works with

    def clone(self, user: UserRepository) -> PrivateClone:
        """Our private clone of the user's repository."""
        return PrivateClone.of(user, self.setting.folders.state, self.processes)

    def source(self, recipe: Recipe, cells: tuple[Cell, ...], clone: PrivateClone) -> Target:
        """Builds what the recipe tests, from the clone."""
        return subject_of(recipe).source(self, cells, clone)

    def qemu_source(self, programs: tuple[str, ...], clone: PrivateClone) -> Target:
        """Builds programs of QEMU from the clone."""
        cache = self.setting.folders.cache
        jobs, environ = self.setting.jobs, self.setting.environ
        return QemuSource(clone, self._build_dirs(clone), cache, programs, self.processes, jobs=jobs, environ=environ)

    def kernel_source(self, recipe: Recipe, cells: tuple[Cell, ...], clone: PrivateClone) -> Target:
        """Builds kernels from the clone with the union of the cells' configs."""
        folders = self.setting.folders
        return KernelSource(
            clone,
            self._build_dirs(clone),
            folders.cache,
            build_config(recipe, cells),
            self.processes,
            jobs=self.setting.jobs,
        )

    def _build_dirs(self, clone: PrivateClone) -> Path:
        return self.setting.folders.cache / "build-dirs" / f"{clone.folder.name}-{_birth(clone)}"

    def kernel_package(self, recipe: Recipe, cells: tuple[Cell, ...], folders: tuple[Path, ...] = ()) -> KernelPackage:
        """Takes kernels from the distribution's archive, or from the .deb files in ``folders``.

        Raises InfraError when this host has no such archive.
        """
        return self._packages(recipe, modules_for(recipe, cells), folders)

    def _packages(self, recipe: Recipe, modules: tuple[str, ...], folders: tuple[Path, ...]) -> KernelPackage:
        cache = self.setting.folders.cache
        source: PackageSource = (
            FolderSource(folders, self.processes) if folders else self._archive_source(recipe, cache)
        )
        return KernelPackage(source, cache, self.processes, modules)

    def _archive_source(self, recipe: Recipe, cache: Path) -> ArchiveSource:
        suites = recipe.search.suites or DEBIAN.suites
        folder = cache / "archive" / digest(suites)[:12]
        archive = Archive(self.processes, folder, suites, host_mirror(self.processes))
        return ArchiveSource(archive, cache / "packages")

    def given(self) -> Target:
        """Takes kernels that somebody else built."""
        return GivenKernel(self.setting.folders.cache, self.processes)

    def programs(self, names: tuple[str, ...]) -> Target:
        """Takes programs of QEMU that somebody else built, or that are installed."""
        return Programs(self.setting.folders.cache, names, self.setting.environ, self.processes)

    def runner(self, recipe: Recipe) -> Runner:
        """What runs a trial of this recipe: a VM, or a sandbox on this host."""
        held = Images(self.setting.folders.cache).held
        folders, environ = self.setting.folders, self.setting.environ
        if recipe.vm is not None:
            return VmRunner(self.processes, folders.state, environ, recipe.vm.accel, kernels=held)
        decides = recipe.other_kernel is not None and recipe.guest is not None and recipe.guest.accel == "auto"
        kvm = VmRunner(self.processes, folders.state, environ, kernels=held) if decides else None
        return SandboxRunner(self.processes, kernels=held, kvm=kvm)

    def _runner_of(self, campaign: str, recipe: Recipe) -> Runner:
        """The runner for the trials of one campaign (id), all of which run on one acceleration."""
        runner, folder = self.runner(recipe), self.store.campaign_folder(campaign)
        return runner.for_campaign(folder) if isinstance(runner, VmRunner | SandboxRunner) else runner

    def made(self, target: Target, candidate: Candidate) -> Image | BuildFailure:
        """A candidate's image, outside of a campaign's judging. Raises InfraError, Interrupted, UsageError."""
        listener = self.setting.listener
        return self.executor.submit("build", make_image, target, candidate, listener, self.cancel).result()

    def vm_kernel(self, recipe: Recipe) -> Image | None:
        """The kernel that the VM (without one: the guest) boots where QEMU is under test; else None.

        It is made or fetched when it is first needed. Raises InfraError and UsageError when it is not to be had.
        """
        return self._vm_kernels.of(recipe)

    def pin_vm_kernel(self, recipe: Recipe, campaign: str) -> None:
        """Have a campaign (id) keep the kernel that its VMs began with. Raises as ``vm_kernel`` does."""
        self._vm_kernels.pin(recipe, self.store.campaign_folder(campaign), campaign)

    def judge(
        self,
        campaign: str,
        recipe: Recipe,
        target: Target,
        control: Candidate | None = None,
        add_fixups: AddFixups | None = None,
    ) -> Judge:
        """A judge that writes into the campaign."""
        listener = with_context(self.setting.listener, campaign=campaign, recipe=recipe.recipe)
        listener = WorkLog(self.store, campaign).beside(listener)
        tools = JudgeTools(
            target, self._runner_of(campaign, recipe), self.store, campaign, self.executor, listener, self.cancel,
            not _loses_objects(target), self.setting.build_all, self._slots,
        )  # fmt: skip
        return Judge(tools, control, add_fixups)

    def case(
        self, recipe: Recipe, cell: Cell, *, sequential: bool = False, kernels: Mapping[str, str] = NO_KERNELS
    ) -> Case:
        """What every candidate is judged by in one cell; ``recipe`` has the cell's overrides applied.

        Args:
            sequential: as a whole campaign asks, which learns the rate of reproduction from its ends; else, and where
                the recipe says ``trials: N``, by a fixed number of trials.
            kernels: whose → the identity of what each trial boots beside the candidate (bisector/other_kernels.py).

        Raises InfraError when this host lacks a program of the recipe's steps, or the kernel for the VM.
        """
        self._require_programs(recipe)
        vm_kernel = self.vm_kernel(recipe)
        return Case(
            cell=cell,
            plan=replace(
                plan_for(recipe, cell),
                kernel=vm_kernel.identity if vm_kernel else "",
                kernels=tuple((whose, kernels[whose]) for whose in recipe.kernels_beside),
            ),
            question=question_for(recipe),
            rule=self.rule(recipe, sequential=sequential),
            fixed_deadline=recipe.deadline is not None,
        )

    def _require_programs(self, recipe: Recipe) -> None:
        programs.require(recipe, self.setting.environ, self.processes)
        if faults := fio_jobs.faults(recipe, self.processes):
            raise RecipeError(load.diagnostics(recipe, faults))

    @staticmethod
    def rule(recipe: Recipe, *, sequential: bool) -> Rule:
        """What decides, before any trial. ``sequential``: as of ``case``."""
        if sequential and recipe.trials is None:
            return Sequential(Belief(Budget(_max_error(recipe))))
        return FixedTrials(Session.trials(recipe), OTHER_FAILURES)

    @staticmethod
    def trials(recipe: Recipe) -> int:
        """Clean trials that make a candidate good where no rate is learnt."""
        return recipe.trials or DEFAULT_TRIALS

    @staticmethod
    def how_sure(recipe: Recipe) -> str:
        """What makes a candidate good in a campaign of this recipe, in words."""
        if recipe.trials is not None:
            good = f"{recipe.trials} clean trials make a candidate good, as the recipe says"
            return f"{good}; what chance of error that leaves is not known"
        return (
            f"the chance of naming a wrong commit is kept below {_max_error(recipe):.2g}, for a bug that reproduces "
            "equally often wherever it is"
        )


def _loses_objects(target: Target) -> bool:
    """Whether a build that is stopped costs the objects of those before it: then nothing is built ahead."""
    return isinstance(target, SourceTarget) and target.whole


def _birth(clone: PrivateClone) -> str:
    """A name that a clone made anew (its state was removed, the cache was kept) does not share with its forerunner:
    build folders of the old one hold files of which the new one knows nothing."""
    name, draft = clone.folder / "birth", clone.folder / f"birth-{secrets.token_hex(4)}"
    if not name.exists():
        draft.write_text(secrets.token_hex(4), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            name.hardlink_to(draft)  # whole or not at all, and only the first of two processes or threads
        draft.unlink()
    return name.read_text(encoding="utf-8")


def _max_error(recipe: Recipe) -> float:
    return recipe.confidence.max_error if recipe.confidence else DEFAULT_MAX_ERROR
