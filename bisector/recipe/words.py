# SPDX-License-Identifier: GPL-2.0-only
"""Words of a recipe and its configs that reach a shell on this host by make: what may stand in them.

make expands ``$(shell ...)`` in each value that it reads, and pastes values into commands of a shell. So what is
allowed is listed, not what is not.
"""

from __future__ import annotations

import re

UNSAFE = re.compile(r"[^A-Za-z0-9 _.,:/@%+=^~()-]")
"""What ends or opens a command somewhere between make and the shell. Round brackets do neither without a "$"."""

MAKE_VARIABLES = (
    *("ARCH", "CROSS_COMPILE", "CROSS_COMPILE_COMPAT", "LLVM", "LLVM_IAS", "CC", "CPP", "LD", "AR", "NM", "OBJCOPY"),
    *("OBJDUMP", "READELF", "STRIP", "HOSTCC", "HOSTCXX", "HOSTLD", "HOSTAR", "RUSTC", "HOSTRUSTC", "BINDGEN"),
    *("PAHOLE", "PYTHON3", "PERL", "AWK", "BISON", "FLEX", "DEPMOD", "KGZIP", "KBZIP2", "KLZOP", "LZMA", "LZ4", "XZ"),
    *("ZSTD", "KCFLAGS", "KAFLAGS", "KCPPFLAGS", "KRUSTFLAGS", "HOSTCFLAGS", "HOSTCXXFLAGS", "HOSTLDFLAGS"),
    *("HOSTLDLIBS", "LOCALVERSION", "W", "C", "CF", "CHECK", "V", "INSTALL_MOD_STRIP", "KBUILD_MODPOST_WARN"),
    *("KBUILD_BUILD_TIMESTAMP", "KBUILD_BUILD_USER", "KBUILD_BUILD_HOST", "KBUILD_BUILD_VERSION"),
)
"""Variables of a kernel's make that say with what and how it builds (Documentation/kbuild/kbuild.rst, llvm.rst, and the
top Makefile of 6.18). Those that say what make reads (MAKEFLAGS, MAKEFILES, SHELL) are not among them."""


def unsafe(value: str) -> tuple[int, str]:
    """Place (from 0) and text of the first character that may not stand there; (-1, "") when all may."""
    found = UNSAFE.search(value)
    return (found.start(), found[0]) if found else (-1, "")
