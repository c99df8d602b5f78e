# SPDX-License-Identifier: GPL-2.0-only
"""Packs the agent with what it uses of the standard library into one file (bisector/agent/bundle.py reads it).

Bytecode and the standard library are those of one interpreter, so the VM's own makes it, on this host: ``python3 -I -S
bundle.py FOLDER``. Nothing of ours is imported here.
"""

from __future__ import annotations

import importlib.util
import marshal
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType

AGENT = Path(__file__).parent.parent / "agent"
PACKAGES = (AGENT, AGENT.with_name("layers"))
"""Packages that the agent consists of; they import nothing else of ours."""
ENTRIES = {AGENT / "main.py", AGENT / "bundle.py"}

Modules = dict[str, tuple[bool, bytes]]
"""Module → whether it is a package, and its marshalled code, as bisector/agent/bundle.py takes them."""

STANDARD = (
    "__future__", "_weakrefset", "bisect", "collections", "collections.abc", "contextlib", "copyreg", "ctypes",
    "ctypes._endian", "enum", "fnmatch", "functools", "glob", "hashlib", "json", "json.decoder", "json.encoder",
    "json.scanner", "keyword", "locale", "operator", "platform", "random", "re", "re._casefix", "re._compiler",
    "re._constants", "re._parser", "reprlib", "selectors", "signal", "socket", "struct", "subprocess", "threading",
    "types", "typing", "uuid", "warnings", "weakref",
)  # fmt: skip
"""Modules of the standard library that the agent loads; one that is left out is only slower."""


ENTRY, BUNDLE = "agent.pyc", "agent.bundle"


def bundle() -> bytes:
    """The bundle: the agent's own modules, and STANDARD. Raises OSError."""
    modules: Modules = {"bisector": (True, marshal.dumps(compile("", "bisector", "exec")))}
    for package in PACKAGES:
        for source in sorted(set(package.glob("*.py")) - ENTRIES):
            initial = source.name == "__init__.py"
            name = f"bisector.{package.name}" + ("" if initial else f".{source.stem}")
            # without the path: the VM does not see every folder of the host, and code is the same wherever it lies
            place = f"bisector/{package.name}/{source.name}"
            modules[name] = (initial, marshal.dumps(compile(source.read_bytes(), place, "exec", dont_inherit=True)))
    modules |= dict(_standard())
    # what the module generates, and what it imports for that, is most of the agent's start on an emulated processor
    modules["dataclasses"] = modules.pop("bisector.agent.records")
    return marshal.dumps(modules)


def entry() -> bytes:
    """The agent's entry as a .pyc file, which is not checked against its source (PEP 552)."""
    source = (AGENT / "bundle.py").read_bytes()
    code = compile(source, "bisector/agent/bundle.py", "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


def _standard() -> Iterator[tuple[str, tuple[bool, bytes]]]:
    for name in STANDARD:
        package, _, _ = name.rpartition(".")
        above = importlib.util.find_spec(package) if package else None
        spec = PathFinder.find_spec(name, list(above.submodule_search_locations or ()) if above else None)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            continue  # of another version, or built in
        code: CodeType | None = spec.loader.get_code(name)
        if code is not None:
            yield name, (spec.submodule_search_locations is not None, marshal.dumps(code))


if __name__ == "__main__":
    Path(sys.argv[1], ENTRY).write_bytes(entry())
    Path(sys.argv[1], BUNDLE).write_bytes(bundle())
