# SPDX-License-Identifier: GPL-2.0-only
"""An exported campaign is repeated elsewhere; trials without a VM, so that each is a second and real."""

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.agent.plan import Plan, Result
from bisector.case import LONGEST
from bisector.cli import main
from bisector.codec import digest, dump
from bisector.codec import load as load_plan
from bisector.errors import InfraError, RecipeError, UsageError
from bisector.exitcodes import ExitCode
from bisector.interfaces import ignore
from bisector.model import Candidate, Cell, Ending, Image, Observation, Signal, TargetKind, Timing
from bisector.pack import record, replay
from bisector.pack.archive import PackBroken
from bisector.pack.export import ExportResult, export
from bisector.pack.replay import ReplayRequest, ReplayResult, run
from bisector.pack.replay import _as_long as as_long
from bisector.pack.source import Source, of_campaign, of_file
from bisector.recipe.load import load
from bisector.recipe.resolve import resolved_yaml
from bisector.session import Session, Setting
from bisector.store import CampaignRow, TrialKey
from bisector.system.xdg import Folders
from bisector.target.images import Images

RECIPE = """
recipe: own-program
title: a program of the recipe's own says what it finds
target: {qemu: {build: [qemu-img]}}
vm: none
steps:
  - race: {run: [./race.sh, '{seed}']}
bad_when:
  broken: {exit: {race: 7}}
good_when:
  intact: {exit: {race: 0}}
trials: 1
"""
PROGRAM = "#!/bin/sh\necho seed $1\nexit 7\n"
CANDIDATE = Candidate(TargetKind.QEMU_SOURCE, "5" * 40, label="v10.1.0")


@contextmanager
def session_in(home: Path) -> Iterator[Session]:
    folders = Folders(cache=home / "cache", state=home / "state")
    environ = {"PATH": "/usr/bin:/bin", "TMPDIR": str(home)}
    with Session(Setting(folders, environ, ignore, 1)) as session:
        yield session


def recorded(home: Path, recipe: Path) -> CampaignRow:
    """A campaign with one real trial."""
    loaded = load(recipe)
    with session_in(home) as session:
        row = session.add_campaign(
            CampaignRow("own-program-1", "own-program", "", resolved_yaml(loaded), "", "", "x", False, "",
                        time.time(), "test"),
            loaded,
        )  # fmt: skip
        images = Images(session.setting.folders.cache)
        with images.staging() as staged:
            (staged / "bin").mkdir()
            (staged / "share").mkdir()
            (staged / "bin/qemu-img").write_bytes(b"#!/bin/sh\n")
            (staged / "bin/qemu-io").symlink_to("qemu-img")
            (staged / "share/keymap").write_bytes(b"a keymap")
            image = images.keep("key", staged, Image("", "", release="10.1.0", tools=(("compiler", "gcc 12"),)))
        case = session.case(loaded, Cell(""))
        session.judge(row.id, loaded, session.given()).trial(CANDIDATE, image, case, "ends", 0)
        session.store.add_build(row.id, digest("key"), CANDIDATE, image)
        return row


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "race.sh").write_text(PROGRAM)
    (folder / "race.sh").chmod(0o755)
    (folder / "own.yaml").write_text(RECIPE)
    return folder / "own.yaml"


@pytest.fixture
def first(tmp_path: Path, recipe: Path) -> CampaignRow:
    return recorded(tmp_path / "first", recipe)


def exported(home: Path, row: CampaignRow, out: Path, *, with_images: bool = True) -> ExportResult:
    with session_in(home) as session:
        return export(session.store, session.store.campaign(row.id), out, with_images=with_images)


def replayed(home: Path, source: Source, **wish: object) -> ReplayResult:
    with session_in(home) as session:
        return run(ReplayRequest(1, **{"trusted": True, **wish}), source, session)  # type: ignore[arg-type]


@pytest.fixture
def pack(tmp_path: Path, first: CampaignRow, recipe: Path) -> Path:
    """An export, after which nothing of its maker is left."""
    path = tmp_path / "x.tar.gz"
    exported(tmp_path / "first", first, path)
    (tmp_path / "first").rename(tmp_path / "gone")
    recipe.parent.rename(tmp_path / "gone-recipe")
    return path


def test_a_trial_is_repeated_elsewhere_with_its_seed_program_and_image(tmp_path: Path, pack: Path) -> None:
    with of_file(pack, image_of=1) as source:
        done = replayed(tmp_path / "second", source)
    assert (done.same, done.exit_code) == (True, ExitCode.OK)
    assert done.now.reading.condition == "broken"
    assert done.now.seed == done.first.seed
    assert done.now.image == done.first.image
    assert {line.name for line in done.lines if not line.same} == set()
    assert json.loads((Path(done.folder) / "plan.json").read_text())["seed"] == done.first.seed
    kept = tmp_path / "second/cache/images" / done.first.image
    assert (kept / "bin/qemu-io").readlink() == Path("qemu-img")
    assert os.access(kept / "bin/qemu-img", os.X_OK)


def test_a_repetition_can_itself_be_exported_and_repeated(tmp_path: Path, pack: Path) -> None:
    with of_file(pack, image_of=1) as source:
        done = replayed(tmp_path / "second", source)
    with session_in(tmp_path / "second") as session:
        again = run(
            ReplayRequest(done.now.number), of_campaign(session.store, session.store.campaign(done.campaign)), session
        )
    assert again.same


def test_trials_that_were_not_needed_travel_apart(tmp_path: Path, first: CampaignRow) -> None:
    exported(tmp_path / "first", first, tmp_path / "before.tar.gz")
    with session_in(tmp_path / "first") as session:
        (trial,) = session.store.trials(first.id)
        key = TrialKey(trial.image, trial.plan, trial.stage, 1)
        session.store.add_ahead(first.id, key, replace(trial, folder="trials/ends-ahead"))
    exported(tmp_path / "first", first, tmp_path / "after.tar.gz")
    with tarfile.open(tmp_path / "before.tar.gz") as before, tarfile.open(tmp_path / "after.tar.gz") as after:
        assert set(after.getnames()) - set(before.getnames()) == {"ahead.json"}
        (kept,) = json.loads(after.extractfile("ahead.json").read())["trials"]  # type: ignore[union-attr]
        assert (kept["number"], kept["folder"]) == (0, "trials/ends-ahead")
    with of_file(tmp_path / "after.tar.gz") as source:
        assert [one.number for one in source.record.trials] == [trial.number]


def test_a_campaign_of_this_host_needs_no_export(tmp_path: Path, first: CampaignRow, recipe: Path) -> None:
    recipe.parent.rename(tmp_path / "gone-recipe")
    with session_in(tmp_path / "first") as session:
        done = run(ReplayRequest(1), of_campaign(session.store, first), session)
    assert done.same


def test_a_workload_that_was_stretched_is_as_long_again(tmp_path: Path, pack: Path) -> None:
    with of_file(pack, image_of=1) as source:
        document = json.loads(record.text(source.record))
        plan = source.plan(source.record.trials[0])
    assert plan is not None
    longer = replace(plan, steps=tuple(replace(step, seconds=0.5) for step in plan.steps), memory=1 << 60, vm=True)
    document["trials"][0]["plan"] = replace(longer, memory=plan.memory, vm=False).identity()
    first = changed(pack, tmp_path / "y", "campaign.json", json.dumps(document).encode())
    other = changed(first, tmp_path / "z", f"{document['trials'][0]['folder']}/plan.json", dump(longer).encode())
    with of_file(other, image_of=1) as source:
        done = replayed(tmp_path / "second", source)
    assert {line.name for line in done.lines if not line.same} == set()  # the question among them
    ran = load_plan(Plan, (Path(done.folder) / "plan.json").read_bytes())
    assert (ran.steps[0].seconds, ran.memory) == (0.5, plan.memory)  # and nothing else of a plan that was sent


@pytest.mark.parametrize("seconds", ["86400", "1e300", "Infinity", "NaN", "9" * 400])
def test_a_sent_plan_does_not_say_how_long_a_replay_lasts(tmp_path: Path, pack: Path, seconds: str) -> None:
    with of_file(pack, image_of=1) as source:
        first = source.record.trials[0]
        plan = source.plan(first)
    assert plan is not None
    endless = dump(plan).replace('"seconds": 0.0', f'"seconds": {seconds}')
    assert seconds in endless
    other = changed(pack, tmp_path / "z", f"{first.folder}/plan.json", endless.encode())
    with of_file(other, image_of=1) as source, session_in(tmp_path / "second") as session:
        recipe = source.recipe()
        case = session.case(recipe, Cell(""))
        longer = as_long(case, source.plan(first))
    assert longer.plan.steps[0].seconds <= LONGEST
    assert longer.plan.deadline <= case.plan.deadline + LONGEST


def test_another_answer_is_reported_and_is_no_success(tmp_path: Path, first: CampaignRow) -> None:
    (tmp_path / "first/state/campaigns" / first.id / "own/race.sh").write_text("#!/bin/sh\nexit 0\n")
    with session_in(tmp_path / "first") as session:
        done = run(ReplayRequest(1), of_campaign(session.store, first), session)
    assert (done.same, done.exit_code) == (False, ExitCode.UNDECIDED)
    assert {(line.name, line.first, line.now) for line in done.lines if not line.same} == {
        ("signal", "reproduced", "clean"),
        ("condition", "broken", "intact"),
        ("question", "the recorded one", "another one"),  # the program is part of it
        ("step race", "done, exit 7", "done, exit 0"),
    }


def test_a_busy_host_gives_no_answer(tmp_path: Path, first: CampaignRow, monkeypatch: pytest.MonkeyPatch) -> None:
    late = Observation(Ending.DEADLINE, Result(), timing=Timing(total=100.0), starved=90.0)
    monkeypatch.setattr(replay, "_run", lambda *given: late)
    with session_in(tmp_path / "first") as session:
        done = run(ReplayRequest(1), of_campaign(session.store, first), session)
    assert (done.now.reading.signal, done.exit_code) == (Signal.INFRA, ExitCode.INFRA)


def test_an_image_that_is_linked_to_its_host_is_left_out(tmp_path: Path, first: CampaignRow) -> None:
    (kept,) = (tmp_path / "first/cache/images").glob("*/bin")
    (kept / "qemu-system-x86_64").symlink_to("/usr/bin/qemu-system-x86_64")
    done = exported(tmp_path / "first", first, tmp_path / "x")
    assert done.images == 0
    assert done.left_out[0].endswith("linked to this host (bin/qemu-system-x86_64 to /usr/bin/qemu-system-x86_64)")
    with of_file(tmp_path / "x", image_of=1) as source:
        assert not source.has_image(source.record.trials[0].image)


def test_an_image_that_is_nowhere_is_required(tmp_path: Path, first: CampaignRow) -> None:
    exported(tmp_path / "first", first, tmp_path / "small", with_images=False)
    missing = pytest.raises(UsageError, match="is not at hand")
    with of_file(tmp_path / "small", image_of=1) as source, missing as raised:
        replayed(tmp_path / "second", source)
    assert "--image" in raised.value.hint
    with of_file(tmp_path / "small", image_of=1) as source:  # but here the cache has it
        assert replayed(tmp_path / "first", source).same


def test_programs_of_somebody_else_run_on_this_host_only_when_trusted(tmp_path: Path, pack: Path) -> None:
    with of_file(pack, image_of=1) as source, pytest.raises(UsageError, match="not in a VM") as raised:
        replayed(tmp_path / "second", source, trusted=False)
    assert "./race.sh" in raised.value.hint


def changed(pack: Path, out: Path, name: str, data: bytes) -> Path:
    """The export with another content of one member, its manifest fitting."""
    with tarfile.open(pack) as old, tarfile.open(out, "w:gz", format=tarfile.USTAR_FORMAT) as new:
        contents = {header.name: old.extractfile(header).read() for header in old}  # type: ignore[union-attr]
        manifest = json.loads(contents["manifest.json"])
        contents[name] = data
        for member in manifest["members"]:
            content = contents[member["name"]]
            member |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if name not in {member["name"] for member in manifest["members"]}:
            manifest["members"].append({"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        contents["manifest.json"] = json.dumps(manifest).encode()
        for each in ("manifest.json", *(other for other in contents if other != "manifest.json")):
            header = tarfile.TarInfo(each)
            header.size = len(contents[each])
            new.addfile(header, io.BytesIO(contents[each]))
    return out


def image_prefix(pack: Path) -> str:
    with tarfile.open(pack) as tar:
        return next(name for name in tar.getnames() if name.endswith("/bin/qemu-img")).removesuffix("/bin/qemu-img")


def test_an_image_that_is_not_the_one_tried_is_refused(tmp_path: Path, pack: Path) -> None:
    other = changed(pack, tmp_path / "y", f"{image_prefix(pack)}/bin/qemu-img", b"another program")
    with of_file(other, image_of=1) as source, pytest.raises(PackBroken, match="another image"):
        replayed(tmp_path / "second", source)
    assert not list((tmp_path / "second/cache/images").iterdir())


@pytest.mark.parametrize(
    "links",
    [
        {"bin/x": "/etc/passwd"},
        {"bin/x": "../../x"},
        {"../x": "y"},
        {"share/a/l": "..", "share/a/l/m": "../.."},
        {"bin/qemu-img": "x"},
        ["bin"],
    ],
)
def test_a_link_that_leads_out_of_its_image_is_refused(tmp_path: Path, pack: Path, links: object) -> None:
    other = changed(pack, tmp_path / "y", f"{image_prefix(pack)}/links.json", json.dumps(links).encode())
    with of_file(other, image_of=1) as source, pytest.raises(PackBroken, match=r"leads out|malformed"):
        replayed(tmp_path / "second", source)


def test_a_record_cannot_name_files_of_this_host(tmp_path: Path, pack: Path) -> None:
    with of_file(pack) as source:
        document = json.loads(record.text(source.record))
    document["builds"][0]["image"] |= {
        "kernel": "/etc/passwd",
        "programs": "/etc",
        "config": "/etc/passwd",
        "identity": "e" * 64,
    }
    document["trials"][0]["image"] = "e" * 64
    other = changed(pack, tmp_path / "y", "campaign.json", json.dumps(document).encode())
    with of_file(other, image_of=1) as source:
        assert source.config("e" * 64) == ""
        with pytest.raises(UsageError, match="is not at hand"):
            replayed(tmp_path / "second", source)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("campaign.json", b"{}", "malformed"),
        ("campaign.json", b"\xff", "malformed"),
        ("recipe/recipe.yaml", b"recipe: other\n", "two recipes that differ"),
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, pack: Path, name: str, data: bytes, said: str) -> None:
    with pytest.raises(PackBroken, match=said), of_file(changed(pack, tmp_path / "y", name, data)):
        pass


def test_a_recipe_that_is_none_is_refused(tmp_path: Path, pack: Path) -> None:
    with of_file(pack) as source:
        document = json.loads(record.text(source.record))
    hostile = "recipe: x\nstorage: {../../x: {disk: nvme, size: 1M}}\n"
    document["campaign"]["source"] = hostile
    first = changed(pack, tmp_path / "y", "campaign.json", json.dumps(document).encode())
    other = changed(first, tmp_path / "z", "recipe/recipe.yaml", hostile.encode())
    with of_file(other, image_of=1) as source, pytest.raises(RecipeError):
        replayed(tmp_path / "second", source)


def test_exit_codes_and_lists_of_the_commands(
    tmp_path: Path, first: CampaignRow, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "first/state").rename(tmp_path / "home/bisector")
    assert main(["export", first.id, "--json"]) == ExitCode.OK
    document = json.loads(capfd.readouterr().out)
    assert (document["schema"], document["export"]["images"]) == ("bisector.export/1", 0)
    assert main(["replay", first.id]) == ExitCode.OK
    assert "reproduced     broken" in capfd.readouterr().out
    assert main(["replay", first.id, "--json"]) == ExitCode.OK
    assert json.loads(capfd.readouterr().out)["steps"][0]["step"] == 1
    assert main(["replay", first.id, "2"]) == ExitCode.USAGE
    assert "has no trial 2" in capfd.readouterr().err
    assert main(["export", first.id]) == ExitCode.USAGE  # a second time
    assert main(["replay", "nothing-like-it"]) == ExitCode.USAGE


def test_no_campaign_is_left_whose_files_could_not_be_kept(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "race.sh")

    loaded = load(recipe)
    row = CampaignRow("c", "own-program", "", resolved_yaml(loaded), "", "", "x", False, "", 1.0, "test")
    with session_in(tmp_path / "home") as session:
        monkeypatch.setattr("bisector.recipe.kept.shutil.copyfileobj", full)
        with pytest.raises(InfraError, match=r"race\.sh No space left"):
            session.add_campaign(row, loaded)
        assert session.store.campaigns() == ()
        assert not session.store.campaign_folder("c").exists()
        monkeypatch.undo()
        assert session.add_campaign(row, loaded).id == "c"
        assert [path.name for path in (session.store.campaign_folder("c") / "own").iterdir()] == ["race.sh"]
