# SPDX-License-Identifier: GPL-2.0-only
"""The compiler's cache saves work, and never gives an object of other bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_setup import KernelSetup

from bisector.interfaces import Change
from bisector.target import kernel_source
from bisector.target.ccache import Embeds, headers_differ, headers_of, in_depend_mode, of_headers
from bisector.target.make import environment


@pytest.mark.skipif(not shutil.which("ccache"), reason="ccache is not installed")
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("piggy.S", '.section ".rodata..compressed","a",@progbits\n.incbin "kernel.gz"\n'),
        ("configs.c", 'asm(".section .rodata\\n.incbin \\"kernel.gz\\"");\n'),  # as kernel/configs.c
    ],
)
def test_ccache_never_gives_what_another_included_file_was(tmp_path: Path, source: str, text: str) -> None:
    """As arch/x86/boot/compressed/piggy.S includes the compressed kernel: same text, other bytes."""
    environ = environment(os.environ, tmp_path / "ccache")
    environ = in_depend_mode(environ, shutil.which("ccache") or "", tmp_path / "programs")
    (tmp_path / source).write_text(text)
    for content in (b"the kernel of one commit", b"the kernel of the other."):
        (tmp_path / "kernel.gz").write_bytes(content)
        argv = ["ccache", "gcc", "-Wp,-MMD,piggy.d", "-c", "-o", "piggy.o", source]
        subprocess.run(argv, cwd=tmp_path, env=environ, check=True)
        assert content in (tmp_path / "piggy.o").read_bytes()


@pytest.mark.skipif(not shutil.which("ccache"), reason="ccache is not installed")
@pytest.mark.parametrize("depend", ["1", ""])
def test_ccache_never_gives_what_was_made_before_a_header_came_that_is_found_first(tmp_path: Path, depend: str) -> None:
    """As include/linux/X.h is added, and <linux/X.h> was include/uapi/linux/X.h."""
    environ = environment(os.environ, tmp_path / "ccache") | ({"CCACHE_DEPEND": depend} if depend else {})
    (tmp_path / "disk.c").write_text("#include <linux/disk.h>\nint disk = DISK;\n")
    tree = []
    for header, content in (("include/uapi/linux/disk.h", b"aaaa"), ("include/linux/disk.h", b"bbbb")):
        (tmp_path / header).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / header).write_text(f"#define DISK 0x{content.hex()}\n")
        tree.append(Change(header, "000000", "100644"))
        headers = headers_of(tree)
        argv = ["ccache", "gcc", "-Wp,-MMD,disk.d", "-Iinclude", "-Iinclude/uapi", "-c", "-o", "disk.o", "disk.c"]
        subprocess.run(argv, cwd=tmp_path, env=of_headers(environ, headers), check=True)
        assert content in (tmp_path / "disk.o").read_bytes()


def test_other_headers_are_another_set_and_other_sources_are_not() -> None:
    one = [Change(path, "000000", "100644") for path in ("include/a.h", "include/b.h", "drivers/a.c")]
    assert headers_of(one) == headers_of([*reversed(one), Change("drivers/b.c", "000000", "100644")])
    assert headers_of(one) != headers_of(one[1:])
    assert headers_differ([Change("include/c.h", "000000", "100644")])
    assert headers_differ([Change("include/a.h", "100644", "000000")])
    assert not headers_differ([Change("include/a.h", "100644", "100755"), Change("drivers/b.c", "000000", "100644")])


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        (["-c", "-o", "plain.o", "plain.c"], "1"),
        (["-c", "-o", "embeds.o", "embeds.c"], ""),
        (["-c", "-o", "plain.o", "plain.S"], ""),
        (["-c", "-o", "gone.o", "gone.c"], ""),
        (["--version"], ""),
    ],
)
def test_depend_mode_is_for_c_that_embeds_nothing(tmp_path: Path, arguments: list[str], mode: str) -> None:
    (tmp_path / "plain.c").write_text("int plain;\n")
    (tmp_path / "embeds.c").write_text('asm(".incbin \\"x\\"");\n')
    (tmp_path / "plain.S").write_text("nop\n")
    (tmp_path / "real").write_text('#!/bin/sh\necho "$CCACHE_DEPEND $*"\n')
    (tmp_path / "real").chmod(0o755)
    environ = in_depend_mode({"PATH": os.environ["PATH"]}, str(tmp_path / "real"), tmp_path / "programs")
    said = subprocess.run(["ccache", "gcc", *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert said.stdout == f"{mode} {' '.join(['gcc', *arguments])}\n"


def test_a_header_that_embeds_a_file_has_the_build_repeated_by_its_preprocessed_sources(
    setup: KernelSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = setup.clean(setup.candidate())
    reads = kernel_source.kernel_inputs

    def embedding(*arguments: object, careful: bool) -> object:
        if not careful:
            raise Embeds("include/linux/blob.h")
        return reads(*arguments, careful=careful)  # type: ignore[arg-type]

    monkeypatch.setattr(kernel_source, "kernel_inputs", embedding)
    target = setup.target()
    again = setup.build(target, setup.candidate())
    assert (again.identity, len(again.commands)) == (image.identity, len(image.commands))
    assert setup.compiled() == 4
    log = target.images.log_of(target.key(setup.candidate())).read_text()
    assert "include/linux/blob.h includes a file by .incbin: built again" in log
