# SPDX-License-Identifier: GPL-2.0-only
"""The file of a watch: what it may say, where its faults are reported, and the examples that are shipped with it."""

import json
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from bisector.cli import main
from bisector.cli.app import app
from bisector.errors import RecipeError
from bisector.nightly import config
from tests.work import usual

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/nightly"
WHOLE = "nightly: x\nrepo: /srv/linux-next\nrecipes: [dio-misaligned-pread]\nout: nights\n"


def faults(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "nightly.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        config.load(file)
    return [str(each).removeprefix(f"{file}:") for each in caught.value.diagnostics]


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_text(WHOLE.replace("/srv/linux-next", "../linux-next") + "good: [v6.17, v6.16]\nbudget: 90m\n")
    watch = config.load(file)
    assert watch.repo == str(tmp_path.parent / "linux-next")
    assert watch.out == tmp_path / "nights"
    assert watch.check_fixed
    assert (watch.good, watch.budget) == (("v6.17", "v6.16"), 5400.0)
    assert [item.name for item in watch.items] == ["dio-misaligned-pread"]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("repo: /srv/linux-next", "repo: ext::sh -c id"), "2:7: repo: 'ext::sh -c id' is neither a folder nor a URL"),
        (("repo: /srv/linux-next", "repo: --upload-pack=id"), "2:7: repo: '--upload-pack=id' is neither"),
        (("recipes: [dio-misaligned-pread]", "recipes: []"), "3:10: recipes: is empty"),
        (("recipes: [dio-misaligned-pread]", "recipes: [nosuch]"), "3:11: recipes[0]: there is no such file"),
        (("[dio-misaligned-pread]", "[{recipe: dio-misaligned-pread, cel: a}]"), "3:42: recipes[0].cel: unknown key"),
        (("[dio-misaligned-pread]", "[dio-misaligned-pread, dio-misaligned-pread]"), "3:33: recipes[1]: a second"),
        (("[dio-misaligned-pread]", "[{recipe: dio-misaligned-pread, cell: a=b}]"), "recipes[0]: dio-misaligned-pread"),
        (("[dio-misaligned-pread]", "[qcow2-discard-race]"), "recipes[0]: qcow2-discard-race does not test a kernel"),
        (("[dio-misaligned-pread]", "[raid1-writes-slower]"), "recipes[0]: raid1-writes-slower compares numbers with"),
        (("out: nights", "out: nights\nbudget: 6"), "5:9: budget: the number 6 is not a duration"),
        (("out: nights", "out: nights\ngood: 6.10"), "5:7: good"),
        (("out: nights", "out: nights\ncheck_fixed: yes"), "5:14: check_fixed: expected true or false, found 'yes'"),
        (("out: nights", "budge: 6h"), "1:1: out: is missing"),
        (("out: nights", "out:"), "4:1: out: has no value"),
        (("out: nights", "out: nights\ntree: stable"), "5:7: tree: 'stable' is not known; did you mean 'stable-rc'?"),
        (("out: nights", "out: nights\ntree: stable-rc"), "5:7: tree: stable-rc needs the branch of a series"),
        (("out: nights", "out: nights\nbranch: linux-6.12.y"), "5:1: branch: has a meaning with"),
        (("out: nights", "out: nights\ntree: stable-rc\nbranch: ../x"), "6:9: branch: '../x' is no branch of a stable"),
        (("nightly: x", "nightly: A B"), "1:10: nightly: 'A B' is no name"),
        (
            ("nightly: x", "nightly: linux_next"),
            "'linux_next' is no name; names begin with a small letter or a digit and hold small letters, digits, "
            "'-' and single dots, 64 at most",
        ),
        (("nightly: x", f"nightly: {'x' * 65}"), "64 at most"),
    ],
)
def test_each_fault_is_reported_where_it_stands(tmp_path: Path, change: tuple[str, str], wanted: str) -> None:
    assert any(wanted in fault for fault in faults(tmp_path, WHOLE.replace(*change)))


@pytest.mark.parametrize("name", ["6.18-stable", "linux-next", "x" * 64])
def test_a_name_may_be_what_the_message_says(tmp_path: Path, name: str) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_text(WHOLE.replace("nightly: x", f"nightly: {name}"))
    assert config.load(file).name == name


def test_all_faults_are_reported_at_once_those_of_its_recipes_too(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("recipe: own\n")
    reported = faults(tmp_path, "nightly: x\nrepo: 3\nrecipes: [./own.yaml]\n")
    assert any(each.startswith("1:1: out: is missing") for each in reported)
    assert any("2:7: repo: expected text" in each for each in reported)
    reported = faults(tmp_path, WHOLE.replace("dio-misaligned-pread", "./own.yaml"))
    assert any("own.yaml:" in each and "bad_when" in each for each in reported)


@pytest.mark.parametrize("text", ["", "- a\n", "a: *b\n", "nightly: {{{\n"])
def test_what_is_no_watch_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    assert re.match(r"\d+:\d+: ", faults(tmp_path, text)[0])


def test_an_invalid_file_is_exit_code_5_and_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_text(WHOLE.replace("nights", ""))
    assert main(["nightly", str(file)]) == 5
    assert "out: has no value" in capsys.readouterr().err
    assert main(["nightly", str(tmp_path / "none.yaml")]) == 5


# ---- what is shipped


def test_the_schema_is_the_shipped_one_and_takes_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--of", "nightly"]) == 0
    shipped = (EXAMPLES.parent / "nightly.schema.json").read_text()
    assert capsys.readouterr().out == shipped
    schema = json.loads(shipped)
    jsonschema.Draft202012Validator(schema).validate(YAML(typ="safe").load(EXAMPLES / "stable-rc.yaml"))
    example = YAML(typ="safe").load(EXAMPLES / "nightly.yaml")
    jsonschema.Draft202012Validator(schema).validate(example)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(example | {"budge": "6h"})


@pytest.mark.parametrize("name", ["nightly.yaml", "stable-rc.yaml"])
def test_the_examples_are_valid(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["nightly", "--check", str(EXAMPLES / name)]) == 0
    assert "virtio-open-lvm-raid1: 1 cells" in capsys.readouterr().out


def commands() -> dict[str, set[str]]:
    """Our commands with their options."""
    group: Any = get_command(app)
    return {
        name: {word for parameter in command.params for word in parameter.opts}
        for name, command in group.commands.items()
    }


def calls(text: str) -> list[list[str]]:
    """Each call of ours in a text of commands, as words."""
    found = re.findall(r"^(?:.*[ /])?bisector ((?:nightly|report|schema|check|run|test)\b.*)$", text, re.MULTILINE)
    return [shlex.split(call.partition(" > ")[0].partition("`")[0]) for call in found]


@pytest.mark.parametrize("name", ["bisector-nightly.service", "github-actions.yml", "gitlab-ci.yml"])
def test_examples_name_commands_and_options_that_exist(name: str) -> None:
    known = commands()
    found = [call for call in calls((EXAMPLES / name).read_text()) if not call[0].endswith("(")]
    assert found
    for command, *rest in found:
        assert command in known
        assert {word for word in rest if word.startswith("--")} <= known[command]


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml", "nightly.yaml"])
def test_examples_are_yaml(name: str) -> None:
    read = YAML(typ="safe").load(EXAMPLES / name)
    if name == "github-actions.yml":
        steps = read["jobs"]["night"]["steps"]
        assert any("bisector nightly" in step.get("run", "") for step in steps)
        assert read["on"]["schedule"][0]["cron"].count(" ") == 4
    if name == "gitlab-ci.yml":
        assert any("bisector nightly" in line for line in read["night"]["script"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_takes_the_units() -> None:
    units = [str(EXAMPLES / f"bisector-nightly.{kind}") for kind in ("service", "timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


USERS_TARGETS = {"basic.target", "default.target", "timers.target", "sockets.target", "paths.target"}
"""Targets that a user's service manager has; network-online.target is the system's alone (systemd.special(7))."""


def test_the_units_wait_for_nothing_that_a_users_manager_lacks() -> None:
    """At boot a missed night is made up for, maybe before the network is there: the service is started again then."""
    texts = [(EXAMPLES / f"bisector-nightly.{kind}").read_text() for kind in ("service", "timer")]
    named = {word for text in texts for word in re.findall(r"^(?:Wants|After|Requires|WantedBy)=(.*)$", text, re.M)}
    assert {target for words in named for target in words.split()} <= USERS_TARGETS
    service = dict(line.split("=", 1) for line in texts[0].splitlines() if "=" in line and not line.startswith("#"))
    assert service["Restart"] == "on-failure"
    assert service["SuccessExitStatus"] == "1"
    assert set(service["RestartPreventExitStatus"].split()) == {"2", "5", "130"}
    assert int(service["StartLimitBurst"]) <= 3
    assert (service["StartLimitIntervalSec"], service["RestartSec"]) == ("20h", "5min")


def test_ci_keeps_what_a_night_leaves_between_nights() -> None:
    """`out` lies in the checkout, which both runners clean before each job by default."""
    yaml = YAML(typ="safe")
    out = yaml.load(EXAMPLES / "nightly.yaml")["out"]
    steps = yaml.load(EXAMPLES / "github-actions.yml")["jobs"]["night"]["steps"]
    checkout = next(step for step in steps if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["clean"] is False
    flags = yaml.load(EXAMPLES / "gitlab-ci.yml")["night"]["variables"]["GIT_CLEAN_FLAGS"]
    assert shlex.split(flags) == ["-ffdx", "-e", f"{out}/"]


def test_the_exit_codes_are_those_of_the_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    file = tmp_path / "nightly.yaml"
    file.write_text(WHOLE.replace("/srv/linux-next", "./nowhere"))
    assert main(["nightly", str(file)]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    table = (EXAMPLES.parent / "nightly.md").read_text().split("## The file")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "1", "2", "3", "4", "5", "130"]


def test_the_documents_name_only_files_that_are_there() -> None:
    text = (EXAMPLES.parent / "nightly.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) >= 6
    assert [link for link in links if not (EXAMPLES.parent / link).exists()] == []


def test_a_recipe_that_is_listed_often_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "watch.yaml"
    file.write_text(
        "nightly: x\nrepo: https://example.org/next\nout: nights\nrecipes: ["
        + ", ".join(["virtio-open-family"] * 64)
        + "]\n",
        encoding="utf-8",
    )
    started = time.process_time()
    with pytest.raises(RecipeError) as caught:
        config.load(file)
    assert usual(time.process_time() - started) < 2
    assert [one.message for one in caught.value.diagnostics] == ["a second recipe named virtio-open-family"] * 63
    file.write_text(file.read_text(encoding="utf-8").replace("[", "[x, "), encoding="utf-8")
    with pytest.raises(RecipeError, match="has more items than 64"):
        config.load(file)


def test_a_recipe_whose_name_is_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "watch.yaml"
    file.write_text(WHOLE.replace("dio-misaligned-pread", "1" * 400), encoding="utf-8")
    with pytest.raises(RecipeError, match="no such file"):
        config.load(file)
