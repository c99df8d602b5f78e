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
from fake_kernel import revert
from fake_qemu import PROGRAM, QemuBench

from bisector.causes import FailureCause
from bisector.errors import InfraError, UsageError
from bisector.interfaces import CancelToken, Phase, ignore
from bisector.model import Candidate, TargetKind
from bisector.recipe.model import QEMU_PROGRAMS
from bisector.target import build_dirs, submodules
from bisector.target.ninja import TARGETS, Ninja
from bisector.target.qemu_source import ninja_of

HERE = Path(__file__).parent
OTHER = PROGRAM.replace("where()", '"other"')


@pytest.fixture
def qemu(tmp_path: Path) -> QemuBench:
    return QemuBench(tmp_path)


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


def test_a_candidate_becomes_a_folder_of_programs(qemu: QemuBench) -> None:
    image = qemu.build(qemu.target(), qemu.candidate())
    assert sorted(path.name for path in Path(image.programs).iterdir()) == ["qemu-img", "qemu-io"]
    assert (image.kernel, image.release, image.path) == ("", "QEMU 9.9.9", image.programs)
    # Named from the tree, or by ccache from the build's folder: never by the place of the build folder.
    assert says(f"{image.programs}/qemu-io") in ("./include/where.h", "../include/where.h")
    tools = dict(image.tools)
    assert "gcc" in tools["compiler"] and tools["meson"] == "meson: 1.0.1" and tools["glib-2.0"].endswith("2.74.6")
    configure, build = image.commands
    assert "../configure" in configure and build.endswith("ninja -j2 qemu-img qemu-io")


def test_show_prints_the_commands_that_run(qemu: QemuBench) -> None:
    image = qemu.build(qemu.target(), qemu.candidate())
    tree = (qemu.build_dir() / "tree").resolve()
    path = f"{qemu.tools}:{os.environ['PATH']}"
    shown, build = ninja_of(("qemu-img", "qemu-io"), 2, path).described(tree)
    assert build == image.commands[1]
    options = shlex.split(image.commands[0].partition("&&")[2])[1:]
    either = [word.strip("[]") for word in shlex.split(shown) if word != "|"]
    assert set(options) <= set(either)


def test_only_what_is_asked_for_is_built(qemu: QemuBench) -> None:
    image = qemu.build(qemu.target("qemu-img"), qemu.candidate())
    assert [path.name for path in Path(image.programs).iterdir()] == ["qemu-img"]
    assert qemu.count("compiled") == 1


def test_another_set_of_programs_is_another_build(qemu: QemuBench) -> None:
    candidate = qemu.candidate()
    assert qemu.target("qemu-img").key(candidate) != qemu.target("qemu-img", "qemu-io").key(candidate)


def test_another_compiler_is_another_build(qemu: QemuBench) -> None:
    candidate = qemu.candidate()
    before = qemu.target().key(candidate)
    qemu.tool(
        "gcc", '#!/bin/sh\n[ "$1" != --version ] || { echo "gcc of another kind"; exit; }\nexec /usr/bin/gcc "$@"\n'
    )
    assert qemu.target().key(candidate) != before


def test_a_known_key_is_not_built_again(qemu: QemuBench) -> None:
    candidate = qemu.candidate()
    first = qemu.build(qemu.target(), candidate)
    shutil.rmtree(qemu.root / "a" / "build-dirs")
    assert qemu.build(qemu.target(), candidate) == first
    assert not (qemu.root / "a" / "build-dirs").exists()


def test_a_pruned_image_is_built_again(qemu: QemuBench) -> None:
    candidate = qemu.candidate()
    first = qemu.build(qemu.target(), candidate)
    shutil.rmtree(Path(first.programs).parent)
    assert qemu.build(qemu.target(), candidate).identity == first.identity


def test_what_is_not_built_changes_no_image(qemu: QemuBench) -> None:
    first = qemu.build(qemu.target(), qemu.candidate("one"))
    second = qemu.candidate("two", {"docs/index.rst": "other words\n"})
    before = qemu.count("compiled"), qemu.count("configured")
    assert qemu.build(qemu.target(), second).identity == first.identity
    assert (qemu.count("compiled"), qemu.count("configured")) == before


def test_a_changed_source_is_compiled_alone_and_equals_a_build_in_another_place(qemu: QemuBench) -> None:
    qemu.build(qemu.target(), qemu.candidate("one"))
    changed = qemu.candidate("two", {"qemu-io.c": OTHER})
    before = qemu.count("compiled")
    image = qemu.build(qemu.target(), changed)
    assert qemu.count("compiled") == before + 1 and qemu.count("configured") == 1
    assert says(f"{image.programs}/qemu-io") == "other"
    assert qemu.build(qemu.target(name="another-place"), changed).identity == image.identity


def test_another_description_of_the_build_begins_with_an_empty_folder(qemu: QemuBench) -> None:
    qemu.build(qemu.target(), qemu.candidate("one"))
    left = qemu.build_dir() / "objects" / "generated.h"
    left.write_text("of an earlier revision")
    qemu.build(qemu.target(), qemu.candidate("two", {"meson.build": "project('fake', 'c')\n"}))
    assert qemu.count("configured") == 2 and not left.exists()


def test_going_back_to_older_content_builds_it_anew(qemu: QemuBench) -> None:
    old, new = qemu.candidate("old"), qemu.candidate("new", {"qemu-io.c": OTHER})
    first = qemu.build(qemu.target(), old)
    qemu.build(qemu.target(), new)
    shutil.rmtree(qemu.root / "a" / "cache")
    assert qemu.build(qemu.target(), old).identity == first.identity


def test_options_that_a_revision_does_not_know_are_left_out(qemu: QemuBench) -> None:
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


def test_what_stands_in_for_submodules_is_said_and_goes_with_the_next_checkout(qemu: QemuBench) -> None:
    floats = {"tests/fp/meson.build": "files('berkeley-softfloat-3/source/f16_add.c')\n"}
    candidate = qemu.candidate("bare", floats)
    qemu.build(qemu.target(), candidate)
    tree = qemu.build_dir() / "tree"
    assert (tree / "ui/keycodemapdb/README").exists()
    assert "softfloat" not in (tree / "tests/fp/meson.build").read_text().replace("testfloat", "")
    log = next((qemu.root / "a" / "cache" / "builds").glob("*.log")).read_text()
    assert "# ui/keycodemapdb is not in this tree: in its place stands a map without keys" in log
    assert "# berkeley-testfloat-3 is not in this tree" in log
    qemu.sources.checkout(candidate, tree)
    assert (tree / "tests/fp/meson.build").read_text() == floats["tests/fp/meson.build"]


def test_what_stands_in_makes_nothing_be_configured_again(qemu: QemuBench) -> None:
    qemu.build(qemu.target(), qemu.candidate("one"))
    qemu.build(qemu.target(), qemu.candidate("two", {"qemu-io.c": OTHER}))
    assert qemu.count("configured") == 1


def test_a_tree_without_meson_is_built_by_make(qemu: QemuBench) -> None:
    candidate = qemu.candidate()
    (qemu.sources.trees["one"] / "meson.build").unlink()
    image = qemu.build(qemu.target(), candidate)
    assert image.commands[-1].endswith("make -j2 qemu-img qemu-io") and says(f"{image.programs}/qemu-io")
    emulator = Ninja(("qemu-system-x86_64",))
    assert emulator.build(by_make=True) == ["make", "-j1", "x86_64-softmmu/all"]
    assert emulator.file("qemu-system-x86_64", by_make=True) == "x86_64-softmmu/qemu-system-x86_64"


def test_a_tree_that_has_its_parts_keeps_them(qemu: QemuBench, tmp_path: Path) -> None:
    own = {"ui/keycodemapdb/README": "mine\n", "tests/fp/meson.build": "own\n"}
    for name, text in own.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tests/fp/berkeley-testfloat-3/source").mkdir(parents=True)
    assert submodules.stand_in(tmp_path, 'test -f "$source_path/ui/keycodemapdb/README"') == ()
    assert {name: (tmp_path / name).read_text() for name in own} == own


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ('if ! test -f "$source_path/subprojects/keycodemapdb/README" \\', "subprojects/keycodemapdb/README"),  # 8.1
        (
            'if ! test -f "$source_path/tests/fp/berkeley-testfloat-3/README.md"',  # on the way to it
            "tests/fp/berkeley-testfloat-3/README.md",
        ),
    ],
)
def test_the_tree_says_where_it_looks_for_a_submodule(tmp_path: Path, said: str, missing: str) -> None:
    (told,) = submodules.stand_in(tmp_path, said)
    assert (tmp_path / missing).exists() and missing.rpartition("/")[0] in told


def test_what_an_earlier_build_left_is_told_again_and_written_anew(tmp_path: Path) -> None:
    asked = 'test -f "$source_path/ui/keycodemapdb/README"'
    first = submodules.stand_in(tmp_path, asked)
    generator = tmp_path / "ui/keycodemapdb/tools/keymap-gen"
    right, times = generator.read_text(), generator.stat().st_mtime
    generator.write_text("of another version")  # a checkout leaves what lies in a submodule's folder
    assert submodules.stand_in(tmp_path, asked) == first
    assert generator.read_text() == right and generator.stat().st_mtime == times


def test_the_map_that_stands_in_is_one_that_qemu_includes(tmp_path: Path) -> None:
    submodules.stand_in(tmp_path, 'test -f "$source_path/ui/keycodemapdb/README"')
    generator = tmp_path / "ui/keycodemapdb/tools/keymap-gen"
    names = ["--lang", "glib2", "--varname", "qemu_input_map_x_to_y"]
    for argv in (["code-map", *names, "keymaps.csv", "x", "y"], [*names, "code-map", "keymaps.csv", "x", "y"]):
        said = subprocess.run([generator, *argv], check=True, capture_output=True, text=True).stdout
        source = f"typedef unsigned short guint16;\ntypedef unsigned guint;\n{said}"
        subprocess.run(["gcc", "-xc", "-fsyntax-only", "-Wall", "-Werror", "-"], input=source, text=True, check=True)


def test_a_source_that_does_not_compile_is_a_failure_with_the_compilers_line(qemu: QemuBench) -> None:
    broken = qemu.candidate("broken", {"qemu-io.c": "int main(void) { return nothing; }\n"})
    failure = qemu.failure(qemu.target(), broken)
    assert failure.stage == "compile"
    assert "qemu-io.c" in failure.errors[0] and "nothing" in failure.errors[0]
    assert "ninja -j2" in Path(failure.log).read_text()
    before = qemu.count("compiled")
    assert qemu.failure(qemu.target(), broken) == failure
    assert qemu.count("compiled") == before


def test_after_a_failure_the_next_candidate_is_right(qemu: QemuBench) -> None:
    good = qemu.candidate("good")
    first = qemu.build(qemu.target(), good)
    qemu.failure(qemu.target(), qemu.candidate("broken", {"qemu-io.c": "int main(void) { return nothing; }\n"}))
    shutil.rmtree(qemu.root / "a" / "cache")
    assert qemu.build(qemu.target(), good).identity == first.identity


def test_a_revision_that_refuses_to_be_configured_is_a_failure(qemu: QemuBench) -> None:
    refuses = qemu.candidate("refuses", {"refuses": "../meson.build:1:0: ERROR: refused on purpose\n"})
    failure = qemu.failure(qemu.target(), refuses)
    assert (failure.stage, failure.errors) == ("config", ("../meson.build:1:0: ERROR: refused on purpose",))


def test_a_tree_without_configure_is_a_failure(qemu: QemuBench) -> None:
    other = qemu.candidate("other")
    (qemu.sources.trees["other"] / "configure").unlink()
    assert "no QEMU" in qemu.failure(qemu.target(), other).errors[0]


def test_an_edit_that_does_not_apply_is_a_failure(qemu: QemuBench) -> None:
    candidate = qemu.candidate()
    edited = Candidate(TargetKind.QEMU_SOURCE, candidate.revision, (revert(),))
    assert qemu.failure(qemu.target(), edited).stage == "edits"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ('../meson.build:9:0: ERROR: Dependency "glib-2.0" not found, tried pkgconfig', "doctor"),
        ("cc1: No space left on device", "bisector cache"),
    ],
)
def test_a_failing_host_is_no_verdict(qemu: QemuBench, said: str, hint: str) -> None:
    with pytest.raises(InfraError) as caught:
        qemu.target().image(qemu.candidate("refuses", {"refuses": said + "\n"}), listener=ignore, cancel=CancelToken())
    assert hint in caught.value.hint


CRASHED = "gcc: internal compiler error: Segmentation fault signal terminated program cc1"


def crashes(qemu: QemuBench, times: int) -> None:
    """The compiler crashes at qemu-io.c so often."""
    left = qemu.marks() / "left"
    left.write_text("x" * times)
    qemu.tool(
        "gcc",
        f'''#!/bin/sh
case "$* $(cat {left})" in
  *qemu-io.c*x*) printf '%s' "$(cut -c2- {left})" > {left}; echo "{CRASHED}" >&2; exit 4 ;;
esac
exec /usr/bin/gcc "$@"
''',
    )
    qemu.tool("ccache", '#!/bin/sh\nexec "$@"\n')


def test_a_compiler_that_crashes_once_says_nothing_of_the_candidate(qemu: QemuBench) -> None:
    crashes(qemu, 1)
    assert qemu.build(qemu.target(), qemu.candidate())


def test_a_compiler_that_crashes_twice_is_a_failure_that_a_later_command_tries_again(qemu: QemuBench) -> None:
    crashes(qemu, 2)
    target, candidate = qemu.target(), qemu.candidate()
    failure = qemu.failure(target, candidate)
    assert failure.cause is FailureCause.COMPILER and CRASHED in failure.errors[0]
    assert qemu.failure(target, candidate) == failure  # the same command does not
    assert qemu.build(qemu.target(), candidate)


def test_what_a_revision_lacks_here_is_looked_for_again_by_a_later_command(qemu: QemuBench) -> None:
    refuses = {"refuses": "../meson.build:1:0: ERROR: Meson version is 1.0.1 but project requires >=1.5.0\n"}
    candidate = qemu.candidate("newer", refuses)
    target = qemu.target()
    failure = qemu.failure(target, candidate)
    assert failure.cause is FailureCause.LACKING and "requires >=1.5.0" in failure.errors[0]
    assert qemu.failure(target, candidate) == failure and qemu.count("configured") == 1
    qemu.failure(qemu.target(), candidate)
    assert qemu.count("configured") == 2


@pytest.mark.parametrize(("program", "package"), [("ninja", "ninja-build"), ("meson", "meson"), ("pkg-config", "pkg")])
def test_a_missing_tool_is_named_with_its_package(qemu: QemuBench, tmp_path: Path, program: str, package: str) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for name in ("gcc", "ld", "ninja", "meson", "pkg-config"):
        found = shutil.which(name, path=f"{qemu.tools}:{os.environ['PATH']}")
        if name != program and found:
            (some / name).symlink_to(found)
    with pytest.raises(InfraError) as caught:
        qemu.target(path=str(some)).key(qemu.candidate())
    assert program in caught.value.what and package in caught.value.hint


def test_glib_without_its_headers_is_named_with_its_package(qemu: QemuBench) -> None:
    qemu.tool("pkg-config", "#!/bin/sh\necho \"No package 'glib-2.0' found\" >&2; exit 1\n")
    with pytest.raises(InfraError) as caught:
        qemu.target().key(qemu.candidate())
    assert "libglib2.0-dev" in caught.value.hint


def test_an_unknown_program_is_said_at_once(qemu: QemuBench) -> None:
    with pytest.raises(UsageError, match="qemu-tea"):
        qemu.target("qemu-tea")


def test_the_grammar_knows_the_same_programs() -> None:
    assert set(QEMU_PROGRAMS) == set(TARGETS)


def test_a_folder_that_configure_refuses_is_said_at_once(qemu: QemuBench) -> None:
    with pytest.raises(UsageError, match="blanks and colons"):
        qemu.target(name="my place")


def test_progress_counts_the_steps_of_ninja(qemu: QemuBench) -> None:
    qemu.build(qemu.target(), qemu.candidate())
    steps = [told.fraction for told in qemu.told if told.phase is Phase.BUILD and told.fraction is not None]
    assert steps and steps == sorted(steps) and steps[-1] > 0.9


def test_an_object_cut_short_by_a_kill_does_not_survive(
    qemu: QemuBench, wait_for: Callable[[Callable[[], bool]], None]
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
