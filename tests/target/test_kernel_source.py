# SPDX-License-Identifier: GPL-2.0-only
"""A kernel from source becomes an image, once, the same everywhere; or a failure whose owner is named rightly."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fake_kernel import MAKEFILE, revert
from kernel_setup import KernelSetup

from bisector.causes import BuildStage
from bisector.errors import InfraError, Interrupted, RecipeError, UsageError
from bisector.interfaces import CancelToken, ignore
from bisector.model import Image
from bisector.target.debug_info import of_image
from bisector.target.kernel_file import build_id_of_elf
from bisector.target.kernel_source import described
from bisector.target.make import Make


def test_a_candidate_becomes_an_image(setup: KernelSetup) -> None:
    image = setup.build(setup.target(), setup.candidate())
    kernel = Path(image.kernel).read_text()
    assert "object of core 1" in kernel and "CONFIG_BLOCK=y" in kernel
    assert image.release == "6.0"
    assert len(image.build_id) == 40
    assert Path(image.config).read_text() == "CONFIG_BLOCK=y\n"
    assert image.modules == ""
    tools = dict(image.tools)
    assert "gcc" in tools["compiler"] and "GNU ld" in tools["linker"] and "GNU Make" in tools["make"]
    assert [command.split()[-1] for command in image.commands] == ["allnoconfig", "bzImage"]


@pytest.mark.parametrize("fragment", ["CONFIG_BLOCK=y\n", "CONFIG_BLOCK=y\nCONFIG_PVH=y # optional\n"])
@pytest.mark.parametrize("base", ["", "CONFIG_OTHER=y\n"])
def test_show_prints_the_commands_that_run(setup: KernelSetup, base: str, fragment: str) -> None:
    target = setup.target(base=base, fragment=fragment)
    image = setup.build(target, setup.candidate(kconfig=("BLOCK", "MODULES", "PVH")))
    make = Make(jobs=2, ccache="ccache" if shutil.which("ccache") else "")
    shown = described(make, setup.build_dir().resolve(), target.how.wanted)
    assert [line.removesuffix(" [modules]") for line in shown[:2]] == list(image.commands)
    assert shown[2].startswith("[make ") and shown[2].endswith("modules_install]")


def test_the_build_id_is_that_of_vmlinux(setup: KernelSetup) -> None:
    image = setup.build(setup.target(), setup.candidate())
    assert image.build_id == build_id_of_elf((setup.build_dir() / "objects" / "vmlinux").read_bytes())


def test_the_file_with_line_numbers_is_kept_where_there_are_any(setup: KernelSetup) -> None:
    plain = setup.build(setup.target(), setup.candidate())
    assert not Path(plain.kernel).with_name("vmlinux").exists()
    makefile = MAKEFILE.replace("@: | as -o", "@printf '.text\\nnop\\n' | as -g -o")
    with_lines = setup.build(
        setup.target(), setup.candidate("two", {"Makefile": makefile, "drivers/disk.c": "disk 2\n"})
    )
    found, why = of_image(with_lines, setup.candidate("two"))
    assert (found, why) == (Path(with_lines.kernel).with_name("vmlinux"), "")


def test_a_known_key_is_not_built_again(setup: KernelSetup) -> None:
    candidate = setup.candidate()
    first = setup.build(setup.target(), candidate)
    shutil.rmtree(setup.root / "a" / "build-dirs")
    assert setup.build(setup.target(), candidate) == first
    assert not (setup.root / "a" / "build-dirs").exists()


def test_a_pruned_image_is_built_again(setup: KernelSetup) -> None:
    candidate = setup.candidate()
    first = setup.build(setup.target(), candidate)
    shutil.rmtree(Path(first.kernel).parent)
    again = setup.build(setup.target(), candidate)
    assert again.identity == first.identity and Path(again.kernel).exists()


def test_an_image_that_lost_its_kernel_is_replaced(setup: KernelSetup) -> None:
    first = setup.build(setup.target(), setup.candidate("one"))
    Path(first.kernel).unlink()
    again = setup.build(setup.target(), setup.candidate("two", {"README": "words"}))
    assert again.identity == first.identity and Path(again.kernel).is_file()
    assert setup.build(setup.target(), setup.candidate("one")) == first


def test_a_folder_that_the_kernels_make_refuses_is_said_at_once(setup: KernelSetup) -> None:
    with pytest.raises(UsageError, match="blanks and colons"):
        setup.target(name="my place")


def test_the_same_tree_at_another_revision_needs_no_build(setup: KernelSetup) -> None:
    setup.build(setup.target(), setup.candidate("one"))
    before = setup.compiled()
    setup.build(setup.target(), setup.candidate("two"))
    assert setup.compiled() == before


def test_a_change_outside_of_what_is_built_gives_the_same_identity(setup: KernelSetup) -> None:
    target = setup.target()
    first = setup.build(target, setup.candidate("one"))
    second_candidate = setup.candidate("two", {"Documentation/x.rst": "words"})
    assert setup.target().key(second_candidate) != setup.target().key(setup.candidate("one"))
    assert setup.build(target, second_candidate).identity == first.identity


def test_an_incremental_build_equals_a_clean_one_in_another_place(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    changed = setup.candidate("two", {"drivers/disk.c": "disk 2\n"})
    before = setup.compiled()
    assert setup.build(target, changed).identity == setup.clean(changed, "another-place").identity
    assert setup.compiled() == before + 1


def test_going_back_to_older_content_rebuilds_it(setup: KernelSetup) -> None:
    target = setup.target()
    old, new = setup.candidate("old"), setup.candidate("new", {"drivers/disk.c": "disk 2\n"})
    first = setup.build(target, old)
    setup.build(target, new)
    shutil.rmtree(setup.root / "a" / "cache")
    assert setup.build(setup.target(), old).identity == first.identity


def test_who_builds_and_when_does_not_show(setup: KernelSetup) -> None:
    kernel = Path(setup.build(setup.target(), setup.candidate()).kernel).read_text()
    assert "by bisector on bisector at 1970-01-01 00:00:00 UTC" in kernel


def test_the_persons_make_environment_does_not_reach_make(setup: KernelSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KCFLAGS", "sour")
    monkeypatch.setenv("MAKEFLAGS", "--dry-run")
    assert "sour" not in Path(setup.build(setup.target(), setup.candidate()).kernel).read_text()


def test_make_variables_reach_make_and_the_key(setup: KernelSetup) -> None:
    candidate = setup.candidate()
    plain, sweet = setup.target(), setup.target(make={"KCFLAGS": "sweet"})
    assert plain.key(candidate) != sweet.key(candidate)
    assert "sweet" in Path(setup.build(sweet, candidate).kernel).read_text()


def test_a_compiler_that_is_not_there_is_infrastructure(setup: KernelSetup) -> None:
    with pytest.raises(InfraError, match="gcc-that-is-not-there"):
        setup.target(make={"CC": "gcc-that-is-not-there"}).key(setup.candidate())


def test_a_make_variable_of_ours_is_refused(setup: KernelSetup) -> None:
    with pytest.raises(UsageError, match="KCONFIG_CONFIG"):
        setup.target(make={"KCONFIG_CONFIG": "x"})


def test_modules_are_installed_when_the_config_has_them(setup: KernelSetup) -> None:
    fragment = "CONFIG_BLOCK=y\nCONFIG_MODULES=y\n"
    target = setup.target(fragment=fragment)
    image = setup.build(target, setup.candidate("one", {"drivers/extra.m": "extra 1"}))
    installed = Path(image.modules) / "lib" / "modules" / "6.0"
    assert (installed / "kernel" / "extra.ko").read_text() == "extra 1"
    assert not (installed / "build").is_symlink()
    other = setup.build(target, setup.candidate("two", {"drivers/extra.m": "extra 2"}))
    assert other.identity != image.identity
    assert Path(other.kernel).read_bytes() == Path(image.kernel).read_bytes()


def test_progress_counts_the_steps(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate())
    steps = [message for message in setup.messages if message.detail.startswith(("CC ", "LD "))]
    assert sorted(message.detail for message in steps) == ["CC drivers/core.o", "CC drivers/disk.o", "LD vmlinux"]
    fractions = [message.fraction for message in steps]
    assert all(fraction is not None and 0 < fraction < 1 for fraction in fractions)
    assert fractions == sorted(fractions)  # type: ignore[type-var]


# ---- config ----------------------------------------------------------------------------------------------------------


def test_a_dropped_line_fails_the_build_and_is_named(setup: KernelSetup) -> None:
    target = setup.target(fragment="CONFIG_BLOCK=y\nCONFIG_NVME=y\n")
    failure = setup.failure(target, setup.candidate())
    assert failure.stage == "config"
    assert failure.errors == ("dropped by Kconfig: my.config:2: CONFIG_NVME=y became n",)


def test_an_optional_line_may_be_dropped(setup: KernelSetup) -> None:
    setup.build(setup.target(fragment="CONFIG_BLOCK=y\nCONFIG_NVME=y # optional\n"), setup.candidate())


def test_each_candidate_is_configured_from_the_fragments_alone(setup: KernelSetup) -> None:
    fragment = "CONFIG_BLOCK=y\nCONFIG_LATER=y # optional\n"
    without, later = setup.candidate("one", kconfig=("BLOCK",)), setup.candidate("two", kconfig=("BLOCK", "LATER"))
    target = setup.target(fragment=fragment)
    assert Path(setup.build(target, later).config).read_text() == "CONFIG_BLOCK=y\nCONFIG_LATER=y\n"
    assert Path(setup.build(target, without).config).read_text() == "CONFIG_BLOCK=y\n"
    newer = setup.candidate("three", {"drivers/core.c": "core 3\n"}, kconfig=("BLOCK", "LATER"))
    assert Path(setup.build(target, newer).config).read_text() == "CONFIG_BLOCK=y\nCONFIG_LATER=y\n"


def test_a_candidates_own_lines_are_laid_over_the_fragments_and_make_another_image(setup: KernelSetup) -> None:
    """So that configs are a history as commits are."""
    target = setup.target(fragment="CONFIG_BLOCK=y\nCONFIG_LATER=y # optional\n")
    plain = setup.candidate(kconfig=("BLOCK", "LATER"))
    without = replace(plain, config_lines=("# CONFIG_LATER is not set",))
    assert target.key(plain) != target.key(without)
    assert str(without) == f"{plain} # CONFIG_LATER is not set"
    assert Path(setup.build(target, plain).config).read_text() == "CONFIG_BLOCK=y\nCONFIG_LATER=y\n"
    assert Path(setup.build(target, without).config).read_text() == "CONFIG_BLOCK=y\n"
    assert Path(setup.build(target, plain).config).read_text() == "CONFIG_BLOCK=y\nCONFIG_LATER=y\n"
    with pytest.raises(RecipeError, match="the candidate's config:1"):
        target.key(replace(plain, config_lines=("CONFIG LATER",)))
    lost = setup.failure(target, replace(plain, config_lines=("CONFIG_GONE=y",)))
    assert lost.errors == ("dropped by Kconfig: the candidate's config:1: CONFIG_GONE=y became n",)


def test_a_config_that_stays_the_same_keeps_its_objects(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one"))
    stamp = (setup.build_dir() / "objects" / ".config").stat().st_mtime_ns
    setup.build(target, setup.candidate("two", {"Documentation/x.rst": "words"}))
    assert (setup.build_dir() / "objects" / ".config").stat().st_mtime_ns == stamp
    assert setup.compiled() == 2


def configured(setup: KernelSetup) -> int:
    return [message.detail for message in setup.messages].count("config")


@pytest.mark.parametrize("path", ["drivers/core.c", "include/linux/core.h", "Documentation/x.rst"])
def test_kconfig_does_not_run_where_nothing_changed_that_it_reads(setup: KernelSetup, path: str) -> None:
    target, files = setup.target(), {"include/linux/core.h": "1\n", "Documentation/x.rst": "1\n"}
    first = setup.build(target, setup.candidate("one", files))
    second = setup.build(target, setup.candidate("two", {**files, path: "core 2\n"}))
    assert configured(setup) == 1
    assert second.commands[0] == first.commands[0]  # whoever repeats the build by hand needs it
    assert Path(second.config).read_text() == Path(first.config).read_text()


@pytest.mark.parametrize(
    "path",
    ["drivers/Kconfig", "drivers/Kconfig.disk", "Makefile.config", "scripts/kconfig/conf.c", "scripts/gcc-version.sh",
     "arch/x86/tools/check.c", "drivers/new.c", "include/linux/gone.h", "Documentation/Kconfig"],
)  # fmt: skip
def test_kconfig_runs_where_it_may_read_what_changed(setup: KernelSetup, path: str) -> None:
    target = setup.target()
    gone = {"include/linux/gone.h": "1\n"}
    others = {name: "1\n" for name in (path,) if name not in ("drivers/new.c", "include/linux/gone.h")}
    setup.build(target, setup.candidate("one", {**gone, **others}))
    setup.build(target, setup.candidate("two", others if path in gone else {**gone, path: "2\n"}))
    assert configured(setup) == 2


def test_a_config_that_was_refused_is_not_taken_for_the_next_candidates(setup: KernelSetup) -> None:
    target = setup.target(fragment="CONFIG_BLOCK=y\nCONFIG_LATER=y\n")
    both = ("BLOCK", "LATER")
    image = setup.build(target, setup.candidate("one", kconfig=both))
    setup.failure(target, setup.candidate("two", kconfig=("BLOCK",)))
    failure = setup.failure(target, setup.candidate("three", {"drivers/core.c": "core 3\n"}, kconfig=("BLOCK",)))
    assert failure.stage is BuildStage.CONFIG
    again = setup.build(target, setup.candidate("four", {"drivers/core.c": "core 4\n"}, kconfig=both))
    assert Path(again.config).read_text() == Path(image.config).read_text()


def test_fragments_are_laid_over_a_base_config(setup: KernelSetup) -> None:
    base = "# CONFIG_BLOCK is not set\nCONFIG_NET=y\nCONFIG_UNKNOWN=y\n"
    image = setup.build(setup.target(base=base), setup.candidate())
    assert Path(image.config).read_text() == "CONFIG_BLOCK=y\nCONFIG_NET=y\n"
    assert "olddefconfig" in image.commands[0]


def test_faults_of_the_persons_files_are_said_before_anything_is_built(setup: KernelSetup) -> None:
    with pytest.raises(RecipeError, match=r"my\.config:1:1: 'CONFIG BLOCK' is no config line"):
        setup.target(fragment="CONFIG BLOCK\n")


# ---- failures --------------------------------------------------------------------------------------------------------


def test_a_source_that_does_not_compile_is_a_failure_with_its_errors(setup: KernelSetup) -> None:
    failure = setup.failure(setup.target(), setup.candidate("one", {"drivers/disk.c": "WRONG"}))
    assert failure.stage == "compile"
    assert failure.errors == ("../drivers/disk.c:1:1: error: wrong on purpose",)
    log = Path(failure.log).read_text()
    assert log.startswith("# one: one\n$ make -C ") and "wrong on purpose" in log


def test_a_failure_is_recorded_and_not_built_again(setup: KernelSetup) -> None:
    candidate = setup.candidate("one", {"drivers/disk.c": "WRONG"})
    first = setup.failure(setup.target(), candidate)
    shutil.rmtree(setup.root / "a" / "build-dirs")
    assert setup.failure(setup.target(), candidate) == first
    assert not (setup.root / "a" / "build-dirs").exists()


def test_objects_made_before_a_failure_are_kept(setup: KernelSetup) -> None:
    target = setup.target()
    setup.failure(target, setup.candidate("one", {"drivers/disk.c": "WRONG"}))
    good = setup.candidate("two")
    image = setup.build(target, good)
    assert setup.compiled() == 3  # core, the failure, disk
    assert image.identity == setup.clean(good).identity


def test_edits_that_do_not_apply_are_a_failure(setup: KernelSetup) -> None:
    failure = setup.failure(setup.target(), replace(setup.candidate(), edits=(revert(),)))
    assert failure.stage == "edits" and "conflicts in fops.c" in failure.errors[0]


@pytest.mark.parametrize(
    ("word", "said", "hint"),
    [("FULL", "No space left", "free space"), ("MEMORY", "Killed signal", "memory"), ("TOOL", "flexx", "missing")],
)
def test_a_failure_of_this_host_is_never_recorded(setup: KernelSetup, word: str, said: str, hint: str) -> None:
    candidate = setup.candidate("one", {"drivers/disk.c": word})
    with pytest.raises(InfraError, match=said) as caught:
        setup.target().image(candidate, listener=ignore, cancel=CancelToken())
    assert hint in caught.value.hint
    assert not list((setup.root / "a" / "cache" / "builds").glob("*.json"))


def test_a_cancelled_build_is_interrupted_and_not_recorded(setup: KernelSetup) -> None:
    cancel = CancelToken(str(setup.root / "cancel"))
    candidate = setup.candidate("one", {"drivers/disk.c": "PAUSE"})
    target = setup.target()
    setup.build_dir().mkdir(parents=True)
    (setup.marks() / "pause").touch()

    def cancel_at_disk(progress: object) -> None:
        if "disk.o" in str(progress):
            cancel.cancel()

    with pytest.raises(Interrupted):
        target.image(candidate, listener=cancel_at_disk, cancel=cancel)
    (setup.marks() / "pause").unlink()
    with pytest.raises(Interrupted):
        target.image(candidate, listener=ignore, cancel=cancel)
    assert setup.build(target, candidate).identity == setup.clean(candidate).identity


def test_a_cache_that_cannot_be_written_is_infrastructure(setup: KernelSetup) -> None:
    target = setup.target()
    (setup.root / "a" / "cache").mkdir()
    (setup.root / "a" / "cache" / "builds").write_text("a file is in the way")
    with pytest.raises(InfraError, match="builds"):
        target.image(setup.candidate(), listener=ignore, cancel=CancelToken())


def test_a_cache_that_is_emptied_during_the_build_does_not_lose_it(setup: KernelSetup) -> None:
    images = setup.root / "a" / "cache" / "images"

    def empty_at_the_last_step(progress: object) -> None:
        if "BUILD" in str(progress):
            shutil.rmtree(images, ignore_errors=True)

    outcome = setup.target().image(setup.candidate(), listener=empty_at_the_last_step, cancel=CancelToken())
    assert isinstance(outcome, Image) and Path(outcome.kernel).is_file()


def test_nothing_is_left_beside_a_kept_image(setup: KernelSetup) -> None:
    image: Image = setup.build(setup.target(), setup.candidate())
    cache = setup.root / "a" / "cache"
    assert [entry.name for entry in (cache / "images").iterdir()] == [image.identity]
    kept = sorted(entry.name for entry in Path(image.kernel).parent.iterdir())
    assert [name for name in kept if not name.startswith("inputs-")] == ["config", "image.json", "kernel"]


def test_a_kernel_that_is_not_made_of_vmlinux_is_the_harness_failing(setup: KernelSetup) -> None:
    """Seen with ccache's depend mode: the compressed kernel of an earlier commit, in an image of this one."""
    stale = "echo other > other.bin; ld -shared --build-id=sha1 empty.o -b binary other.bin -o $@"
    makefile = MAKEFILE.replace('@echo "  BUILD   $@"; cp kernel.bin $@', f"@{stale}")
    candidate = setup.candidate("stale", {"Makefile": makefile})
    with pytest.raises(InfraError, match="holds another kernel than vmlinux"):
        setup.build(setup.target(), candidate)
    assert not list((setup.root / "a" / "builds").glob("*.json"))
