# SPDX-License-Identifier: GPL-2.0-only
"""A guest that does what it can to the host: nothing is left of it, nothing lies elsewhere, and the verdict stands.

A fake vng plays it, as root on this host: it makes in its share what a VM makes through 9p.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.agent.plan import Plan, Step, Watch
from bisector.codec import dump, load
from bisector.model import Condition, Ending, Fact, FactKind, Observation, Question, Signal
from bisector.system.sandbox import UNCONFINED
from bisector.trial.workspace import KEPT, LEFT, PREFIX, RESULT
from bisector.verdict.signature import read

Play = Callable[..., Observation]
PLAN = Plan(steps=(Step("probe", "run", argv=("true",)),), watches=(Watch("bad/0", "vm", "Disk failure", True),))
QUESTION = Question(
    bad=(
        Condition("bad", (Fact(FactKind.CONSOLE, "vm", ("Disk failure",)),)),
        Condition("degraded", (Fact(FactKind.HEALTH, "lv", ("degraded",)),)),
    ),
    good=(Condition("fine", (Fact(FactKind.EXIT, "probe", ("0",)),)),),
)
SEEN = "steps=(StepFacts('probe', 0.0, 1.0, done=True, exit=0),)"
HEALTHY = f"begin(); finish({SEEN}); time.sleep(600)"

DEEP = """
    def deep(folder, levels=1400, name="d"):
        handle = os.open(folder, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir(name, dir_fd=handle)
            lower = os.open(name, os.O_RDONLY, dir_fd=handle)
            os.close(handle)
            handle = lower
        os.close(handle)
"""
TRICKS = {
    "deep folders": DEEP + "    deep(shared); deep(shared + '/files', 3000, 'x' * 200)",
    "many files": "[os.mknod(f'{shared}/{number}.log') for number in range(20000)]",
    "names with escapes and line ends": """
        for name in (b'\\x1b[2J\\x1b]0;title\\x07.log', b'a\\nb.log', b'\\xff\\xfe.log', b'-rf.log'):
            os.mkdir(shared.encode() + b'/' + name + b'd')
            open(shared.encode() + b'/' + name, 'w').write('x')
    """,
    "setuid files": """
        import shutil
        shutil.copyfile('/bin/true', shared + '/kernel.log')
        os.chmod(shared + '/kernel.log', 0o6755)
        os.chmod(shared, 0o1777)
    """,
    "pipes": "[os.mkfifo(f'{shared}/{name}') for name in ('kernel.log', 'agent.log', 'a.log')]",
    "devices": """
        import stat
        os.mknod(shared + '/kernel.log', 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        os.mknod(shared + '/agent.log', 0o666 | stat.S_IFBLK, os.makedev(7, 250))
    """,
    "links to the host's files": """
        for name in ('kernel.log', 'agent.log', 'qemu.log', 'x.log'):
            os.symlink(OUTSIDE + '/secret', shared + '/' + name)
        os.symlink(OUTSIDE, shared + '/folder')
        import shutil
        shutil.rmtree(shared + '/files')
        os.symlink(OUTSIDE, shared + '/files')
    """,
    "sparse giants": """
        for name in ('kernel.log', 'agent.log', 'big'):
            with open(shared + '/' + name, 'w') as file:
                file.truncate(1 << 42)
    """,
    "files of the host's names": """
        for name in ('console.log', 'command', 'plan.json', 'start', 'observation.json', 'guest'):
            open(shared + '/' + name, 'w').write('FORGED')
        os.mkdir(shared + '/guest.d')
    """,
    "folders in place of files": "[os.makedirs(f'{shared}/{name}/x') for name in ('kernel.log', 'agent.log/y')]",
    "folders that nobody may enter": """
        os.makedirs(shared + '/a/b/c')
        [os.chmod(shared + '/a' + rest, 0) for rest in ('/b/c', '/b', '')]
    """,
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("SECRET")
    return folder


@pytest.mark.parametrize("trick", TRICKS)
def test_nothing_of_a_hostile_guest_is_left_and_the_verdict_stands(
    setup, play: Play, outside: Path, trick: str
) -> None:
    if trick in ("setuid files", "devices") and os.geteuid() != 0:
        pytest.skip("takes root")
    if trick == "devices":  # in the sandbox none can be made
        setup.processes = replace(setup.processes, sandbox=UNCONFINED)
    from textwrap import dedent

    scenario = f"OUTSIDE = {str(outside)!r}\n{dedent(TRICKS[trick])}\n{HEALTHY}"
    observation = play(scenario, PLAN)
    assert read(observation, QUESTION).signal is Signal.CLEAN
    assert setup.clean()
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "SECRET"
    _only_what_is_meant(setup.folder)
    assert load(Plan, (setup.folder / "plan.json").read_bytes()).steps == PLAN.steps
    assert setup.run(PLAN).ending is Ending.FINISHED, "the next trial"


def _only_what_is_meant(folder: Path) -> None:
    """Of a stored trial: the host's own files, and beside them the few that an agent leaves, within their bounds."""
    assert {path.name for path in folder.iterdir()} <= {"console.log", "command", "plan.json", "guest"}
    for path in folder.rglob("*"):
        entry = path.lstat()
        assert not entry.st_mode & (stat.S_ISUID | stat.S_ISGID)
        if path.name == "guest":
            continue
        assert stat.S_ISREG(entry.st_mode)
        assert entry.st_size <= max(KEPT, RESULT)
        assert b"SECRET" not in path.read_bytes()
        if path.parent == folder:
            assert b"FORGED" not in path.read_bytes()
        else:
            assert path.name in LEFT


def test_a_console_of_the_guests_own_does_not_replace_ours(setup, play: Play) -> None:
    play(f"say('what the host saw'); open(shared + '/console.log', 'w').write('forged'); {HEALTHY}", PLAN)
    assert "what the host saw" in setup.log
    assert "forged" not in setup.log


def test_a_plan_of_the_guests_own_is_not_believed(setup, play: Play) -> None:
    forged = Plan(steps=(Step("other", "run", seconds=9.0),))
    play(f"open(shared + '/plan.json', 'w').write({dump(forged)!r}); {HEALTHY}", PLAN)
    assert load(Plan, (setup.folder / "plan.json").read_bytes()).steps == PLAN.steps


def test_what_the_guest_left_has_a_folder_of_its_own(setup, play: Play) -> None:
    play(f"open(shared + '/kernel.log', 'w').write('x' * 3000000); {HEALTHY}", PLAN)
    assert (setup.folder / "guest/kernel.log").stat().st_size == KEPT
    assert (setup.folder / "guest/result.json").is_file()


@pytest.mark.parametrize(
    "result",
    [
        "'[' * 100000",
        "'{\"elapsed\": ' + '9' * 400 + '}'",
        '\'{"elapsed": NaN, "complete": true}\'',
        '\'{"token": "\\\\ud800"}\'',
        "'\\x00' * 1000",
        "dump(Result(token=plan.token, complete=True))[:-1] + ', \"steps\": 7}'",
    ],
)
def test_a_garbled_result_beside_a_quiet_console_is_the_harness_failing(play: Play, result: str) -> None:
    broken = f"begin(); open(shared + '/result.json', 'w').write({result}); mark('end'); time.sleep(600)"
    assert read(play(broken, PLAN), QUESTION).signal is Signal.INFRA


def test_a_device_in_place_of_the_result_is_not_opened(setup, play: Play) -> None:
    if os.geteuid() != 0:
        pytest.skip("takes root")
    setup.processes = replace(setup.processes, sandbox=UNCONFINED)  # in the sandbox none can be made
    device = "import stat; os.mknod(shared + '/result.json', 0o600 | stat.S_IFCHR, os.makedev(1, 3))"
    observation = play(f"{device}; mark('begin'); mark('end'); time.sleep(600)", PLAN)
    assert observation.ending is Ending.HARNESS
    assert "not a regular file" in observation.detail


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
def test_a_folder_that_another_user_made_is_not_swept(setup, play: Play) -> None:
    foreign = setup.work / f"{PREFIX}{os.getuid()}-4194305-1-abcdefgh"
    (foreign / "deep").mkdir(parents=True)
    os.chown(foreign, 65534, 65534)
    play(HEALTHY, PLAN)
    assert foreign.is_dir()
