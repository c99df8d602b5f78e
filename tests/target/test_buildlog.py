# SPDX-License-Identifier: GPL-2.0-only
"""A build's output tells whose fault a failure is; the lines have the forms that the tools print."""

from __future__ import annotations

import pytest

from bisector.causes import FailureCause
from bisector.interfaces import Progress, ignore
from bisector.target.buildlog import BuildLog


def seen(*lines: str, expected: int = 10) -> BuildLog:
    log = BuildLog((expected,), ignore)
    for line in lines:
        log(line)
    return log


def test_a_build_of_more_than_one_file_is_not_called_nearly_done_from_its_first_second() -> None:
    heard: list[Progress] = []
    log = BuildLog((2, 100), heard.append)
    for number in range(50):
        log(f"  CC      block/a{number}.o")
    assert [entry.fraction for entry in heard[:3]] == [0.5, 0.02, 0.03]
    assert heard[-1].fraction == 0.5


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
        ("/tmp/ccX.s: Assembler messages: fatal error: can't write 8 bytes: No space left on device", "free space"),
        ("gcc: fatal error: Killed signal terminated program cc1", "memory"),
        ("make[4]: *** [../scripts/Makefile.build:287: fs/a.o] Killed", "memory"),
        ("cc1: out of memory allocating 65536 bytes after a total of 1835008 bytes", "memory"),
        ("../scripts/Kconfig.include:40: C compiler 'gcc-19' not found", "missing"),
        ("make[2]: *** [../scripts/Makefile.host:9: scripts/kconfig/lexer.lex.c] Error 127", "missing"),
        ("../tools/objtool/include/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory", "libelf"),
        ("ld: cannot write vmlinux.o: Input/output error", "disk"),
    ],
)
def test_a_failure_of_the_host_is_distinguished_from_one_of_the_candidate(line: str, hint: str) -> None:
    fault = seen("  CC      a.o", line).fault
    assert fault is not None and fault.line == line and hint in fault.hint


# Lines as the tools print them when the host fails; what they print afterwards stands beside.
RECORDED = {
    "the OOM killer and gcc's driver": "collect2: fatal error: ld terminated with signal 9 [Killed]",
    "the OOM killer and an old gcc": "gcc: internal compiler error: Killed (program cc1)",
    "the OOM killer and clang": "clang: error: unable to execute command: Killed",
    "the OOM killer and a script": "make[2]: *** [../scripts/Makefile.vmlinux:34: vmlinux] Error 137",
    "the OOM killer and ninja": "FAILED: [code=137] qemu-img",
    "LLVM without memory": "LLVM ERROR: out of memory",
    "a C++ program without memory": "terminate called after throwing an instance of 'std::bad_alloc'",
    "ld without memory": "/usr/bin/ld: final link failed: memory exhausted",
    "rustc without memory": "memory allocation of 1048576 bytes failed",
    "meson without memory": "MemoryError",
    "a limit of processes": "make[2]: fork: Resource temporarily unavailable",
    "a full disk and cc1": "cc1: error: No space left on device",
    "a full disk and LLVM": "LLVM ERROR: IO failure on output stream: No space left on device",
    "a full disk and git": "fatal: write error: No space left on device",
    "a limit of file size": "cc1: fatal error: error writing to a.s: File too large",
    "mmap on a full tmpfs": "/usr/bin/ld: final link failed: Bus error",
    "a bus error in make": "make[1]: *** [../Makefile:1167: vmlinux] Bus error",
    "a disk that fails": "objcopy: vmlinux.o: Input/output error",
    "a compiler cache of root's": (
        "ccache: error: Failed to create temporary file for /home/u/.cache/bisector/ccache/tmp/x: Permission denied"
    ),
    "a logout": "make[2]: *** [../scripts/Makefile.build:243: fs/a.o] Terminated",
    "a terminal that closed": "make[2]: *** [../scripts/Makefile.build:243: fs/a.o] Hangup",
    "gcc was ended": "gcc: fatal error: Terminated signal terminated program cc1",
    "bad memory": "gcc: internal compiler error: Segmentation fault signal terminated program cc1",
    "a linker that crashes": "collect2: fatal error: ld terminated with signal 11 [Segmentation fault], core dumped",
    "clang crashes": "clang: error: clang frontend command failed due to signal (use -v to see invocation)",
    "half an installation of gcc": "gcc: fatal error: cannot execute 'cc1plus': execvp: No such file or directory",
    "no header of libelf": "../tools/objtool/elf.c:10:10: fatal error: libelf.h: No such file or directory",
    "no header of openssl": "../scripts/sign-file.c:25:10: fatal error: openssl/opensslv.h: No such file or directory",
    "no header of the C library": "../scripts/basic/fixdep.c:91:10: fatal error: stdio.h: No such file or directory",
    "no library to link with": "/usr/bin/ld: cannot find -lelf: No such file or directory",
    "no bc": "/bin/sh: 1: bc: not found",
    "no flex": "bash: line 1: flex: command not found",
    "no interpreter": "/bin/sh: 1: ../scripts/foo.py: cannot execute: required file not found",
    "no perl": "/bin/sh: ../scripts/mkversion: /usr/bin/perl: bad interpreter: No such file or directory",
    "a compiler that does not work": "../meson.build:1:0: ERROR: Compiler gcc cannot compile programs.",
    "a compiler that configure could not use": 'ERROR: "ccache gcc" either does not exist or does not work',
    "a clock that stepped back": "make[1]: warning:  Clock skew detected.  Your build may be incomplete.",
}


@pytest.mark.parametrize("line", RECORDED.values(), ids=RECORDED)
def test_what_this_host_did_is_not_the_candidates_doing(line: str) -> None:
    fault = seen("  CC      a.o", line, "make: *** [Makefile:248: __sub-make] Error 2").fault
    assert fault is not None and fault.line == line and fault.hint


@pytest.mark.parametrize(
    "line",
    [
        "make[3]: *** [../scripts/Makefile.build:243: fs/a.o] Error 1",
        "make[2]: *** [../tools/objtool/Makefile:66: objtool] Segmentation fault",  # a program that the tree built
        "../block/fops.c:3:10: fatal error: linux/elf.h: No such file or directory",
        '../fs/a.c:9:1: error: static assertion failed: "out of memory model"',
        "drivers/net/a.c:4:2: error: 'killed' undeclared (first use in this function)",
        "../meson.build:9:0: ERROR: Program 'nosuch' not found or not executable",
        "../scripts/foo.sh: line 3: ./gone.sh: No such file or directory",
    ],
)
def test_what_the_candidate_did_is_not_this_hosts_doing(line: str) -> None:
    assert seen("  CC      a.o", line, "make: *** [Makefile:248: __sub-make] Error 2").fault is None


@pytest.mark.parametrize("harmless", ["/bin/sh: 1: pahole: not found", "make: warning:  Clock skew detected."])
def test_an_error_in_the_source_outweighs_what_may_be_harmless(harmless: str) -> None:
    wrong = "../fs/a.c:9:1: error: expected ';' before '}' token"
    log = seen(harmless, wrong, "make[1]: *** [fs/a.o] Error 1")
    assert log.fault is None and log.errors() == (wrong,)


def test_what_the_source_says_is_not_what_happened() -> None:
    lines = ("../fs/a.c:9:1: error: expected ';'", '    9 |   printf("No space left on device")', "      |   ^~~~")
    assert seen(*lines).fault is None


def test_a_fault_that_is_certain_outweighs_an_error_in_the_source() -> None:
    log = seen("../fs/a.c:9:1: error: expected ';' before '}' token", "ld: a.o: No space left on device")
    assert log.fault is not None and "No space" in log.fault.line


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("../fs/a.c:9:1: error: expected ';' before '}' token", FailureCause.SOURCE),
        ("../meson.build:1:0: ERROR: Meson version is 1.0.1 but project requires >=1.5.0", FailureCause.LACKING),
        ('../meson.build:9:0: ERROR: Dependency "libfuture" not found, tried pkgconfig', FailureCause.LACKING),
        ("ERROR: missing GIT submodules", FailureCause.LACKING),
        ("ERROR: Cannot find Ninja", FailureCause.LACKING),
        ("make[1]: *** [Makefile:2013: .] Error 2", FailureCause.UNKNOWN),
        ("it ended", FailureCause.UNKNOWN),
    ],
)
def test_a_failure_of_the_candidate_has_a_cause(line: str, cause: FailureCause) -> None:
    assert seen(line).cause is cause


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
    heard: list[Progress] = []
    log = BuildLog((2,), heard.append)
    for name in ("a", "b", "c", "d"):
        log(f"  CC [M]  drivers/{name}.o")
    log("warning: not a step")
    assert log.lines == len(heard) == 4
    assert heard[0].detail == "CC [M] drivers/a.o"
    assert all(0 < (entry.fraction or 0) < 1 for entry in heard)
