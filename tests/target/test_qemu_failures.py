# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU that cannot be built: whose fault it is, and what is tried again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fake_kernel import revert
from fake_qemu import QemuSetup

from bisector.causes import FailureCause
from bisector.errors import InfraError, UsageError
from bisector.interfaces import CancelToken, ignore
from bisector.model import Candidate, TargetKind


def test_a_source_that_does_not_compile_is_a_failure_with_the_compilers_line(qemu: QemuSetup) -> None:
    broken = qemu.candidate("broken", {"qemu-io.c": "int main(void) { return nothing; }\n"})
    failure = qemu.failure(qemu.target(), broken)
    assert failure.stage == "compile"
    assert "qemu-io.c" in failure.errors[0] and "nothing" in failure.errors[0]
    assert "ninja -j2" in Path(failure.log).read_text()
    before = qemu.count("compiled")
    assert qemu.failure(qemu.target(), broken) == failure
    assert qemu.count("compiled") == before


def test_after_a_failure_the_next_candidate_is_right(qemu: QemuSetup) -> None:
    good = qemu.candidate("good")
    first = qemu.build(qemu.target(), good)
    qemu.failure(qemu.target(), qemu.candidate("broken", {"qemu-io.c": "int main(void) { return nothing; }\n"}))
    shutil.rmtree(qemu.root / "a" / "cache")
    assert qemu.build(qemu.target(), good).identity == first.identity


def test_a_revision_that_refuses_to_be_configured_is_a_failure(qemu: QemuSetup) -> None:
    refuses = qemu.candidate("refuses", {"refuses": "../meson.build:1:0: ERROR: refused on purpose\n"})
    failure = qemu.failure(qemu.target(), refuses)
    assert (failure.stage, failure.errors) == ("config", ("../meson.build:1:0: ERROR: refused on purpose",))


def test_a_tree_without_configure_is_a_failure(qemu: QemuSetup) -> None:
    other = qemu.candidate("other")
    (qemu.sources.trees["other"] / "configure").unlink()
    assert "no QEMU" in qemu.failure(qemu.target(), other).errors[0]


def test_an_edit_that_does_not_apply_is_a_failure(qemu: QemuSetup) -> None:
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
def test_a_failing_host_is_no_verdict(qemu: QemuSetup, said: str, hint: str) -> None:
    with pytest.raises(InfraError) as caught:
        qemu.target().image(qemu.candidate("refuses", {"refuses": said + "\n"}), listener=ignore, cancel=CancelToken())
    assert hint in caught.value.hint


CRASHED = "gcc: internal compiler error: Segmentation fault signal terminated program cc1"


def crashes(qemu: QemuSetup, times: int) -> None:
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


def test_a_compiler_that_crashes_once_says_nothing_of_the_candidate(qemu: QemuSetup) -> None:
    crashes(qemu, 1)
    assert qemu.build(qemu.target(), qemu.candidate())


def test_a_compiler_that_crashes_twice_is_a_failure_that_a_later_command_tries_again(qemu: QemuSetup) -> None:
    crashes(qemu, 2)
    target, candidate = qemu.target(), qemu.candidate()
    failure = qemu.failure(target, candidate)
    assert failure.cause is FailureCause.COMPILER and CRASHED in failure.errors[0]
    assert qemu.failure(target, candidate) == failure  # the same command does not
    assert qemu.build(qemu.target(), candidate)


def test_what_a_revision_lacks_here_is_looked_for_again_by_a_later_command(qemu: QemuSetup) -> None:
    refuses = {"refuses": "../meson.build:1:0: ERROR: Meson version is 1.0.1 but project requires >=1.5.0\n"}
    candidate = qemu.candidate("newer", refuses)
    target = qemu.target()
    failure = qemu.failure(target, candidate)
    assert failure.cause is FailureCause.LACKING and "requires >=1.5.0" in failure.errors[0]
    assert qemu.failure(target, candidate) == failure and qemu.count("configured") == 1
    qemu.failure(qemu.target(), candidate)
    assert qemu.count("configured") == 2


@pytest.mark.parametrize(("program", "package"), [("ninja", "ninja-build"), ("meson", "meson"), ("pkg-config", "pkg")])
def test_a_missing_tool_is_named_with_its_package(qemu: QemuSetup, tmp_path: Path, program: str, package: str) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for name in ("gcc", "ld", "ninja", "meson", "pkg-config"):
        found = shutil.which(name, path=f"{qemu.tools}:{os.environ['PATH']}")
        if name != program and found:
            (some / name).symlink_to(found)
    with pytest.raises(InfraError) as caught:
        qemu.target(path=str(some)).key(qemu.candidate())
    assert program in caught.value.what and package in caught.value.hint


def test_glib_without_its_headers_is_named_with_its_package(qemu: QemuSetup) -> None:
    qemu.tool("pkg-config", "#!/bin/sh\necho \"No package 'glib-2.0' found\" >&2; exit 1\n")
    with pytest.raises(InfraError) as caught:
        qemu.target().key(qemu.candidate())
    assert "libglib2.0-dev" in caught.value.hint


def test_what_a_campaign_did_not_note_when_it_began_is_not_compared(qemu: QemuSetup) -> None:
    """An earlier version of this program noted glib alone of the libraries."""
    tools = tuple(tool for tool in qemu.target().tools if tool[0] not in ("zlib", "C library"))
    target = qemu.target()
    target.pin(tools, "began-earlier")
    assert target.other_tools() == ""
    qemu.tool("pkg-config", "#!/bin/sh\n[ $2 = zlib ] && echo 1.3.1 || echo 2.80.0\n")
    assert (
        target.other_tools()
        == "campaign began-earlier began with glib-2.0 2.74.6, and this host has glib-2.0 2.80.0 now"
    )


def test_an_unknown_program_is_said_at_once(qemu: QemuSetup) -> None:
    with pytest.raises(UsageError, match="qemu-tea"):
        qemu.target("qemu-tea")
