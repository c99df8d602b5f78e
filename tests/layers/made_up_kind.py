# SPDX-License-Identifier: GPL-2.0-only
"""A program: what all parts make of a kind of storage that only the table knows. Prints JSON (test_made_up_kind.py).

A process of its own, because the grammar is made from the table when it is imported.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from bisector.layers import table
from bisector.layers.machine import BuiltLayer, Layer, Machine
from bisector.layers.row import GuestCommands, Kind, Program, Row


def build(machine: Machine, layer: Layer) -> BuiltLayer:
    (member,) = machine.nodes(layer.of)
    machine.run(["crypttool", "open", member, layer.name], {"CRYPT_NO_UDEV": "1"})
    return BuiltLayer(layer, f"/dev/mapper/{layer.name}", "dm-7", layer.name)


KIND = Kind(
    "crypt",
    build,
    takes=frozenset({"of"}),
    needs=("of",),
    whole=True,
    single=True,
    health=lambda built: ("none", f"0 8 crypt {built.volume}"),
    environment=lambda folder: {"CRYPT_FOLDER": folder},
    inside=GuestCommands(
        create=lambda layer, node, members: [f"crypttool format {members[0]}", f"crypttool open {members[0]} {node}"],
        assemble=lambda layer, node, members: [f"crypttool open {members[0]} {node}"],
        leave=lambda nodes: "crypttool close " + " ".join(nodes),
        node=lambda number, name: f"/dev/mapper/{name}",
    ),
)
ROWS = (
    Row(
        "crypt",
        "plain",
        fragments=("lvm-raid",),
        modules=("dm_mod", "dm_crypt"),
        programs=(Program("crypttool", "crypttools", "opens crypt layers"),),
    ),
)
table.add(SimpleNamespace(KIND=KIND, ROWS=ROWS))

from bisector.agent import disks  # noqa: E402
from bisector.agent.inner_storage import InnerStorage  # noqa: E402
from bisector.agent.storage import Storage  # noqa: E402
from bisector.errors import RecipeError  # noqa: E402
from bisector.recipe import matrix, modules, plan, starter  # noqa: E402
from bisector.recipe.load import loads  # noqa: E402

RECIPE = """\
recipe: on-crypt
target: {kernel: {config: [base]}}
storage:
  disk: {disk: nvme, size: 512M}
  secret: {crypt: plain, of: disk}
  fs: {fs: ext4, of: secret}
guest:
  os: linux
  drives: {vda: {of: fs-less, device: scsi}}
  storage:
    inner: {crypt: plain, of: vda}
    data: {fs: ext4, of: inner}
steps:
  - repro: {run: [./repro.sh, '{secret}']}
bad_when:
  it-failed: {exit: {repro: 1}}
good_when:
  it-held: {exit: {repro: 0}}
"""
FAKE_DISK = {"disk": "nvme0n1", "fs-less": "nvme1n1"}


class FakeStorage(Storage):
    """Notes the commands instead of running them."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, 5.0)
        self.ran: list[str] = []

    def run(self, argv, environment=None):  # type: ignore[no-untyped-def]
        self.ran.append(" ".join((*(f"{name}={value}" for name, value in (environment or {}).items()), *argv)))


def said(text: str, file: Path) -> str:
    """What is wrong with a recipe."""
    try:
        loads(text, file)
    except RecipeError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Everything, as one object."""
    (folder / "repro.sh").write_text("#!/bin/sh\n")
    (folder / "repro.sh").chmod(0o755)
    file = folder / "on-crypt.yaml"
    good = RECIPE.replace("  disk:", "  fs-less: {disk: nvme, size: 512M}\n  disk:")
    recipe = loads(good, file)
    (cell,) = matrix.cells(recipe)
    made = plan.plan_for(recipe, cell)
    assert made.guest is not None
    disks.find_disks = lambda names, seconds=0.0: {name: FAKE_DISK[name] for name in names}
    disks.load_modules = lambda *names: None
    storage = FakeStorage(str(folder / "work"))
    storage.build(made.layers, vm=True)
    inner = InnerStorage(made.guest)
    wishes = starter.FailureDescription("first", storage="crypt-plain")
    found = {
        "kinds": [layer.kind for layer in made.layers],
        "two_members": said(good.replace("crypt: plain, of: disk", "crypt: plain, of: [disk, fs-less]"), file),
        "on_files": said(good.replace("fs: ext4, of: secret", "file: raw, size: 1M, of: secret"), file),
        "unknown_type": said(good.replace("crypt: plain, of: disk", "crypt: plane, of: disk"), file),
        "modules": modules.modules_for(recipe, [cell]),
        "fragments": plan.added_fragments(recipe, [cell]),
        "ran": [line.replace(str(folder), "FOLDER") for line in storage.ran],
        "health": {facts.name: facts.health for facts in storage.facts()},
        "steps": storage.environment().get("CRYPT_FOLDER", "").replace(str(folder), "FOLDER"),
        "inner": [inner.create({"vda": "/dev/sda"}), inner.assemble({"vda": "/dev/sda"}), inner.leave()],
        "first": starter.text(wishes),
    }
    loads(found["first"].replace("./first.sh", "./repro.sh"), file)
    print(json.dumps(found))


main(Path(sys.argv[1]))
