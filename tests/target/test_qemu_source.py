# SPDX-License-Identifier: GPL-2.0-only
"""Programs of QEMU from source become an image, once and the same everywhere; or a failure whose owner is named."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_qemu import OTHER, PKG_CONFIG, QemuSetup

from bisector.errors import UsageError
from bisector.interfaces import Phase
from bisector.recipe.model import QEMU_PROGRAMS
from bisector.target import build_dirs
from bisector.target.ninja import TARGETS, Ninja
from bisector.target.qemu_tools import ninja_of

HERE = Path(__file__).parent


HELP = """
Optional features, enabled with --enable-FEATURE and
disabled with --disable-FEATURE, default is enabled if available:

  system          all system emulation targets
  tools           build qemu-io, qemu-nbd and qemu-img tools
  curl            curl connectivity
  never-known     nothing that an option turns off
NOTE: The object files are built at the place where configure is launched
"""


def configured(known: str, *programs: str) -> list[str]:
    """The options for a configure whose text is ``known``, without compiler and flags."""
    ninja = Ninja(programs or ("qemu-img",), meson="/bin/meson", python="/bin/python3")
    return ninja.configure(Path("/tree"), known)[2:-1]


def says(program: str) -> str:
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip()


SHADOW = {"where.h": 'static const char *where(void) { return "the one that came"; }\n'}


@pytest.mark.parametrize("objects", ["kept", "gone"])
def test_a_header_that_came_is_found_before_the_one_that_objects_list(qemu: QemuSetup, objects: str) -> None:
    """ninja and ccache look at what an object lists alone."""
    target = qemu.target()
    qemu.build(target, qemu.candidate("one"))
    if objects == "gone":
        shutil.rmtree(qemu.root / "a" / "build-dirs")
    assert says(f"{qemu.build(target, qemu.candidate('two', SHADOW)).programs}/qemu-img") == "the one that came"


def test_a_candidate_becomes_a_folder_of_programs(qemu: QemuSetup) -> None:
    image = qemu.build(qemu.target(), qemu.candidate())
    assert sorted(path.name for path in Path(image.programs).iterdir()) == ["qemu-img", "qemu-io"]
    assert (image.kernel, image.release, image.path) == ("", "QEMU 9.9.9", image.programs)
    # Named from the tree, or by ccache from the build's folder: never by the place of the build folder.
    assert says(f"{image.programs}/qemu-io") in ("./include/where.h", "../include/where.h")
    tools = dict(image.tools)
    assert "gcc" in tools["compiler"] and tools["meson"] == "meson: 1.0.1" and tools["glib-2.0"].endswith("2.74.6")
    configure, build = image.commands
    assert "../configure" in configure and build.endswith("ninja -j2 qemu-img qemu-io")


def test_show_prints_the_commands_that_run(qemu: QemuSetup) -> None:
    image = qemu.build(qemu.target(), qemu.candidate())
    tree = (qemu.build_dir() / "tree").resolve()
    path = f"{qemu.tools}:{os.environ['PATH']}"
    shown, build = ninja_of(("qemu-img", "qemu-io"), 2, path).described(tree)
    assert build == image.commands[1]
    options = shlex.split(image.commands[0].partition("&&")[2])[1:]
    either = [word.strip("[]") for word in shlex.split(shown) if word != "|"]
    assert set(options) <= set(either)


def test_only_what_is_wanted_is_built(qemu: QemuSetup) -> None:
    image = qemu.build(qemu.target("qemu-img"), qemu.candidate())
    assert [path.name for path in Path(image.programs).iterdir()] == ["qemu-img"]
    assert qemu.count("compiled") == 1


def test_another_set_of_programs_is_another_build(qemu: QemuSetup) -> None:
    candidate = qemu.candidate()
    assert qemu.target("qemu-img").key(candidate) != qemu.target("qemu-img", "qemu-io").key(candidate)


def test_another_compiler_is_another_build(qemu: QemuSetup) -> None:
    candidate = qemu.candidate()
    before = qemu.target().key(candidate)
    qemu.tool(
        "gcc", '#!/bin/sh\n[ "$1" != --version ] || { echo "gcc of another kind"; exit; }\nexec /usr/bin/gcc "$@"\n'
    )
    assert qemu.target().key(candidate) != before


def test_another_library_is_another_build(qemu: QemuSetup) -> None:
    candidate = qemu.candidate()
    keys = {qemu.target().key(candidate)}
    qemu.tool("pkg-config", PKG_CONFIG.replace("1.2.13", "1.3.1"))
    keys.add(qemu.target().key(candidate))
    qemu.tool("getconf", "#!/bin/sh\necho glibc 2.41\n")
    keys.add(qemu.target().key(candidate))
    assert len(keys) == 3


def test_a_known_key_is_not_built_again(qemu: QemuSetup) -> None:
    candidate = qemu.candidate()
    first = qemu.build(qemu.target(), candidate)
    shutil.rmtree(qemu.root / "a" / "build-dirs")
    assert qemu.build(qemu.target(), candidate) == first
    assert not (qemu.root / "a" / "build-dirs").exists()


def test_a_pruned_image_is_built_again(qemu: QemuSetup) -> None:
    candidate = qemu.candidate()
    first = qemu.build(qemu.target(), candidate)
    shutil.rmtree(Path(first.programs).parent)
    assert qemu.build(qemu.target(), candidate).identity == first.identity


def test_what_is_not_built_changes_no_image(qemu: QemuSetup) -> None:
    first = qemu.build(qemu.target(), qemu.candidate("one"))
    second = qemu.candidate("two", {"docs/index.rst": "other words\n"})
    before = qemu.count("compiled"), qemu.count("configured")
    assert qemu.build(qemu.target(), second).identity == first.identity
    assert (qemu.count("compiled"), qemu.count("configured")) == before


def test_a_changed_source_is_compiled_alone_and_equals_a_build_in_another_place(qemu: QemuSetup) -> None:
    qemu.build(qemu.target(), qemu.candidate("one"))
    changed = qemu.candidate("two", {"qemu-io.c": OTHER})
    before = qemu.count("compiled")
    image = qemu.build(qemu.target(), changed)
    assert qemu.count("compiled") == before + 1 and qemu.count("configured") == 1
    assert says(f"{image.programs}/qemu-io") == "other"
    assert qemu.build(qemu.target(name="another-place"), changed).identity == image.identity


@pytest.mark.parametrize("name", ["meson.build", "scripts/minikconf.py", "python/scripts/mkvenv.py"])
def test_another_description_of_the_build_begins_with_an_empty_folder(qemu: QemuSetup, name: str) -> None:
    """Of the build itself, or of what configure and meson run to learn what is built."""
    qemu.build(qemu.target(), qemu.candidate("one", {name: "project('fake')\n"}))
    left = qemu.build_dir() / "objects" / "generated.h"
    left.write_text("of an earlier revision")
    qemu.build(qemu.target(), qemu.candidate("two", {name: "project('fake', 'c')\n"}))
    assert qemu.count("configured") == 2 and not left.exists()


def test_going_back_to_older_content_builds_it_anew(qemu: QemuSetup) -> None:
    old, new = qemu.candidate("old"), qemu.candidate("new", {"qemu-io.c": OTHER})
    first = qemu.build(qemu.target(), old)
    qemu.build(qemu.target(), new)
    shutil.rmtree(qemu.root / "a" / "cache")
    assert qemu.build(qemu.target(), old).identity == first.identity


def test_options_that_a_revision_does_not_know_are_left_out(qemu: QemuSetup) -> None:
    qemu.build(qemu.target(), qemu.candidate())  # the fake configure refuses what it does not know
    options = (qemu.build_dir() / "objects" / "options").read_text().splitlines()
    assert "--disable-install-blobs" in options and "--with-git-submodules=ignore" in options
    assert f"--meson={qemu.tools}/meson" in options
    later = configured("--python=*) python=x ;;\n--disable-download) download=no ;;")
    assert later == ["--python=/bin/python3", "--disable-download"]


def test_the_emulator_is_configured_for_one_machine_alone() -> None:
    known = "--target-list=*)\n--disable-system)\n--disable-install-blobs)"
    assert configured(known, "qemu-system-x86_64") == ["--disable-install-blobs", "--target-list=x86_64-softmmu"]


def test_where_all_features_cannot_be_turned_off_at_once_the_help_names_them() -> None:
    known = f"--disable-curl) ;;\n--disable-tools) ;;\n--enable-tools) ;;\n{HELP}"
    assert configured(known) == ["--disable-curl", "--enable-tools"]
    assert configured(known + "\n--without-default-features)") == ["--without-default-features", "--enable-tools"]


def test_a_tree_without_meson_is_built_by_make(qemu: QemuSetup) -> None:
    candidate = qemu.candidate()
    (qemu.sources.trees["one"] / "meson.build").unlink()
    image = qemu.build(qemu.target(), candidate)
    assert image.commands[-1].endswith("make -j2 qemu-img qemu-io") and says(f"{image.programs}/qemu-io")
    emulator = Ninja(("qemu-system-x86_64",))
    assert emulator.build(by_make=True) == ["make", "-j1", "x86_64-softmmu/all"]
    assert emulator.file("qemu-system-x86_64", by_make=True) == "x86_64-softmmu/qemu-system-x86_64"


def test_the_grammar_knows_the_same_programs() -> None:
    assert set(QEMU_PROGRAMS) == set(TARGETS)


def test_a_folder_that_configure_refuses_is_said_at_once(qemu: QemuSetup) -> None:
    with pytest.raises(UsageError, match="blanks and colons"):
        qemu.target(name="my place")


def test_progress_counts_the_steps_of_ninja(qemu: QemuSetup) -> None:
    qemu.build(qemu.target(), qemu.candidate())
    steps = [event.fraction for event in qemu.messages if event.phase is Phase.BUILD and event.fraction is not None]
    assert steps and steps == sorted(steps) and steps[-1] > 0.9


def test_an_object_cut_short_by_a_kill_does_not_survive(
    qemu: QemuSetup, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    first = qemu.build(qemu.target(), qemu.candidate("one"))
    changed = qemu.candidate("two", {"qemu-io.c": "/* PAUSE */" + OTHER})
    build_dir = qemu.build_dir()
    (qemu.marks() / "pause").touch()
    builder = subprocess.Popen(
        [sys.executable, str(HERE / "build_one_qemu.py"), str(qemu.root), changed.revision],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])},
        stdout=subprocess.PIPE,
    )
    wait_for((qemu.marks() / "reached").exists)
    at_work = list(build_dirs._working_below(build_dir))
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in at_work:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    builder.kill()
    builder.wait()
    assert (build_dir / "tree" / ".objects" / "qemu-io.o").read_text() == "half an object"
    (qemu.marks() / "pause").unlink()
    image = qemu.build(qemu.target(), changed)
    assert image.identity != first.identity
    assert image.identity == qemu.build(qemu.target(name="clean"), changed).identity
