# SPDX-License-Identifier: GPL-2.0-only
"""A build's output tells whose fault a failure is; the lines have the forms that the tools print."""

from __future__ import annotations

import pytest

from bisector.seams import Progress, silent
from bisector.target.buildlog import BuildLog


def seen(*lines: str, expected: int = 10) -> BuildLog:
    log = BuildLog(expected, silent)
    for line in lines:
        log(line)
    return log


def test_the_tools_own_errors_come_before_makes() -> None:
    log = seen(
        "  CC      block/fops.o",
        "../block/fops.c: In function 'blkdev_dio_invalid':",
        "../block/fops.c:43:9: error: implicit declaration of function 'iov_iter_alignmnt' [-Werror=implicit]",
        "make[4]: *** [../scripts/Makefile.build:287: block/fops.o] Error 1",
        "make: *** [Makefile:248: __sub-make] Error 2",
    )
    assert log.fault is None
    assert log.errors() == (
        "../block/fops.c:43:9: error: implicit declaration of function 'iov_iter_alignmnt' [-Werror=implicit]",
    )


@pytest.mark.parametrize(
    "line",
    [
        "ld: vmlinux.o: in function `blk_init': undefined reference to `gone'",
        "make[3]: *** No rule to make target 'block/gone.o', needed by 'block/built-in.a'.  Stop.",
        'ERROR: modpost: "gone" [drivers/md/dm-mod.ko] undefined!',
        "../block/Kconfig:12: syntax error",
    ],
)
def test_errors_of_linker_make_modpost_and_kconfig_are_picked(line: str) -> None:
    assert seen("noise", line, "make: *** [Makefile:248: __sub-make] Error 2").errors() == (line,)


def test_where_no_tool_said_anything_makes_words_stand() -> None:
    line = "make[1]: *** [Makefile:2013: .] Error 2"
    assert seen("noise", line).errors() == (line,)
    assert seen("one", "two").errors() == ("one", "two")


def test_at_most_twenty_errors_are_kept_each_once() -> None:
    lines = [f"a.c:{number}:1: error: wrong" for number in range(30)]
    assert seen(*lines, *lines).errors() == tuple(lines[:20])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("/tmp/ccX.s: Assembler messages: fatal error: can't write 8 bytes: No space left on device", "room"),
        ("gcc: fatal error: Killed signal terminated program cc1", "memory"),
        ("make[4]: *** [../scripts/Makefile.build:287: fs/a.o] Killed", "memory"),
        ("cc1: out of memory allocating 65536 bytes after a total of 1835008 bytes", "memory"),
        ("../scripts/Kconfig.include:40: C compiler 'gcc-19' not found", "missing"),
        ("make[2]: *** [../scripts/Makefile.host:9: scripts/kconfig/lexer.lex.c] Error 127", "missing"),
        ("../tools/objtool/include/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory", "libelf"),
        ("ld: cannot write vmlinux.o: Input/output error", "disk"),
    ],
)
def test_a_failure_of_the_host_is_told_from_one_of_the_candidate(line: str, hint: str) -> None:
    fault = seen("  CC      a.o", line).fault
    assert fault is not None and fault.line == line and hint in fault.hint


def test_the_missing_program_is_named() -> None:
    fault = seen("/bin/sh: 1: flex: not found", "make[2]: *** [Makefile.host:9: lexer.lex.c] Error 127").fault
    assert fault is not None and fault.line == "/bin/sh: 1: flex: not found"


def test_a_missing_script_of_the_kernel_is_the_candidates() -> None:
    for said in ("/bin/sh: 1: ../scripts/gone.sh: not found", "make[2]: ../scripts/gone.sh: No such file or directory"):
        log = seen(said, "make[2]: *** [Makefile.build:9: include/generated/x.h] Error 127")
        assert log.fault is None
        assert "Error 127" in log.errors()[0]


def test_a_missing_header_of_the_kernel_is_the_candidates() -> None:
    assert seen("../block/fops.c:3:10: fatal error: linux/gone.h: No such file or directory").fault is None


def test_progress_names_the_step_and_never_reaches_the_end_too_early() -> None:
    told: list[Progress] = []
    log = BuildLog(2, told.append)
    for name in ("a", "b", "c", "d"):
        log(f"  CC [M]  drivers/{name}.o")
    log("warning: not a step")
    assert log.lines == len(told) == 4
    assert told[0].detail == "CC [M] drivers/a.o"
    assert all(0 < (entry.fraction or 0) < 1 for entry in told)
