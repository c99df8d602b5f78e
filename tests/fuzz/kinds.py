# SPDX-License-Identifier: GPL-2.0-only
"""What is fuzzed: for each kind of input, good ones to begin from and the command that reads it."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bisector import codec
from bisector.agent import plan
from bisector.cli import main
from bisector.exitcodes import ExitCode
from bisector.model import Candidate, Ending, Fact, FactKind, Observation, Question, Reading, Signal, TargetKind, Trial
from bisector.model import Condition as Wanted
from bisector.pack import archive, record
from bisector.recipe import text as yaml
from bisector.store import CampaignRow, Store
from bisector.trial.workspace import RESULT
from bisector.verdict import signature
from tests.fuzz.mutate import as_text, of_bytes, of_tree
from tests.report import case

ROOT = Path(__file__).parents[2]
WATCH = b"""nightly: linux-next
repo: https://git.kernel.org/pub/scm/linux/kernel/git/next/linux-next.git
recipes:
  - virtio-open-lvm-raid1
  - {recipe: dio-misaligned-pread, cell: [steps.probe.count=2]}
good: [v6.17]
budget: 6h
check_fixed: true
out: nights
"""
REPORT = b"""From: A <a@example.org>
To: regressions@lists.linux.dev
Subject: [REGRESSION] Re: LVM half fails
Message-ID: <1@example.org>

Since v6.18 every start of a VM on an LVM raid1 volume fails a leg; v6.17 is fine.
Bisected to 5ff3f74e145adc79b49668adb8de276446acf6be. I run: qemu-system-x86_64 -drive file=/dev/vg/lv,aio=native

#regzbot introduced: v6.17..v6.18
"""
QUESTION = Question(
    (
        Wanted(
            "bad", (Fact(FactKind.EXIT, "probe", ("1",), False), Fact(FactKind.HEALTH, "boot", ("degraded",), False))
        ),
    ),
    (Wanted("good", (Fact(FactKind.ERRNO, "probe", ("EIO", "none"), True),)),),
)


@dataclass
class Place:
    """Where one worker writes; ``campaign``: one that is stored and has ended."""

    folder: Path
    campaign: str = ""
    seeds: dict[str, list[bytes]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Store a campaign, and read the good inputs."""
        store = Store(self.folder / "state/bisector")
        self.campaign = store.add_campaign(replace(case.ROW, outcome=None)).id
        store.finish(self.campaign, case.OUTCOMES["culprit"])
        store.close()
        recipes = [*ROOT.glob("recipes/*.yaml"), *ROOT.glob("tests/recipe/data/*/*.yaml")]
        mails = [*ROOT.glob("tests/report/data/*.eml")]
        self.seeds = {
            "recipe": [path.read_bytes() for path in sorted(recipes)],
            "watch": [WATCH],
            "export": [packed(self._record()), packed(self._record(), b"recipe: other\n")],
            "result": [codec.dump(_result()).encode()],
            "mail": [REPORT, *(path.read_bytes() for path in sorted(mails))],
        }

    def _record(self) -> Any:
        store = Store(self.folder / "state/other")
        source = (ROOT / "recipes/dio-misaligned-pread.yaml").read_text(encoding="utf-8")
        row = CampaignRow("c", "dio-misaligned-pread", "t", source, "", "", "x", False, "", 1.0, "test")
        row = store.add_campaign(replace(row, id="c"))
        candidate = Candidate(TargetKind.KERNEL_SOURCE, "a" * 40)
        seen = Observation(Ending.FINISHED, _result())
        trial = Trial(0, candidate, "b" * 64, "c" * 64, "ends", "", 1, Reading(Signal.CLEAN), seen, "trials/ends-0")
        store.add_trial(row.id, trial)
        made = record.of_campaign(store, row)
        store.close()
        return json.loads(record.text(made))


def packed(document: Any, source: bytes = b"") -> bytes:
    """An export that holds this record."""
    try:
        recipe = source or str(document["campaign"]["source"]).encode(errors="replace")
        campaign = document["campaign"]["id"]
    except (KeyError, TypeError, IndexError):
        recipe, campaign = source, "c"
    contents = {"campaign.json": as_text(document), "recipe/recipe.yaml": recipe}
    members = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()
    ]
    manifest = {"schema": archive.SCHEMA, "made_by": "0.1.0", "campaign": campaign, "members": members, "left_out": []}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.USTAR_FORMAT, compresslevel=1) as tar:
        for name, data in {"manifest.json": as_text(manifest), **contents}.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return out.getvalue()


def _result() -> plan.Result:
    seen = case.PROOF_BAD.trials[0].observation.result
    assert seen is not None
    return seen


# ---- inputs --------------------------------------------------------------------------------------------------------


def made(kind: str, number: int, place: Place) -> bytes:
    """Input ``number`` of a kind: the same bytes whenever and wherever it is made."""
    chance = random.Random(f"{kind} {number}")
    seeds = place.seeds[kind]
    data, other = chance.choice(seeds), chance.choice(seeds)
    if kind == "mail" or chance.random() < 0.4:
        return of_bytes(chance, data, other)
    if kind == "export":
        return packed(of_tree(chance, _document(data)))
    return as_text(of_tree(chance, _document(data)))


def _document(data: bytes) -> Any:
    if data[:2] == b"\x1f\x8b":
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            member = tar.extractfile("campaign.json")
            assert member is not None
            return json.loads(member.read())
    try:
        return json.loads(data)
    except ValueError:
        pass
    try:
        return yaml.read(data).data
    except yaml.TextError:
        return {"recipe": "x"}


# ---- what reads them ---------------------------------------------------------------------------------------------

OK = (ExitCode.OK, ExitCode.USAGE, ExitCode.INVALID)
"""Codes that a command may end with where nothing is run: fine, a file that does not fit, an invalid recipe."""


def run(kind: str, data: bytes, place: Place, chance: random.Random) -> int:
    """Give the input to the command that reads it. Gives its exit code; raises what no command may raise."""
    return READERS[kind](data, place, chance)


def _recipe(data: bytes, place: Place, chance: random.Random) -> int:
    file = place.folder / "x.yaml"
    file.write_bytes(data)
    code = main(["check", str(file)])
    if code == ExitCode.OK:
        code = main(["show", str(file)])
        assert code == ExitCode.OK, f"check takes it, and show ends with {code}"
    return code


def _watch(data: bytes, place: Place, chance: random.Random) -> int:
    file = place.folder / "watch.yaml"
    file.write_bytes(data)
    return main(["nightly", "--check", str(file)])


def _export(data: bytes, place: Place, chance: random.Random) -> int:
    file = place.folder / "x.bisector"
    file.write_bytes(data)
    return main(["replay", str(file), *(["--json"] if chance.random() < 0.3 else [])])


def _mail(data: bytes, place: Place, chance: random.Random) -> int:
    file = place.folder / "x.eml"
    file.write_bytes(data)
    if chance.random() < 0.3:
        return main(["new", f"n{chance.randrange(10**9)}", "--from", str(file), "--folder", str(place.folder / "new")])
    words = ["report", place.campaign, "--format", "mail", "--out", str(place.folder / "drafts")]
    option = chance.choice(("--reply-to", "--mbox"))
    parent = ["--reply-to", "<1@example.org>"] if option == "--mbox" else []
    return main([*words, *parent, option, str(file)])


def _result_of_a_guest(data: bytes, place: Place, chance: random.Random) -> int:
    try:
        result = codec.load(plan.Result, data, limit=RESULT)
    except codec.DecodeError as error:
        print(ascii(str(error)))
        assert len(str(error)) < 4_000, "a message of thousands of characters"
        return ExitCode.OK
    seen = Observation(Ending.FINISHED, result)
    reading = signature.read(seen, QUESTION)
    assert codec.load(plan.Result, codec.dump(result)) == result
    print(ascii(reading.reason))
    return ExitCode.OK


READERS: dict[str, Callable[[bytes, Place, random.Random], int]] = {
    "recipe": _recipe, "watch": _watch, "export": _export, "result": _result_of_a_guest, "mail": _mail,
}  # fmt: skip
