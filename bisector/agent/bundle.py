# SPDX-License-Identifier: GPL-2.0-only
"""Entry of the agent in a VM: ``python3 -I -S FOLDER/agent.pyc FOLDER``. Its modules come out of one file.

A module that is read by its path costs some ten requests to the host's file server (the VM's root is 9p), and the agent
and what it uses of the standard library are a hundred of them. ``FOLDER/agent.bundle`` holds their code, marshalled by
the same interpreter; what is not in it is imported as usual.
"""

import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # nothing is imported before the bundle is there
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

Modules = dict[str, tuple[bool, bytes]]
"""Module → whether it is a package, and its marshalled code."""

BUNDLE = "agent.bundle"


class Finder:
    """Finds and loads what is in the bundle (importlib.abc's MetaPathFinder and Loader)."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None, /
    ) -> "ModuleSpec | None":
        """The spec of a module of the bundle, None for another one."""
        found = self._modules.get(name)
        if found is None:
            return None
        spec: type[ModuleSpec] = type(sys.__spec__)  # without importlib's files
        return spec(name, self, is_package=found[0])  # type: ignore[arg-type]

    def create_module(self, spec: "ModuleSpec") -> None:
        """The usual kind of module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run a module's code in it."""
        exec(marshal.loads(self._modules[module.__name__][1]), module.__dict__)


def main() -> int:
    """Put the bundle before all other places, and run the agent."""
    with open(f"{sys.argv[1]}/{BUNDLE}", "rb") as file:
        sys.meta_path.insert(0, Finder(marshal.loads(file.read())))
    from bisector.agent.session import main as agent

    return agent(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
