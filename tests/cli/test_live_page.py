# SPDX-License-Identifier: GPL-2.0-only
"""The page that is written while a campaign runs: whole at every moment, alive until its end, and not after."""

import base64
import hashlib
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bisector import live_page
from bisector.cli import main
from bisector.errors import UsageError
from bisector.execute.work import Work
from bisector.exitcodes import ExitCode
from bisector.interfaces import Phase, Progress
from bisector.live_page import LivePage
from bisector.store import Store
from tests.events.test_events import SHELL
from tests.report import case

EVIL = "</pre><script>alert(1)</script>"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(live_page, "LEAST", 0.05)
    monkeypatch.setattr(live_page, "SHARE", 1.0)
    return Store(tmp_path / "state")


def until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not seen():
        assert time.monotonic() < end, "never seen"
        time.sleep(0.01)


def scripts(text: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", text, re.DOTALL)


def test_a_page_is_alive_from_the_beginning_and_still_at_the_end(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "page.html"
    page = LivePage(path, pytest.fail)
    with page.of(store):
        until(lambda: path.exists() and "The campaign begins" in path.read_text())
        assert len(scripts(path.read_text())) == 1
        store.add_campaign(replace(case.ROW, outcome=None))
        page.listen(Progress(Phase.BUILD, EVIL, 0.4, campaign=case.ROW.id, candidate="v6.18", work=Work("build 1")))
        until(lambda: "build 40%" in path.read_text())
        text = path.read_text()
        (script,) = scripts(text)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'\"" in text.replace("&#39;", "'")
        assert "alert" not in script
        store.finish(case.ROW.id, case.OUTCOMES["culprit"])
    text = path.read_text()
    assert scripts(text) == []
    assert "script-src" not in text and "refresh" not in text and "Right now" not in text
    assert case.CULPRIT.subject in text


def test_a_command_that_ends_before_a_campaign_leaves_a_page_that_says_so(tmp_path: Path, store: Store) -> None:
    with LivePage(tmp_path / "page.html", pytest.fail).of(store):
        pass
    text = (tmp_path / "page.html").read_text()
    assert "ended before a campaign began" in text
    assert "<script" not in text


def test_whoever_reads_it_meanwhile_finds_it_whole(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "page.html"
    page = LivePage(path, pytest.fail)
    store.add_campaign(replace(case.ROW, outcome=None))
    found, end = [], threading.Event()

    def talk() -> None:
        while not end.is_set():
            page.listen(Progress(Phase.STAGE, "x", campaign=case.ROW.id))

    with page.of(store):
        thread = threading.Thread(target=talk)
        thread.start()
        until(path.exists)
        for _ in range(50):
            found.append(path.read_text())
            time.sleep(0.01)
        end.set()
        thread.join()
    assert all(text.endswith("</html>\n") for text in found)
    assert len(set(found)) > 1
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".page")] == []


def test_it_is_written_no_more_often_than_is_said(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "LEAST", 0.5)
    path = tmp_path / "page.html"
    page = LivePage(path, pytest.fail)
    seen = set()
    with page.of(store):
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            page.listen(Progress(Phase.STAGE, "x"))
            if path.exists():
                seen.add(path.stat().st_mtime_ns)
            time.sleep(0.005)
    assert 1 <= len(seen) <= 3


def test_a_page_that_cannot_be_written_any_more_is_said_once_and_the_campaign_goes_on(
    tmp_path: Path, store: Store
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    said: list[str] = []
    page = LivePage(folder / "page.html", said.append)
    with page.of(store):
        until((folder / "page.html").exists)
        shutil.rmtree(folder)
        page.listen(Progress(Phase.STAGE, "x"))
        until(lambda: bool(said))
    assert len(said) == 1
    assert said[0].startswith("note: the page is not written any more: ")


@pytest.mark.parametrize("name", [".", "none/page.html"])
def test_a_page_that_cannot_be_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--page"):
        LivePage(tmp_path / name, pytest.fail)


def test_run_and_test_take_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not shutil.which("qemu-img"):
        pytest.skip("no qemu-img here")
    for kind in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    recipe, path = tmp_path / "shell.yaml", tmp_path / "page.html"
    recipe.write_text(SHELL)
    assert main(["test", str(recipe), "--trials", "1", "--page", str(path)]) == 0
    text = path.read_text()
    assert 'class="fixed good"' in text
    assert "<script" not in text
    capsys.readouterr()
    assert main(["test", str(recipe), "--page", str(tmp_path)]) == ExitCode.USAGE
    assert f"--page {tmp_path}: a folder" in capsys.readouterr().err
    assert main(["run", "nothing-like-it", "--page", str(path)]) == ExitCode.INVALID
