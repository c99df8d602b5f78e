# SPDX-License-Identifier: GPL-2.0-only
"""The jobs of a campaign in the form in which they go to a cluster: by content, and by identity where it is there.

This side runs on the campaign's host; worker.py is the other.
"""

from __future__ import annotations

import hashlib
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bisector import __version__, worker
from bisector.agent.plan import File, Plan
from bisector.codec import digest, dump
from bisector.errors import InfraError
from bisector.execute.cluster import ClusterExecutor, RemoteCall
from bisector.execute.local import LocalExecutor
from bisector.execute.remote import Call, Fitness, RemoteJob, UnsuitableWorker, Worker
from bisector.execute.start import StartSetting, reached
from bisector.execute.work import here
from bisector.execute.workers import Cluster
from bisector.interfaces import CancelToken, EditsDoNotApply, Listener, Phase, Progress
from bisector.jobs import in_slot, make_image, run_trial
from bisector.model import Ending, Image, Observation
from bisector.recipe.model import Recipe
from bisector.remote_build import BuildNames, RemoteBuild, can_travel
from bisector.system.files import write_whole
from bisector.system.sandbox import Sandbox
from bisector.system.xdg import Folders
from bisector.target.images import Images
from bisector.target.source import in_words
from bisector.transfer import arrived, bring_image, parts_of
from bisector.trial import accel
from bisector.trial.run import VmRunner
from bisector.trial.sandbox import SandboxRunner

BOOT = 360.0  # seconds that a VM has to its agent, where the runner does not say it: emulated, with modules
SILENT = 300.0  # seconds beyond a trial's own deadlines after which it hangs


@dataclass(frozen=True)
class ClusterSetting:
    """What a campaign's jobs need beside themselves. ``cache``, ``state``: our folders; ``tools``: the toolchain that
    the campaign builds with (worker.toolchain)."""

    address: str
    recipes: tuple[Recipe, ...]
    cache: Path
    state: Path
    sandbox: Sandbox
    listener: Listener
    ahead: int | None = 0
    tools: worker.Tools = ()


@contextmanager
def cluster_executor(setting: ClusterSetting, starting: StartSetting) -> Iterator[ClusterExecutor]:
    """The executor of a cluster whose workers are checked. Raises InfraError, UsageError."""

    def say(line: str) -> None:
        setting.listener(Progress(Phase.STAGE, line))

    ours = worker.Site(Folders(setting.cache, setting.state), starting.environ, starting.processes)
    setting = replace(setting, tools=worker.toolchain(setting.recipes, ours))
    with ExitStack() as ending:
        client = ending.enter_context(reached(setting.address, starting))
        cluster = Cluster(client, lambda cluster, worker: _fitness(setting, cluster, worker), say)
        ending.callback(cluster.close)
        cluster.wait_for_worker()
        jobs = Jobs(setting)
        local = LocalExecutor(builds=1, trials=1, ahead=1)
        yield ClusterExecutor(cluster, jobs.translated, local, ahead=setting.ahead)


def _fitness(setting: ClusterSetting, cluster: Cluster, candidate: Worker) -> Fitness:
    """Check a worker, as doctor does."""
    facts = RemoteCall(cluster, candidate, "", "").ask(worker.check, setting.recipes, setting.sandbox)
    if facts.version != __version__:
        return Fitness(frozenset(), (f"it has bisector {facts.version}, and this is {__version__}",))
    candidate.notes |= {"kvm": facts.kvm, "jobs": facts.jobs, "built": facts.built}
    missing = dict(facts.missing)
    if not missing["build"]:
        missing["build"] = other_tools(facts.tools, setting.tools)
    unfit = [slot for slot, lines in missing.items() if lines]
    kinds = {"build": "builds nothing", "trial": "runs no trials"}
    reasons = tuple(f"{kinds[slot]}: {'; '.join(missing[slot])}" for slot in unfit)
    return Fitness(frozenset(kinds) - set(unfit), reasons)


def other_tools(theirs: worker.Tools, ours: worker.Tools) -> tuple[str, ...]:
    """What keeps a worker from building what this host would: another compiler gives other kernels."""
    if set(theirs) == set(ours):
        return ()
    there = [in_words(tool) for tool in theirs if tool not in ours]
    here = [in_words(tool) for tool in ours if tool not in theirs]
    return (f"it has {', '.join(there) or 'less'}, and this campaign builds with {', '.join(here) or 'less'}",)


class Jobs:
    """Translates jobs for a cluster."""

    def __init__(self, setting: ClusterSetting) -> None:
        self.setting = setting
        self._builds = BuildNames()
        self._first = threading.Lock()  # held by the trial that finds out what a campaign's trials run on

    def translated(self, job: Callable[..., Any], args: tuple[Any, ...]) -> RemoteJob | None:
        """See ClusterExecutor."""
        if job is run_trial and isinstance(args[0], VmRunner | SandboxRunner):
            return RemoteTrial(self.setting, self._first, *args)
        if job is make_image and can_travel(args[0]):
            with suppress(EditsDoNotApply):
                target, candidate, *_ = args
                key, same = target.key(candidate), not target.other_tools()
                if target.known(key) is None and same and target.names_by_all_tools:
                    return RemoteBuild(self.setting.sandbox, self.setting.state, self._builds, key, *args)
        return None


@dataclass(eq=False)
class RemoteTrial:
    """``jobs.run_trial`` on a worker."""

    setting: ClusterSetting
    first: threading.Lock
    runner: VmRunner | SandboxRunner
    image: Image
    plan: Plan
    folder: Path
    listener: Listener
    cancel: CancelToken
    deadline: Callable[[str], float] | None = None
    heard_by: Listener = field(default=lambda _: None, init=False)
    _alone: bool = field(default=False, init=False)  # whether it holds ``first``

    @property
    def about(self) -> str:
        """Its image."""
        return self.image.identity

    def cancelled(self) -> bool:
        """Whether it is to stop."""
        return self.cancel.cancelled()

    def ready(self) -> bool:
        """The first trial of a campaign in VMs runs alone: by it they learn what all of them run on. The others wait
        for it, and hold no slot meanwhile."""
        vm = self._tries_kvm
        if vm is None or not vm.campaign or self._accel != "auto" or self._accelerated():
            return True  # the recipe may name what they run on: then no trial finds it out
        self._alone = self.first.acquire(blocking=False)
        return self._alone

    def heard(self, message: tuple[str, str, float | None]) -> None:
        """Hand on an event of the trial."""
        phase, detail, fraction = message
        self.heard_by(Progress(Phase(phase), detail, fraction))

    def fits(self, worker: Worker) -> int:
        """A worker that holds the image is better; one without KVM is none for a trial that runs on it."""
        if self.image.identity in worker.notes.get("lacking", {}):
            return 0
        found = self._accel == "auto" and '"accel": "kvm"' in self._accelerated()
        if (found or self._accel == "kvm") and not worker.notes.get("kvm"):
            return 0
        return 2 if self.image.identity in worker.notes.get("images", ()) else 1

    def run(self, call: Call) -> Observation:
        """Bring images and files there, run it, and take over its folder."""
        try:
            return self._run(call)
        finally:
            if self._alone:
                self._alone = False
                self.first.release()

    def trouble(self, result: Observation) -> str:
        """How the harness failed on the worker."""
        return (result.detail or "no reason") if result.ending is Ending.HARNESS else ""

    def _run(self, call: Call) -> Observation:
        if self.image.programs:
            self._require_libraries(call)
        with in_slot(self.listener) as job:
            self.heard_by = job.listener
            if self.deadline:
                self.plan = replace(self.plan, deadline=self.deadline(call.worker.name))
            for image in self._images():
                bring_image(call, image, self.setting.sandbox)
            plan = self._bring_files(call)
            answer = self._answer(call, plan)
            worker.unpack(answer.files, self.folder)
            seen = answer.observation
            job.ended = "stopped" if seen.ending is Ending.CANCELLED else ""
        return self._kept(seen)

    def _require_libraries(self, call: Call) -> None:
        """Bring the programs there. Raises UnsuitableWorker where libraries are missing that they need."""
        bring_image(call, self.image, self.setting.sandbox)
        name, checked = call.worker.name, call.worker.notes.setdefault("checked", set())
        if self.image.identity in checked:
            return
        lacking = call.ask(worker.missing_libraries, self.image.identity, self.setting.sandbox)
        with call.worker.lock:
            known = call.worker.notes.setdefault("lacking", {})
            new = bool(lacking) and self.image.identity not in known
            if lacking:
                known[self.image.identity] = lacking
            else:
                checked.add(self.image.identity)
        if new:
            what = f"{name}: runs no trials of {self.image.release or 'the programs'} ({self.image.identity[:12]}): "
            self.listener(Progress(Phase.STAGE, f"{what}it lacks {', '.join(lacking)}"))
        if lacking:
            raise UnsuitableWorker(name)

    def lost(self, what: str) -> Observation:
        """The harness's failure: a trial that takes its host with it may be the bug showing (law 7)."""
        return self._kept(Observation(Ending.HARNESS, detail=what))

    def _answer(self, call: Call, plan: Plan) -> worker.TrialAnswer:
        vm = self._tries_kvm
        campaign = digest(platform.node(), str(vm and vm.campaign))[:16]
        request = worker.TrialRequest(
            self.image.identity, plan, isinstance(self.runner, VmRunner), vm.accel if vm else "",
            vm.boot_deadline if vm else 0.0, campaign, self._accelerated(), self.setting.sandbox,
        )  # fmt: skip
        boot = (vm.boot_deadline or BOOT) if vm else 0.0
        answer = call.run(worker.run_trial, request, silence=boot + plan.deadline + SILENT)
        if vm and vm.campaign and answer.accelerated and not self._accelerated():
            vm.campaign.mkdir(parents=True, exist_ok=True)
            write_whole(vm.campaign / accel.MEMORY, answer.accelerated)
        return answer

    @property
    def _accel(self) -> str:
        """What it is to run on."""
        return self.runner.accel_of(self.plan)

    @property
    def _tries_kvm(self) -> VmRunner | None:
        """What finds out whether the campaign runs on KVM; None where nothing of it can."""
        return self.runner if isinstance(self.runner, VmRunner) else self.runner.kvm

    def _accelerated(self) -> str:
        campaign = self._tries_kvm.campaign if self._tries_kvm else None
        try:
            return (campaign / accel.MEMORY).read_text(encoding="utf-8") if campaign else ""
        except OSError:
            return ""

    def _images(self) -> Iterator[Image]:
        yield self.image
        for identity in filter(None, (self.plan.kernel, *(identity for _, identity in self.plan.kernels))):
            kernel = Images(self.setting.cache).held(identity)
            if kernel is None:
                raise InfraError("the VM's kernel is gone from the cache", hint="repeat the command")
            yield kernel

    def _bring_files(self, call: Call) -> Plan:
        """The plan with a hash of each file of the recipe, all of which are there now."""
        files = tuple(file if file.sha256 else replace(file, sha256=_sha256(file)) for file in self.plan.files)
        if files:
            hashes = tuple(file.sha256 for file in files)
            with call.alone():
                missing = call.ask(worker.missing_files, hashes, self.setting.sandbox)
                for file in files:
                    if file.sha256 in missing:
                        self._bring_file(call, file)
        return replace(self.plan, files=files)

    def _bring_file(self, call: Call, file: File) -> None:
        if _sha256(file) != file.sha256:
            raise InfraError(f"{file.path} changed since the recipe was read", hint="start again")
        with Path(file.path).open("rb") as content, arrived(call, parts_of(content), self.setting.sandbox) as name:
            call.ask(worker.take_file, file.sha256, name, self.setting.sandbox)

    def _kept(self, seen: Observation) -> Observation:
        work = here()
        observation = replace(seen, deadline=self.plan.deadline, slot=work.slot, worker=work.worker)
        if observation.ending is not Ending.CANCELLED:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "observation.json").write_text(dump(observation) + "\n", encoding="utf-8")
        return observation


def _sha256(file: File) -> str:
    with Path(file.path).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
