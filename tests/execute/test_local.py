# SPDX-License-Identifier: GPL-2.0-only
"""Jobs in slots of two kinds."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bisector.execute.local import LocalExecutor
from bisector.execute.work import Work, here
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST, Access, Trust

ROOT = Path(__file__).parents[2]


def test_a_build_does_not_take_a_trials_slot() -> None:
    release = threading.Event()
    with LocalExecutor(builds=1, trials=1) as pool:
        build = pool.submit("build", release.wait, 10)
        second = pool.submit("build", str, "second")
        assert pool.submit("trial", str, "trial").result(timeout=5) == "trial"
        assert not second.done()
        release.set()
        assert build.result(timeout=5) and second.result(timeout=5) == "second"


def test_a_job_knows_its_slot_and_the_lowest_free_number_is_given_first() -> None:
    release, both = threading.Event(), threading.Barrier(2, timeout=5)

    def first() -> Work:
        both.wait()
        return here()

    def second() -> Work:
        both.wait()
        release.wait(5)
        return here()

    assert here() == Work()
    with LocalExecutor(builds=1, trials=2) as pool:
        ended, running = pool.submit("trial", first), pool.submit("trial", second)
        free = ended.result(timeout=5)
        assert pool.submit("trial", here).result(timeout=5) == free
        assert pool.submit("build", here).result(timeout=5) == Work("build 1")
        release.set()
        assert {free, running.result(timeout=5)} == {Work("trial 1"), Work("trial 2")}


def test_shutdown_drops_what_did_not_start() -> None:
    release = threading.Event()
    pool = LocalExecutor(builds=1, trials=1)
    running = pool.submit("build", release.wait, 10)
    waiting = pool.submit("build", str)
    pool.shutdown(wait=False, cancel_futures=True)
    release.set()
    assert running.result(timeout=5)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        pool.submit("trial", str)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="a kernel without autogroup")
@pytest.mark.parametrize("access", [HOST, Access()], ids=["on the host", "confined"])
def test_a_build_ahead_gives_way_to_other_sessions(tmp_path: Path, access: Access | Trust) -> None:
    processes = Processes(tmp_path / "processes")
    with LocalExecutor(builds=1, trials=1, ahead=1) as pool:
        argv = ["cat", "/proc/self/autogroup"]
        ahead = pool.submit("ahead", processes.run, argv, access=access, env={"PATH": os.defpath}).result(timeout=30)
        needed = pool.submit("build", processes.run, argv, access=access, env={"PATH": os.defpath}).result(timeout=30)
    ours = os.getpriority(os.PRIO_PROCESS, 0)  # whoever runs the tests may have lowered it
    assert ahead.stdout.split()[-1] == "19"
    assert needed.stdout.split()[-1] == str(max(0, ours))


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help")])
def test_without_a_cluster_nothing_of_dask_is_imported(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom bisector.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "import bisector.session\n"
        "found = {name.partition('.')[0] for name in sys.modules} & {'dask', 'distributed', 'asyncssh'}\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
