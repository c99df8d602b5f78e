# SPDX-License-Identifier: GPL-2.0-only
"""``bisector report`` and ``run --events`` as a person or a script meets them."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.exitcodes import ExitCode
from bisector.report.formats import ENDINGS
from bisector.store import Store
from tests.report import case


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def campaign(tmp_path: Path, own_folders: None) -> Path:
    """A finished campaign with logs in its folder; gives that folder."""
    store = Store(tmp_path / "state" / "bisector")
    store.add_campaign(case.ROW)
    folder = store.campaign_folder(case.ROW.id)
    for judgement in (case.PROOF_BAD, case.PROOF_GOOD):
        for trial in judgement.trials:
            store.add_trial(case.ROW.id, trial)
            place = folder / trial.folder
            place.mkdir(parents=True)
            (place / "kernel.log").write_bytes(case.LOG)
            (place / "console.log").write_bytes(b"[    0.000000] Linux version 6.18\r\n" + case.LOG)
        store.add_judgement(case.ROW.id, "proof", judgement)
    config = tmp_path / "config"
    config.write_text("CONFIG_MD_RAID1=y\n")
    made = replace(case.image("d", "6.17.0-rc6"), config=str(config))
    store.add_build(case.ROW.id, "key", case.source(case.CULPRIT.oid), made)
    store.finish(case.ROW.id, case.OUTCOMES["culprit"])
    store.close()
    return folder


@pytest.mark.parametrize("kind", ENDINGS)
def test_each_format_goes_to_stdout_or_into_a_folder(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "virtio-dio", "--format", kind]) == ExitCode.OK
    shown = capfd.readouterr().out
    assert case.CULPRIT.oid[:12] in shown
    assert main(["report", "virtio-dio", "--format", kind, "--out", str(tmp_path / "out")]) == ExitCode.OK
    assert Path(capfd.readouterr().out.strip()).read_text() == shown


def test_a_mail_is_a_draft_on_stdout_and_files_in_the_campaigns_folder(
    campaign: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "virtio-dio", "--format", "mail"]) == ExitCode.OK
    captured = capfd.readouterr()
    assert "\n#regzbot introduced: 5ff3f74e145a " in captured.out
    assert "Failing raid device" in captured.out
    said = captured.err.splitlines()
    assert any(line.startswith("3 drafts are in") for line in said)
    assert "nothing was sent" in captured.err
    assert [line for line in said if len(line) > 80 and str(campaign) not in line] == []
    paths = sorted((campaign / "reports" / "mail").iterdir())
    assert [path.name for path in paths] == ["0-report.eml", "1-config.eml", "2-kernel-log.eml"]
    assert paths[0].read_text() == captured.out
    assert "CONFIG_MD_RAID1=y" in paths[1].read_text()
    assert "Linux version 6.18" in paths[2].read_text()


def test_an_answer_takes_its_thread_from_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parent = tmp_path / "parent.eml"
    parent.write_text("Message-ID: <a@example.org>\nFrom: V K <vk@example.org>\nSubject: it fails\n\nHello\n")
    assert (
        main(["report", "virtio-dio", "--format", "mail", "--reply-to", str(parent), "--out", str(tmp_path / "o")]) == 0
    )
    first = Path(capfd.readouterr().out.split("\n")[0]).read_text()
    assert "Subject: Re: it fails\n" in first
    assert "In-Reply-To: <a@example.org>\n" in first
    assert "#regzbot ^introduced: 5ff3f74e145a" in first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "pdf"], "not one of text, json"),
        (["--format", "html", "--reply-to", "x"], "--reply-to goes with --format mail"),
        (["--format", "mail", "--yes"], "--yes goes with --send"),
        (["--format", "mail", "--send"], "there is no terminal to ask on"),
        (["--format", "mail", "--reply-to", "nonsense"], "neither a file nor a Message-ID"),
        (["--format", "mail", "--signature", "/nonexistent"], "--signature /nonexistent"),
        (["--format", "mail", "--to", "nobody"], "not an address"),
    ],
)
def test_mistakes_are_refused_in_words(
    words: list[str], said: str, campaign: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "virtio-dio", *words]) == ExitCode.USAGE
    captured = capfd.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not (campaign / "reports").exists()


def test_a_test_has_no_regression_to_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "state" / "bisector")
    store.add_campaign(replace(case.ROW, id="test-x", state="test"))
    store.close()
    assert main(["report", "test-x", "--format", "mail"]) == ExitCode.USAGE
    assert "a test of one candidate" in capfd.readouterr().err


def test_the_schemas_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--of", "report"]) == ExitCode.OK
    assert "bisector.campaign/1" in capfd.readouterr().out
    assert main(["schema", "--of", "x"]) == ExitCode.USAGE


def test_run_tells_a_watching_program_how_it_ended(tmp_path: Path) -> None:
    repo = tmp_path / "linux"
    git = ["git", "-C", str(repo), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    repo.mkdir()
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    events = tmp_path / "events"
    words = ["--repo", str(repo), "--good", "HEAD", "--bad", "HEAD", "--releases", "off", "--events", str(events)]
    assert main(["run", "virtio-open-lvm-raid1", *words]) == ExitCode.USAGE
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event["event"] for event in rows] == ["begin", "end"]
    assert rows[0]["recipe"] == "virtio-open-lvm-raid1"
    assert rows[1]["exit_code"] == ExitCode.USAGE
