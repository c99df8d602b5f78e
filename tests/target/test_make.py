# SPDX-License-Identifier: GPL-2.0-only
"""The command and the environment of make are the same wherever and by whomever a kernel is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisector.errors import UsageError
from bisector.target.make import Make, environment

TREE = Path("/build-dirs/0/tree")


def assignments(make: Make) -> dict[str, str]:
    return dict(word.split("=", 1) for word in make.argv(TREE, "bzImage") if "=" in word)


def test_the_whole_command() -> None:
    assert Make(jobs=3).argv(TREE, "bzImage", "modules") == [
        "make",
        "-C",
        "/build-dirs/0/tree",
        "O=.objects",
        "-j3",
        "LOCALVERSION=",
        "KBUILD_BUILD_TIMESTAMP=1970-01-01 00:00:00 UTC",
        "KBUILD_BUILD_USER=bisector",
        "KBUILD_BUILD_HOST=bisector",
        "KBUILD_BUILD_VERSION=1",
        "bzImage",
        "modules",
    ]


@pytest.mark.parametrize(
    ("variables", "compiler"),
    [
        ((), "ccache gcc"),
        ((("CC", "gcc-13"),), "ccache gcc-13"),
        ((("CC", "ccache gcc-13"),), "ccache gcc-13"),
        ((("LLVM", "1"),), "ccache clang"),
        ((("LLVM", "-18"),), "ccache clang-18"),
        ((("LLVM", "/opt/llvm/bin/"),), "ccache /opt/llvm/bin/clang"),
        ((("CROSS_COMPILE", "aarch64-linux-gnu-"),), "ccache aarch64-linux-gnu-gcc"),
        ((("LLVM", "1"), ("CC", "gcc")), "ccache gcc"),
    ],
)
def test_ccache_stands_before_the_compiler_that_kbuild_would_take(
    variables: tuple[tuple[str, str], ...], compiler: str
) -> None:
    assert assignments(Make(variables, ccache="ccache"))["CC"] == compiler


def test_without_ccache_the_compiler_is_kbuilds_choice() -> None:
    assert "CC" not in assignments(Make((("LLVM", "1"),)))
    assert assignments(Make((("LLVM", "1"),)))["LLVM"] == "1"


def test_the_linker_follows_the_toolchain() -> None:
    assert Make((("LLVM", "-18"),)).linker == ("ld.lld-18",)
    assert Make().linker == ("ld",)


def test_where_the_kernel_appears_depends_on_arch() -> None:
    assert Make((("ARCH", "arm64"),)).architecture.kernel == "arch/arm64/boot/Image"
    assert Make((("ARCH", "x86_64"),)).architecture.kernel == "arch/x86/boot/bzImage"
    with pytest.raises(UsageError, match="m68k"):
        _ = Make((("ARCH", "m68k"),)).architecture


@pytest.mark.parametrize("name", ["O", "M", "KBUILD_OUTPUT", "INSTALL_MOD_PATH", "MAKEFLAGS"])
def test_variables_that_would_move_the_build_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Make(((name, "x"),))


def test_the_environment_holds_nothing_of_the_persons_build() -> None:
    mine = {"PATH": "/opt/bin:/usr/bin", "HOME": "/home/me", "MAKEFLAGS": "-n", "KCFLAGS": "-g", "CCACHE_DISABLE": "1"}
    assert environment(mine | {"LC_ALL": "de_DE", "ARCH": "arm64", "LLVM": "1"}, Path("/cache/ccache")) == {
        "PATH": "/opt/bin:/usr/bin:/usr/sbin:/sbin",
        "HOME": "/home/me",
        "LC_ALL": "C",
        "TZ": "UTC",
        "CCACHE_DIR": "/cache/ccache",
        "CCACHE_CONFIGPATH": "/dev/null",
        "CCACHE_MAXSIZE": "10G",
        "CCACHE_NAMESPACE": "2",
    }


@pytest.mark.parametrize(
    "variable",
    [
        ("--eval", "$(shell touch ran)"),
        ("-f", "evil.mk"),
        ("MAKEFILES", "evil.mk"),
        ("SHELL", "/tmp/evil"),
        ("KCFLAGS", "$(shell touch ran)"),
        ("KCFLAGS", "-O2 `touch ran`"),
        ("CC", "gcc; touch ran"),
        ("LOCALVERSION", '"; touch ran; "'),
    ],
)
def test_a_variable_that_could_run_a_command_is_refused(variable: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        Make((variable,))
