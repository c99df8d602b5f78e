# SPDX-License-Identifier: GPL-2.0-only
"""The command line as a process: closed, full and narrow streams, signals, folders that others could look into."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bisector.exitcodes import ExitCode
from bisector.store import Store
from tests.stopping import STOPPING, as_from_a_terminal

ROOT = Path(__file__).parents[2]
BISECTOR = [sys.executable, "-m", "bisector"]
ASCII = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "LC_ALL": "C"}
SLOW = """
recipe: slow
target: {qemu: {build: [qemu-img]}}
vm: none
steps:
  - wait: {run: [./slow.sh]}
bad_when:
  broken: {exit: {wait: 7}}
good_when:
  intact: {exit: {wait: 0}}
trials: 1
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    own = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return os.environ | own | {"PYTHONDONTWRITEBYTECODE": "1"}


def shell(words: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m bisector {words}"
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", ["schema", "recipes", "--version", "check virtio-open-lvm-raid1 --json"])
def test_a_full_stdout_is_an_error_with_a_hint(words: str, environ: dict[str, str]) -> None:
    done = shell(f"{words} >/dev/full", environ)
    assert done.returncode == ExitCode.INFRA
    assert "cannot be written: No space left on device" in done.stderr
    assert "free space" in done.stderr
    assert not any(word in done.stderr for word in ("unexpected", "Traceback", "Exception ignored"))


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_change_no_answer(closed: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = shell(f"check virtio-open-lvm-raid1 {closed}", environ)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    bad = tmp_path / "bad.yaml"
    bad.write_text("recipe: [\n")
    assert shell(f"check {bad} {closed}", environ).returncode == ExitCode.INVALID


def test_a_reader_of_stderr_that_goes_away_ends_nothing(environ: dict[str, str]) -> None:
    done = shell("campaigns 2> >(exec true); echo $?", environ | {"XDG_STATE_HOME": environ["XDG_STATE_HOME"] + "x"})
    assert done.stdout.split()[-1] == "0"


def test_a_reader_of_stdout_that_goes_away_is_no_noise(environ: dict[str, str]) -> None:
    done = shell("schema | true", environ)
    assert done.stderr == ""


def test_what_the_locale_has_no_letter_for_is_escaped(environ: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    source = (ROOT / "recipes/virtio-open-lvm-raid1.yaml").read_text(encoding="utf-8")
    recipe.write_text(source.replace("title: QEMU", "title: Größe – πρόβλημα QEMU"), encoding="utf-8")
    for words in (f"show {recipe}", f"show {recipe} --json", f"check {tmp_path / 'Größe.yaml'}"):
        done = shell(words, environ | ASCII)
        assert "unexpected" not in done.stderr
        assert done.returncode in (ExitCode.OK, ExitCode.INVALID)
        assert done.stdout.isascii()
        assert done.stderr.isascii()


def test_arguments_of_a_process_are_utf8_where_the_locale_has_no_letters(
    environ: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "from pathlib import Path; import sys\n"
        "from bisector.system.proc import Processes\n"
        "from bisector.system.sandbox import HOST\n"
        "print(ascii(Processes(Path(sys.argv[1])).run(['echo', 'Gr\\u00f6\\u00dfe'], access=HOST).stdout))"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "p")]
    done = subprocess.run(argv, cwd=ROOT, env=environ | ASCII, capture_output=True, text=True)
    assert done.stdout == "'Gr\\xf6\\xdfe\\n'\n", done.stderr


# ---- signals


@pytest.fixture
def slow(tmp_path: Path, environ: dict[str, str]) -> Path:
    """A recipe whose one trial lasts until it is ended."""
    (tmp_path / "slow.sh").write_text("#!/bin/sh\nexec sleep 4242\n")
    (tmp_path / "slow.sh").chmod(0o755)
    (tmp_path / "slow.yaml").write_text(SLOW)
    return tmp_path / "slow.yaml"


def sleeping() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes() == b"sleep\x004242\x00":
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="QEMU's programs are not installed")
@pytest.mark.parametrize("number", STOPPING)
def test_each_signal_to_stop_is_obeyed_in_order(
    number: signal.Signals, slow: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    child = subprocess.Popen(
        [*BISECTOR, "test", slow],
        cwd=ROOT,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_from_a_terminal,
    )
    try:
        end = time.monotonic() + 60
        while not (began := sleeping()) and time.monotonic() < end and child.poll() is None:
            time.sleep(0.1)
        child.send_signal(number)
        child.send_signal(number)  # as of a terminal that closes: the kernel's and the shell's
        said = child.communicate(timeout=60)[1]
    finally:
        child.kill()  # its guard ends the rest
    assert began, said
    assert child.returncode == ExitCode.INTERRUPTED, said
    assert "stopping; what is finished is kept" in said
    assert sleeping() == []
    assert not list((tmp_path / "state/bisector").glob("cancel-*"))


def test_a_signal_that_the_caller_ignores_stays_ignored(environ: dict[str, str]) -> None:
    code = (
        "import os, signal; from bisector.cli.process import stopped_by_signals\n"
        "with stopped_by_signals():\n    os.kill(os.getpid(), signal.SIGHUP); print('alive')\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n    except KeyboardInterrupt:\n        print('st')"
    )
    argv = ["nohup", sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.stdout.split() == ["alive", "st"]


# ---- folders


def test_folders_that_others_can_look_into_are_tightened_with_a_word(tmp_path: Path, environ: dict[str, str]) -> None:
    state = tmp_path / "state/bisector"
    Store(state).close()
    state.chmod(0o755)
    done = shell("campaigns", environ)
    assert f"note: {state} was open to other users (mode 755)" in done.stderr
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert "open to other users" not in shell("campaigns", environ).stderr


def test_new_folders_are_private(tmp_path: Path, environ: dict[str, str]) -> None:
    shell("campaigns", environ)
    assert stat.S_IMODE((tmp_path / "state/bisector").stat().st_mode) == 0o700
