# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's modules say of themselves (modinfo(8)): what each needs before it can be loaded.

A module names others by their name, or by what several of them offer ("crypto-crc32c"): an alias. Which module has an
alias stands in the modules alone: modules.alias is made by depmod at installation and is in no package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

_FIELD = re.compile(rb"(?<![\x21-\x7e])(depends|softdep|alias)=([\x20-\x7e]*)\0")  # strings of the section .modinfo
_BUILTIN_FILE = re.compile(r"([^/]+)\.ko$", re.MULTILINE)
_NEAR = re.compile(r"/(?:crypto|lib|arch)/")  # where what several modules offer is looked for first: 0.1 of them all


def plain(name: str) -> str:
    """Names of modules, and aliases, are equal with - and _ (modprobe(8))."""
    return name.replace("-", "_")


@dataclass
class Modules:
    """The modules of one kernel.

    Args:
        paths: name (with ``_``) → path of each module's file.
        read: the unpacked content of a path.
        builtin: names and aliases of what is built in.
    """

    paths: Mapping[str, str]
    read: Callable[[str], bytes]
    builtin: frozenset[str] = frozenset()
    _aliases: dict[str, set[str]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def closure(self, wanted: Iterable[str]) -> dict[str, bytes]:
        """Path → content of the modules ``wanted`` that are there, and of all that they need."""
        taken: dict[str, bytes] = {}
        todo = [name for name in wanted if name in self.paths]
        while todo:
            path = self.paths[todo.pop()]
            if path not in taken:
                taken[path] = self.read(path)
                todo += [name for word in needs(taken[path]) for name in self.offering(word)]
        return taken

    def offering(self, word: str) -> tuple[str, ...]:
        """The modules that a dependency's word stands for; none when it is built in, or not there at all.

        Reads modules until one that has the alias is found: first the tenth of them among which it mostly is.
        """
        wanted = plain(word)
        if wanted in self.builtin:
            return ()
        if wanted in self.paths:
            return (wanted,)
        near = {name for name, path in self.paths.items() if _NEAR.search(path)}
        for names in (near, self.paths.keys() - near):
            self._look_into(names)
            if found := self._aliases.get(wanted):
                return tuple(sorted(found))
        return ()

    def _look_into(self, names: Iterable[str]) -> None:
        for name in set(names) - self._seen:
            self._seen.add(name)
            for alias in aliases(self.read(self.paths[name])):
                self._aliases.setdefault(alias, set()).add(name)


def needs(module: bytes) -> Iterator[str]:
    """What a module's file says that it needs, as it is written there: names and aliases."""
    for kind, value in _FIELD.findall(module):
        words = value.decode().split("," if kind == b"depends" else None)
        if kind != b"alias":
            yield from (word for word in words if word and not word.endswith(":"))  # "pre:", "post:"


def aliases(module: bytes) -> Iterator[str]:
    """The aliases in a module's file; patterns, which are for devices, are harmless here."""
    return (plain(value.decode()) for kind, value in _FIELD.findall(module) if kind == b"alias")


def builtin(listing: str, modinfo: bytes) -> frozenset[str]:
    """Names and aliases of what is built in, from the contents of modules.builtin and modules.builtin.modinfo."""
    fields = (text.decode(errors="replace").partition(".alias=") for text in modinfo.split(b"\0"))
    names = (plain(name) for name in _BUILTIN_FILE.findall(listing))
    return frozenset((*names, *(plain(alias) for _, found, alias in fields if found)))
