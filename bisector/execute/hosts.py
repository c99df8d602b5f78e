# SPDX-License-Identifier: GPL-2.0-only
"""Hosts of ``--cluster ssh:HOSTS``: names with a comma between them, or a file with one in each line."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.errors import UsageError

TARGET = re.compile(r"(?:[A-Za-z0-9_][\w.+-]*@)?(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9_][\w.-]*)(?::(\d{1,5}))?", re.ASCII)
MOST = 64  # slots of a kind
GRAMMAR = "[USER@]HOST[:PORT], in a file with [trial=N] [build=N] [bisector=PROGRAM] behind it"


@dataclass(frozen=True)
class Host:
    """A host of workers.

    Args:
        name: of its worker.
        target: where ssh goes; a name of the person's ssh_config, too.
        port: 0 for ssh's own choice.
        trials, builds: slots; ``trials`` 0: as many as VMs have processors of their own there.
        bisector: the program there; "" looks into PATH.
    """

    name: str
    target: str
    port: int = 0
    trials: int = 0
    builds: int = 1
    bisector: str = ""


def hosts(given: str) -> tuple[Host, ...]:
    """The hosts that are given, by names or by the name of a file. Raises UsageError."""
    path = Path(given)
    if "/" in given or path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--cluster ssh:{given}: the file of hosts cannot be read: {error}") from error
        rows = [(f"{given}:{number}", line.partition("#")[0].split()) for number, line in enumerate(lines, 1)]
    else:
        rows = [(f"--cluster ssh:{given}", [each.strip()]) for each in given.split(",")]
    found = [_host(place, words) for place, words in rows if words]
    if not found:
        raise UsageError(f"--cluster ssh:{given}: no host", hint=f"give {GRAMMAR}")
    names = [host.name for host in found]
    return tuple(
        replace(host, name=f"{host.name}-{before + 1}") if (before := names[:number].count(host.name)) else host
        for number, host in enumerate(found)
    )


def _host(place: str, words: list[str]) -> Host:
    fits = TARGET.fullmatch(words[0])
    if not fits:
        raise UsageError(f"{place}: {words[0]!r} is no host", hint=f"give {GRAMMAR}")
    name, port = fits[1].strip("[]"), int(fits[2] or 0)
    host = Host(name, words[0].removesuffix(f":{fits[2]}").replace("[", "").replace("]", ""), port)
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key == "trial" and value.isdecimal() and 1 <= int(value) <= MOST:
            host = replace(host, trials=int(value))
        elif key == "build" and value.isdecimal() and int(value) <= MOST:
            host = replace(host, builds=int(value))
        elif key == "bisector" and value:
            host = replace(host, bisector=value)
        else:
            raise UsageError(f"{place}: {word!r} says nothing of a host", hint=f"give {GRAMMAR}; N is at most {MOST}")
    return host
