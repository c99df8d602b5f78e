# SPDX-License-Identifier: GPL-2.0-only
"""Trials on workers as a campaign sees them: real trials in a sandbox, workers in threads of this process."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bisector.agent.plan import File, Guest, Plan, Step
from bisector.errors import InfraError, Interrupted
from bisector.execute.cluster import ClusterExecutor, RemoteCall
from bisector.execute.local import LocalExecutor
from bisector.execute.remote import Worker
from bisector.interfaces import CancelToken, Progress
from bisector.jobs import run_trial
from bisector.model import Ending, Image, Observation
from bisector.system.proc import Processes
from bisector.system.sandbox import CONFINED
from bisector.target.images import Images
from bisector.trial import accel
from bisector.trial.run import VmRunner
from bisector.trial.sandbox import SandboxRunner

distributed = pytest.importorskip("distributed")

from bisector import remote, worker  # noqa: E402
from bisector.execute.workers import Cluster  # noqa: E402

NEVER = CancelToken()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two workers, one trial each at once."""
    settings = {"n_workers": 2, "threads_per_worker": 3, "processes": False, "dashboard_address": ":0"}
    with (
        pytest.MonkeyPatch.context() as patch,
        distributed.LocalCluster(**settings, resources={"trial": 1}, protocol="tcp") as cluster,
    ):
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("workers")))
        with distributed.Client(cluster, set_as_default=False) as connected:
            yield connected


@dataclass
class Place:
    """A campaign's host."""

    root: Path
    executor: ClusterExecutor
    seen: list[Progress] = field(default_factory=list)
    runner: SandboxRunner | VmRunner | None = None

    @property
    def cluster(self) -> Cluster:
        return self.executor.cluster

    def image(self, text: str = "one") -> Image:
        """An image of programs."""
        images = Images(self.root / "cache")
        with images.staging() as staged:
            (staged / "bin").mkdir()
            (staged / "bin/program").write_text(f"#!/bin/sh\necho {text}\n")
            (staged / "bin/program").chmod(0o755)
            return images.keep(text, staged, Image("", ""))

    def trial(
        self,
        image: Image,
        plan: Plan | None = None,
        name: str = "trial",
        deadline: Callable[[str], float] | None = None,
        cancel: CancelToken = NEVER,
    ) -> Any:
        """Begin a trial."""
        runner = self.runner or SandboxRunner(Processes(self.root / "processes"))
        wanted = plan or Plan(steps=(Step("say", "run", argv=("program",)),), vm=False, deadline=30.0, token="t1")
        folder = self.root / "campaign" / name
        return self.executor.submit(
            "trial", run_trial, runner, image, wanted, folder, self.seen.append, cancel, deadline
        )  # fmt: skip


@pytest.fixture
def place(client: Any, tmp_path: Path) -> Iterator[Place]:
    """A campaign that uses the workers; nothing falls back to this host."""
    setting = remote.ClusterSetting("", (), tmp_path / "cache", tmp_path / "state", CONFINED, lambda _: None)
    cluster = Cluster(client, lambda cluster, each: remote._fitness(setting, cluster, each), lambda _: None)
    cluster.wait_for_worker()
    jobs, local = remote.Jobs(setting), LocalExecutor(builds=1, trials=1)
    executor = ClusterExecutor(cluster, jobs.translated, local)
    while sum(each.checked for each in cluster.workers.values()) < 2:
        time.sleep(0.02)
    yield Place(tmp_path, executor)
    executor.shutdown(cancel_futures=True)


def test_a_trial_gets_its_image_and_files_and_its_folder_comes_back(place: Place) -> None:
    helper = place.root / "helper.sh"
    helper.write_text("echo helped\n")
    files = (File("helper.sh", str(helper), ""),)
    plan = Plan(steps=(Step("say", "run", argv=("program",)),), files=files, vm=False, deadline=30.0, token="t1")
    seen = place.trial(place.image(), plan).result(60)
    assert seen.ending is Ending.FINISHED and seen.result.steps[0].exit == 0
    assert seen.worker in {each.name for each in place.cluster.workers.values()} and seen.slot == "trial 1"
    folder = place.root / "campaign/trial"
    assert {"plan.json", "observation.json"} <= {path.name for path in folder.iterdir()}
    there = worker.site(CONFINED).folders
    assert (there.cache / "files" / hashlib.sha256(helper.read_bytes()).hexdigest()).is_file()
    assert not list((there.state / "work").iterdir())
    assert not place.cluster.faults


def test_an_image_travels_to_a_worker_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, packed = [], worker.packed_image
    monkeypatch.setattr("bisector.worker.packed_image", lambda image: sent.append(image.identity) or packed(image))
    image = place.image("sent once")
    for number in range(3):
        assert place.trial(image, name=f"trial-{number}").result(60).ending is Ending.FINISHED
    assert sent == [image.identity]  # the workers share a cache here, and the second asks first


def test_images_and_files_arrive_whole_in_many_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisector.transfer.PART", 1000)
    (place.root / "big").write_bytes(bytes(range(256)) * 20)
    (place.root / "empty").write_bytes(b"")
    files = tuple(File(name, str(place.root / name), "") for name in ("big", "empty"))
    look = Step("look", "run", argv=("sh", "-c", "program && sha256sum big empty"))
    seen = place.trial(place.image("in parts"), Plan((look,), files=files, vm=False, deadline=30.0, token="t1"))
    detail = seen.result(60).result.steps[0].detail
    assert "in parts" in detail
    for name in ("big", "empty"):
        assert f"{hashlib.sha256((place.root / name).read_bytes()).hexdigest()}  {name}" in detail
    assert not list(worker.arriving(worker.site(CONFINED)).glob("*"))


def test_a_file_that_was_changed_meanwhile_is_not_kept_under_the_name_of_what_it_was(place: Place) -> None:
    helper, there = place.root / "helper.sh", worker.site(CONFINED).folders.cache / "files"
    read = hashlib.sha256(b"echo as it was read\n").hexdigest()
    helper.write_text("echo changed\n")
    files = (File("helper.sh", str(helper), read),)
    plan = Plan(steps=(Step("say", "run", argv=("program",)),), files=files, vm=False, deadline=30.0, token="t1")
    with pytest.raises(InfraError, match=r"helper\.sh changed since the recipe was read"):
        place.trial(place.image(), plan).result(60)
    assert not (there / read).exists() and not place.cluster.faults
    helper.write_text("echo as it was read\n")
    assert place.trial(place.image(), plan, name="again").result(60).ending is Ending.FINISHED
    assert (there / read).is_file()


def test_a_file_that_does_not_arrive_whole_is_not_kept(place: Place) -> None:
    there, wanted = worker.site(CONFINED).folders.cache / "files", hashlib.sha256(b"the whole file").hexdigest()
    worker.take_part(None, "part", b"the whole", CONFINED)  # type: ignore[arg-type]
    with pytest.raises(InfraError, match="a file of the recipe came as"):
        worker.take_file(None, wanted, "part", CONFINED)  # type: ignore[arg-type]
    assert worker.missing_files(None, (wanted,), CONFINED) == (wanted,)  # type: ignore[arg-type]
    assert not list(there.glob(f"*{wanted}*"))


def test_an_image_on_its_way_is_left_there_when_its_trial_is_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bisector.transfer.PART", 1000)
    stop, came = CancelToken(str(place.root / "stop")), place.root / "came"

    def slow(there: Any, name: str, data: bytes, sandbox: Any) -> None:  # the worker has a copy of it for each call
        take(there, name, data, sandbox)
        (arrived,) = worker.arriving(worker.site(sandbox)).glob("*")
        came.write_text(str(arrived.stat().st_size))
        if arrived.stat().st_size == 2000:
            stop.cancel()

    take = worker.take_part
    monkeypatch.setattr("bisector.worker.take_part", slow)
    image = place.image("stopped on its way")
    with pytest.raises(Interrupted):
        place.trial(image, cancel=stop).result(60)
    assert came.read_text() == "2000" and len(worker.packed_image(image)) > 5000
    assert not list(worker.arriving(worker.site(CONFINED)).glob("*"))
    assert not place.cluster.faults
    stop.forget()
    assert place.trial(image, name="again").result(60).ending is Ending.FINISHED


def test_a_job_that_waits_while_another_brings_something_is_stopped_at_once(place: Place) -> None:
    there = next(iter(place.cluster.workers.values()))
    stopped = RemoteCall(place.cluster, there, "job", "trial", lambda: True)
    with RemoteCall(place.cluster, there, "other", "trial").alone(), pytest.raises(Interrupted), stopped.alone():
        pass
    assert not there.lock.locked()


def test_a_deadline_is_that_of_the_worker(place: Place) -> None:
    seen = [place.trial(place.image(), name=f"trial-{n}", deadline=lambda name: 40.0 + int(name)) for n in range(4)]
    for each in [future.result(60) for future in seen]:
        assert each.deadline == 40.0 + int(each.worker)


def test_an_image_that_arrives_as_another_one_is_the_harness_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = worker.packed_image(place.image("other"))
    monkeypatch.setattr("bisector.worker.packed_image", lambda _: other)
    seen = place.trial(place.image("wanted")).result(60)
    assert seen.ending is Ending.HARNESS and "got image" in seen.detail
    assert [kind for _, _, kind in place.cluster.faults] == ["sent what it is not"]


def test_a_worker_whose_disk_is_full_fails_the_trial_and_not_the_campaign(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Image:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bisector.worker.keep_image", full)
    seen = place.trial(place.image("too much")).result(60)
    assert seen.ending is Ending.HARNESS and "No space left on device" in seen.detail
    assert [kind for _, _, kind in place.cluster.faults] == ["failed"]
    monkeypatch.undo()
    assert place.trial(place.image("too much"), name="again").result(60).ending is Ending.FINISHED


def test_what_the_harness_fails_on_a_worker_that_lives_is_counted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Observation(Ending.HARNESS, detail="QEMU did not start")
    monkeypatch.setattr("bisector.worker.SandboxRunner.run", lambda *_, **__: failing)
    image = place.image()
    assert place.trial(image).result(60).ending is Ending.HARNESS
    assert list(place.cluster.faults.values()) == [[image.identity]]


def test_a_trial_that_comes_back_after_it_was_given_up_counts_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def slow(*_: object, **__: object) -> Observation:
        time.sleep(2)
        ended.set()
        return Observation(Ending.FINISHED)

    monkeypatch.setattr("bisector.worker.SandboxRunner.run", slow)
    monkeypatch.setattr("bisector.remote.SILENT", -29.5)
    results: list[Observation] = []
    future = place.trial(place.image())
    future.add_done_callback(lambda done: results.append(done.result()))
    assert future.result(60).ending is Ending.HARNESS and not ended.is_set()
    assert ended.wait(10)
    time.sleep(0.5)
    kept = (place.root / "campaign/trial/observation.json").read_text()
    assert [each.ending for each in results] == [Ending.HARNESS] and '"harness"' in kept
    assert [path.name for path in (place.root / "campaign/trial").iterdir()] == ["observation.json"]


def test_the_first_trial_in_a_vm_runs_alone_and_the_others_wait_without_a_slot(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most, go, both = set(), [], threading.Event(), threading.Barrier(2)

    class ActedRunner:
        def __init__(self, *arguments: Any) -> None:
            self.campaign = arguments[-1]

        def run(self, *_: object, **__: object) -> Observation:
            me = object()
            running.add(me)
            most.append(len(running))
            if not (self.campaign / accel.MEMORY).exists():
                assert go.wait(20)
                (self.campaign / accel.MEMORY).write_text('{"accel": "tcg"}')
            else:
                both.wait(20)
            running.discard(me)
            return Observation(Ending.FINISHED)

    monkeypatch.setattr("bisector.worker.VmRunner", ActedRunner)
    campaign = place.root / "campaign"
    place.runner = VmRunner(Processes(place.root / "processes"), place.root / "state", {}, campaign=campaign)
    stop = CancelToken(str(place.root / "stop"))
    image = place.image()
    first = place.trial(image, name="first")
    while not running:
        time.sleep(0.02)
    others = [place.trial(image, name=f"other-{number}") for number in range(2)]
    stopped = place.trial(image, name="stopped", cancel=stop)
    time.sleep(0.6)
    assert sum(each.work for each in place.cluster.workers.values()) == 1
    stop.cancel()
    assert "stopped" in str(stopped.exception(5))
    assert most == [1]
    go.set()
    assert {each.result(60).ending for each in (first, *others)} == {Ending.FINISHED}
    assert max(most[1:]) == 2  # and then beside each other
    assert (campaign / accel.MEMORY).read_text() == '{"accel": "tcg"}'


def test_where_the_recipe_names_the_acceleration_no_trial_waits_for_a_first_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    class ActedRunner:
        def __init__(self, *_: object) -> None:
            pass

        def run(self, *_: object, **__: object) -> Observation:
            both.wait(20)
            return Observation(Ending.FINISHED)

    monkeypatch.setattr("bisector.worker.VmRunner", ActedRunner)
    place.runner = VmRunner(
        Processes(place.root / "processes"), place.root / "state", {}, "tcg", campaign=place.root / "campaign"
    )
    image = place.image()
    trials = [place.trial(image, name=f"trial-{number}") for number in range(4)]
    assert [each.result(60).ending for each in trials] == [Ending.FINISHED] * 4


def test_a_trial_on_kvm_that_the_recipe_names_gets_no_worker_without_it(tmp_path: Path) -> None:
    setting = remote.ClusterSetting("", (), tmp_path / "cache", tmp_path, CONFINED, print)
    processes = Processes(tmp_path / "records")

    def suits(runner: SandboxRunner | VmRunner, plan: Plan, kvm: bool) -> bool:
        words = (Image("tried", ""), plan, tmp_path, print, NEVER)
        there = Worker("there", "tcp://there", {"trial": 1}, notes={"kvm": kvm})
        return bool(remote.RemoteTrial(setting, threading.Lock(), runner, *words).fits(there))

    for accel_named, wants in (("kvm", True), ("tcg", False), ("auto", False)):
        in_vm = VmRunner(processes, tmp_path, {}, accel_named)
        without = Plan(steps=(), vm=False, guest=Guest(accel=accel_named))
        for runner, plan in ((in_vm, Plan(steps=())), (SandboxRunner(processes), without)):
            assert suits(runner, plan, True) and suits(runner, plan, False) is not wants


def test_a_worker_that_lacks_libraries_of_an_image_gets_no_trials_of_it_and_the_output_says_why(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, ...]] = [("libaio.so.1", "GLIBC_2.38"), ()]
    monkeypatch.setattr("bisector.target.programs.missing_libraries", lambda *_: said.pop(0))
    image, other = place.image("linked"), place.image("sound")
    ran = [place.trial(image, name=f"trial-{number}").result(60) for number in range(3)]
    lacking = next(each for each in place.cluster.workers.values() if each.notes.get("lacking"))
    assert {each.worker for each in ran} == {each.name for each in place.cluster.workers.values()} - {lacking.name}
    what = f"{lacking.name}: runs no trials of the programs ({image.identity[:12]}): it lacks libaio.so.1, GLIBC_2.38"
    assert [progress.detail for progress in place.seen if "lacks" in progress.detail] == [what]
    assert not place.cluster.faults
    said += [("libaio.so.1",), ("libaio.so.1",)]
    assert place.trial(other, name="nowhere").result(60).worker == ""  # the campaign's host


def test_without_a_vm_the_guests_kernel_comes_along_and_the_campaign_says_what_it_runs_on(place: Place) -> None:
    images, campaign = Images(place.root / "cache"), place.root / "campaign"
    with images.staging() as staged:
        (staged / "kernel").write_text("the guest's kernel")
        kernel = images.keep("kernel", staged, Image("", ""))
    campaign.mkdir()
    known = {"accel": "tcg", "reason": "tried before", "cause": "refused", "at": 0.0}
    (campaign / accel.MEMORY).write_text(json.dumps({"campaign": known}))
    processes = Processes(place.root / "processes")
    place.runner = SandboxRunner(processes, kvm=VmRunner(processes, place.root / "state", {}, campaign=campaign))
    look = Step("look", "run", argv=("cat", "../guest-kernel"))
    plan = Plan((look,), guest=Guest(), vm=False, kernel=kernel.identity, deadline=30.0, token="t1")
    seen = place.trial(place.image(), plan).result(60)
    assert seen.result.steps[0].detail == "the guest's kernel"
    assert json.loads((campaign / "trial/plan.json").read_text())["guest"]["accel"] == "tcg"


def test_the_kernels_that_a_trial_boots_beside_its_candidates_go_along(tmp_path: Path) -> None:
    images = Images(tmp_path / "cache")
    with images.staging() as staged:
        (staged / "bin").mkdir()
        (staged / "bin/program").write_text("#!/bin/sh\n")
        other = images.keep("other", staged, Image("", ""))
    setting = remote.ClusterSetting("", (), tmp_path / "cache", tmp_path, CONFINED, print)
    runner = SandboxRunner(Processes(tmp_path / "records"))

    def brought(*kernels: tuple[str, str]) -> list[str]:
        words = (Image("tried", ""), Plan(steps=(), kernels=kernels), tmp_path, print, NEVER)
        return [image.identity for image in remote.RemoteTrial(setting, threading.Lock(), runner, *words)._images()]

    assert brought(("good-end", other.identity)) == ["tried", other.identity]
    assert brought() == ["tried"]
    with pytest.raises(InfraError, match="gone from the cache"):
        brought(("good-end", "pruned"))
