# SPDX-License-Identifier: GPL-2.0-only
"""What a build read is known, and a change is taken for unread only where no reader can be."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_qemu import QemuSetup
from kernel_setup import KernelSetup

from bisector.interfaces import Change
from bisector.target.ccache import Embeds
from bisector.target.inputs import Inputs
from bisector.target.kernel_inputs import kernel_inputs

ABOUT = ("tree", "settings", "candidate")
FILE, NONE, LINK, PROGRAM = "100644", "000000", "120000", "100755"

COMPILED = """\
savedcmd_drivers/disk.o := ccache gcc -Wp,-MMD,drivers/.disk.o.d -I../arch/x86/include -I../include \
-include ../include/linux/kconfig.h -c -o drivers/disk.o ../drivers/disk.c

source_drivers/disk.o := ../drivers/disk.c

deps_drivers/disk.o := \\
    $(wildcard include/config/BLOCK) \\
  ../include/linux/kconfig.h \\
  ../include/linux/disk.h \\
  ../include/dt-bindings/clock/qcom,gcc-disk.h \\
  arch/x86/include/generated/asm/bug.h \\
  ../scripts/dtc/include-prefixes/dt-bindings/clock.h \\
  ../arch/x86/entry/../../../lib/vdso/datastore.c \\

drivers/disk.o: $(deps_drivers/disk.o)
"""
AWK = "savedcmd_drivers/reg.h := awk -f ../scripts/reg.awk -v from=../include/linux/vendor,reg.h > drivers/reg.h\n"
SED = "savedcmd_drivers/scsi/tbl.c := sed -n 's/x/y/p' ../include/scsi/devinfo.h > drivers/scsi/tbl.c\n"
CONFIG = "deps_config := \\\n\tKconfig \\\n\tdrivers/net/Kconfig \\\n\tDocumentation/Kconfig \\\n"

TREE = (
    "Kconfig", "Makefile", "Documentation/Kconfig", "include/linux/kconfig.h", "include/linux/disk.h",
    "include/linux/phy.h", "include/dt-bindings/clock.h", "include/dt-bindings/clock/qcom,gcc-disk.h",
    "include/dt-bindings/clock/qcom,gcc-phy.h", "include/linux/vendor,reg.h", "include/scsi/devinfo.h",
    "lib/vdso/datastore.c",
    "drivers/disk.c", "drivers/net/Kconfig", "drivers/net/phy.c", "arch/arm64/kernel/entry.S", "arch/x86/Kbuild",
    "scripts/mkcompile.sh", "tools/objtool/check.c", "tools/testing/selftests/a.c",
)  # fmt: skip


class RecordedBuild:
    """A folder with a tree and what kbuild left in its object folder."""

    def __init__(self, root: Path) -> None:
        self.tree, self.objects = root, root / ".objects"
        for name in TREE:
            self.write(name, "")
        (self.tree / "scripts/dtc/include-prefixes").mkdir(parents=True)
        (self.tree / "scripts/dtc/include-prefixes/dt-bindings").symlink_to("../../../include/dt-bindings")
        self.write(".objects/drivers/.disk.o.cmd", COMPILED)
        self.write(".objects/drivers/.reg.h.cmd", AWK)
        self.write(".objects/drivers/scsi/.tbl.c.cmd", SED)
        self.write(".objects/include/config/auto.conf.cmd", CONFIG)

    def write(self, name: str, text: str) -> None:
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def inputs(self, config: str = "CONFIG_BLOCK=y\n") -> Inputs:
        return kernel_inputs(self.objects, self.tree, "x86", config, ("tree", "fit", "15922c28830a"))


@pytest.fixture
def built(tmp_path: Path) -> RecordedBuild:
    """A build."""
    return RecordedBuild(tmp_path)


def changed(path: str) -> Change:
    return Change(path, FILE, FILE)


def added(path: str) -> Change:
    return Change(path, NONE, FILE)


def gone(path: str) -> Change:
    return Change(path, FILE, NONE)


@pytest.mark.parametrize(
    "change",
    [
        changed("drivers/net/phy.c"),
        changed("include/linux/phy.h"),
        changed("include/dt-bindings/clock/qcom,gcc-phy.h"),
        Change("drivers/net/phy.c", FILE, PROGRAM),
        changed("arch/arm64/kernel/entry.S"),
        changed("arch/arm64/boot/dts/board.dts"),
        added("arch/arm64/kernel/sleep.c"),
        changed("Documentation/admin-guide/index.rst"),
        added("Documentation/process/new.rst"),
        changed("MAINTAINERS"),
        added("drivers/gpu/.gitignore"),
        changed("tools/testing/selftests/a.c"),
        added("tools/testing/selftests/b/run.sh"),
        changed("rust/kernel/lib.rs"),
    ],
    ids=lambda change: f"{change.path}-{change.old_mode}-{change.new_mode}",
)
def test_what_no_build_reads_is_unread(built: RecordedBuild, change: Change) -> None:
    assert built.inputs().why_read(change) is None


@pytest.mark.parametrize(
    "change",
    [
        changed("drivers/disk.c"),
        changed("include/linux/disk.h"),
        gone("include/linux/disk.h"),
        changed("include/dt-bindings/clock.h"),  # read by way of a link
        changed("lib/vdso/datastore.c"),  # named with .. in its path
        changed("include/dt-bindings/clock/qcom,gcc-disk.h"),  # with a comma in its name
        changed("include/scsi/devinfo.h"),  # given to sed
        changed("include/linux/vendor,reg.h"),  # given to awk
        added("arch/x86/include/linux/disk.h"),  # a new header before the old one
        added("Documentation/disk.h"),
        added("include/asm/bug.h"),  # before a generated one
        added("drivers/net/other.c"),  # for a wildcard
        gone("drivers/net/phy.c"),
        changed("drivers/net/Kconfig"),
        changed("drivers/gpu/Kconfig.debug"),
        changed("Documentation/Kconfig"),
        changed("drivers/net/Makefile"),
        changed("tools/testing/Makefile"),
        changed("arch/x86/Kbuild"),
        changed("arch/x86/entry/syscalls/syscall_64.tbl"),  # a generated header
        changed("kernel/time/timeconst.bc"),
        changed("scripts/mkcompile.sh"),
        changed("scripts/mod/modpost.c"),
        changed("tools/objtool/check.c"),
        changed("arch/x86/kernel/vmlinux.lds.S.in"),
        changed("localversion-next"),
        Change("drivers/net/phy.c", FILE, LINK),
        Change("drivers/net/phy.c", LINK, LINK),
        changed("drivers/net/ph\N{LATIN SMALL LETTER Y WITH DIAERESIS}.c"),
    ],
    ids=lambda change: f"{change.path}-{change.old_mode}-{change.new_mode}",
)
def test_what_a_build_may_read_is_built(built: RecordedBuild, change: Change) -> None:
    assert built.inputs().why_read(change)


def test_a_file_that_is_renamed_with_its_include_is_built(built: RecordedBuild) -> None:
    changes = (gone("drivers/disk.c"), added("drivers/block.c"), changed("drivers/net/phy.c"))
    assert built.inputs().first_read(changes) == ("drivers/disk.c", "it was read")


def test_one_change_that_is_read_is_enough(built: RecordedBuild) -> None:
    unread = [changed("drivers/net/phy.c")] * 100
    assert built.inputs().first_read(unread) is None
    assert built.inputs().first_read((*unread, changed("include/linux/disk.h"), *unread))


def test_an_architecture_of_which_a_file_is_read_counts_as_read(built: RecordedBuild) -> None:
    built.write("arch/x86/um.c", "")
    um = kernel_inputs(built.objects, built.tree, "um", "", ("tree", "fit", "name"))
    assert um.why_read(changed("arch/x86/um.c")) is None
    built.write(".objects/.um.o.cmd", "source_um.o := ../arch/x86/um.c\n")
    um = kernel_inputs(built.objects, built.tree, "um", "", ("tree", "fit", "name"))
    assert um.why_read(changed("arch/x86/um.c"))
    assert um.why_read(Change("arch/x86/other.lds", FILE, FILE))


def test_a_header_that_is_looked_for_and_not_there_counts(built: RecordedBuild) -> None:
    assert built.inputs().why_read(added("Documentation/abi-4.h")) is None
    built.write("include/linux/disk.h", '#if __has_include("errata/abi-4.h")\n')
    assert built.inputs().why_read(added("Documentation/abi-4.h"))


@pytest.mark.parametrize("option", ["IKHEADERS", "HEADERS_INSTALL", "UAPI_HEADER_TEST"])
def test_headers_that_are_packed_are_all_read(built: RecordedBuild, option: str) -> None:
    assert built.inputs(f"CONFIG_{option}=m\n").why_read(changed("include/linux/phy.h"))
    assert built.inputs(f"# CONFIG_{option} is not set\n").why_read(changed("include/linux/phy.h")) is None


def test_a_build_with_rust_reads_rust(built: RecordedBuild) -> None:
    built.write("rust/kernel/lib.rs", "")
    built.write("rust/kernel/other.rs", "")
    built.write(".objects/rust/.kernel.o.cmd", "source_rust/kernel.o := ../rust/kernel/lib.rs\n")
    assert built.inputs().why_read(changed("rust/kernel/other.rs"))


def test_a_record_is_read_back_as_it_was(built: RecordedBuild) -> None:
    inputs = built.inputs()
    assert Inputs.from_json(inputs.as_json()) == inputs


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tree": 1}'])
def test_a_damaged_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"record|JSON|Expecting"):
        Inputs.from_json(text)


@pytest.mark.parametrize("path", ["include/linux/disk.h", "lib/vdso/datastore.c"])
def test_what_is_included_and_embeds_a_file_is_not_left_to_the_caches_short_ways(
    built: RecordedBuild, path: str
) -> None:
    built.write(path, 'asm(".incbin \\"blob\\"");')
    with pytest.raises(Embeds, match=path):
        kernel_inputs(built.objects, built.tree, "x86", "", ABOUT, careful=False)
    assert path in kernel_inputs(built.objects, built.tree, "x86", "", ABOUT).read


@pytest.mark.parametrize("compiled", ["drivers/disk.o", "drivers/disk"])
def test_a_source_that_embeds_a_file_was_seen_to_where_it_was_compiled(built: RecordedBuild, compiled: str) -> None:
    built.write("drivers/disk.c", 'asm(".incbin \\"blob\\"");')
    built.write(f".objects/{compiled}", "")
    assert kernel_inputs(built.objects, built.tree, "x86", "", ABOUT, careful=False).read


def test_a_source_that_is_included_now_was_seen_to_by_nobody_though_its_old_object_is_there(
    built: RecordedBuild,
) -> None:
    built.write("lib/vdso/datastore.c", 'asm(".incbin \\"blob\\"");')
    built.write(".objects/lib/vdso/datastore.o", "")
    with pytest.raises(Embeds, match=r"lib/vdso/datastore\.c"):
        kernel_inputs(built.objects, built.tree, "x86", "", ABOUT, careful=False)


def test_a_link_in_the_object_folder_is_not_followed(built: RecordedBuild, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("source := ../drivers/net/phy.c\n")
    (built.objects / ".evil.o.cmd").symlink_to(tmp_path / "secret")
    assert built.inputs().why_read(changed("drivers/net/phy.c")) is None


# ---- builds


UNREAD = {"drivers/other.c": "other 2\n"}
BEFORE = {"drivers/other.c": "other 1\n"}


def test_a_candidate_that_changes_what_is_not_read_has_the_image(setup: KernelSetup) -> None:
    target = setup.target()
    image = setup.build(target, setup.candidate("one", BEFORE))
    found = target.same_inputs(setup.candidate("two", UNREAD))
    assert found and found.identity == image.identity and found.same_inputs == "one"


def test_a_candidate_that_changes_what_is_read_is_built(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one", BEFORE))
    assert target.same_inputs(setup.candidate("two", UNREAD | {"drivers/disk.c": "disk 2\n"})) is None
    assert target.same_inputs(setup.candidate("three", UNREAD, kconfig=("BLOCK", "NEW"))) is None


def test_an_image_of_another_config_does_not_serve(setup: KernelSetup) -> None:
    setup.build(setup.target(), setup.candidate("one", BEFORE))
    other = setup.target(fragment="CONFIG_BLOCK=y\nCONFIG_NET=y\n")
    assert other.same_inputs(setup.candidate("two", UNREAD)) is None


def test_an_image_that_was_pruned_does_not_serve(setup: KernelSetup) -> None:
    target = setup.target()
    image = setup.build(target, setup.candidate("one", BEFORE))
    Path(image.kernel).unlink()
    assert target.same_inputs(setup.candidate("two", UNREAD)) is None


def test_what_was_built_itself_needs_no_other(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one", BEFORE))
    two = setup.candidate("two", UNREAD)
    setup.build(target, two)
    assert target.same_inputs(two) is None


def test_the_whole_build_gives_the_image_that_its_inputs_promise(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one", BEFORE))
    two = setup.candidate("two", UNREAD)
    promised = target.same_inputs(two)
    assert promised and setup.build(target, two).identity == promised.identity


def test_every_build_of_an_image_leaves_its_own_record(setup: KernelSetup) -> None:
    target = setup.target()
    one = setup.build(target, setup.candidate("one", BEFORE))
    setup.build(target, setup.candidate("two", UNREAD))
    records = list(Path(one.kernel).parent.glob("inputs-*"))
    assert len(records) == 2


def test_a_record_of_a_tree_that_is_not_here_is_passed_over(setup: KernelSetup) -> None:
    target = setup.target()
    setup.build(target, setup.candidate("one", BEFORE))
    two = setup.candidate("two", UNREAD)
    del setup.sources.trees["one"]
    assert target.same_inputs(two) is None


# ---- QEMU, by the real ninja


def test_qemu_reads_what_ninja_noted(qemu: QemuSetup) -> None:
    target = qemu.target("qemu-img")
    image = qemu.build(target, qemu.candidate("one"))
    for files in ({"qemu-io.c": "int unread;\n"}, {"docs/index.rst": "other words\n"}):
        found = target.same_inputs(qemu.candidate(f"two {sorted(files)}", files))
        assert found and found.identity == image.identity and found.same_inputs == "one"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qemu-img.c", "int main(void) { return 0; }\n"),
        ("include/where.h", 'static const char *where(void) { return "elsewhere"; }\n'),
        ("where.h", 'static const char *where(void) { return "shadow"; }\n'),
        ("block/new.c", ""),
        ("meson.build", "project('other')\n"),
        ("VERSION", "9.9.10\n"),
        ("scripts/generate.py", ""),
        ("hw/block/Kconfig", ""),
        ("qapi/block.json", "{}\n"),
    ],
)
def test_qemu_is_built_where_something_may_be_read(qemu: QemuSetup, name: str, text: str) -> None:
    target = qemu.target("qemu-img")
    qemu.build(target, qemu.candidate("one"))
    assert target.same_inputs(qemu.candidate("two", {name: text})) is None


def test_a_qemu_with_the_same_inputs_is_built_the_same(qemu: QemuSetup) -> None:
    target = qemu.target("qemu-img")
    qemu.build(target, qemu.candidate("one"))
    two = qemu.candidate("two", {"qemu-io.c": "int main(void) { return 1; }\n"})
    promised = target.same_inputs(two)
    assert promised and qemu.build(target, two).identity == promised.identity
