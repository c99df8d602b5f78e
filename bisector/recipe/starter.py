# SPDX-License-Identifier: GPL-2.0-only
"""The text of a first recipe, from a few wishes: commented, and such that ``check`` accepts it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bisector.recipe.failure import FailureDescription, quoted, refuse_what_does_not_fit, rows_of, wrapped
from bisector.recipe.starter_steps import conditions as conditions_of
from bisector.recipe.starter_steps import guest, steps
from bisector.recipe.starter_storage import storage

_YAML_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")  # of 1.1 or 1.2: not text


def text(wishes: FailureDescription) -> str:
    """The recipe. Raises UsageError."""
    refuse_what_does_not_fit(wishes)
    return "\n".join(_lines(wishes)) + "\n"


def script_text(wishes: FailureDescription) -> str:
    """A first version of the own script, for somebody who has none yet."""
    where = "in a sandbox on this host" if wishes.without_vm else "as root in the VM, which sees this host's files"
    given = f'# "$1" is the {wishes.storage} that the recipe made.\n' if wishes.storage != "none" else ""
    return f"""#!/bin/sh
# Runs {where}.
# Exit code {wishes.bad_exit}: the failure happened.
# 0: it did not, although everything needed was done.
# Any other: this trial says nothing (a tool was missing, say), and after a few
# of them the candidate is skipped.
{given}# "$BISECTOR_SEED" is another number in each trial: draw what is random from
# it, and a replay repeats it.
set -u

echo "replace this by what fails" >&2
exit 2
"""


def _lines(wishes: FailureDescription) -> Iterator[str]:
    yield f"# {wishes.title or 'What fails, where, and since when: for whoever reads this in a year.'}"
    yield "#"
    repository = "QEMU" if wishes.tested == "qemu" else "LINUX"
    yield f"# Next ({repository} is a git repository):"
    yield f"#   bisector check ./{wishes.name}.yaml"
    yield "#       every mistake, with line and column"
    yield f"#   bisector test ./{wishes.name}.yaml --repo {repository} --rev REV"
    yield "#       does it reproduce?"
    yield f"#   bisector run ./{wishes.name}.yaml --repo {repository}"
    yield "#       which commit?"
    plain = re.fullmatch(r"[a-z][a-z.-]*|[a-z]+-[a-z0-9.-]+", wishes.name) and wishes.name not in _YAML_WORDS
    yield f"recipe: {wishes.name if plain else quoted(wishes.name)}"
    if wishes.title:
        yield f"title: {quoted(wishes.title)}"
    yield ""
    yield from _target(wishes)
    yield from _ends(wishes)
    yield from storage(wishes)
    yield from guest(wishes)
    yield from steps(wishes)
    yield from conditions_of(wishes)


def _target(wishes: FailureDescription) -> Iterator[str]:
    if wishes.without_vm:
        yield "# What is built of QEMU; without --repo the installed ones are tried."
        programs = "qemu-system-x86_64, qemu-img" if wishes.workload == "job" else "qemu-img, qemu-io"
        yield f"target: {{qemu: {{build: [{programs}]}}}}"
        yield "vm: none   # the steps run on this host, in a folder of their own"
        return
    if wishes.tested == "qemu":
        yield "# What is built of QEMU; the VM around it boots the newest packaged kernel."
        yield "target: {qemu: {build: [qemu-system-x86_64, qemu-img]}}"
        yield from _needs(wishes)
        return
    fragments = ["base"]
    for row in rows_of(wishes):
        fragments += [name for name in row.fragments[:1] if name not in fragments]  # others are added by themselves
    yield "# Fragments of the configuration; a file of your own is written ./my.config."
    yield from wrapped(f"target: {{kernel: {{config: [{', '.join(fragments)}]}}}}")
    yield from _needs(wishes)


def _needs(wishes: FailureDescription) -> Iterator[str]:
    if wishes.udev:
        yield "needs: {udev: true}   # else no udev runs in the VM"


def _ends(wishes: FailureDescription) -> Iterator[str]:
    if wishes.good or wishes.bad:
        ends = [f"{name}: {quoted(end)}" for name, end in (("good", wishes.good), ("bad", wishes.bad)) if end]
        yield f"search: {{{', '.join(ends)}}}   # both are tested first"
    else:
        yield "# search: {good: v6.17, bad: v6.18}   # or --good, --bad; both are tested first"
    yield "# The chance of naming a wrong commit; or 'trials: 3' for a fixed number:"
    yield "# confidence: {max_error: 0.01}"
    yield ""
