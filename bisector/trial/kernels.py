# SPDX-License-Identifier: GPL-2.0-only
"""The kernels of one trial: which the VM boots first, and how another one comes up in a later boot.

Another kernel needs another command line, and an initramfs with modules of its own. Only vng knows how to make them: it
is run once more, beside the first boot, with a script in QEMU's place that keeps what it was called with.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bisector.agent.plan import CANDIDATE, Plan, marker
from bisector.errors import InfraError
from bisector.model import Image
from bisector.trial import vng


@dataclass(frozen=True)
class Kernels:
    """The kernels that the VM of one trial boots.

    Args:
        first: booted first.
        name: whose that is.
        others: whose → what a later boot brings up.
    """

    first: Image
    name: str
    others: Mapping[str, Image]

    @property
    def by_name(self) -> dict[str, Image]:
        """All of them, the first one first."""
        return {self.name: self.first, **self.others}

    @property
    def build_ids(self) -> dict[str, str]:
        """Whose → the GNU build id, "" when it is not known; the first one first."""
        return {whose: image.build_id for whose, image in self.by_name.items()}


def kernels_of(plan: Plan, image: Image, held: Callable[[str], Image | None]) -> Kernels:
    """The kernels of a trial of ``image``; ``held`` finds one by its identity. Raises InfraError for one that is gone.

    Where the plan names the VM's own kernel, ``image`` is programs.
    """

    def kept(identity: str) -> Image:
        found = held(identity)
        if found is None:
            raise InfraError("the VM's kernel is gone from the cache; repeat it")
        return found

    if plan.kernel:
        return Kernels(kept(plan.kernel), CANDIDATE, {})
    first = plan.first_kernel or CANDIDATE
    wanted = [first, *(step.boot_kernel for step in plan.steps if step.boot_kernel)]
    identities = dict(plan.kernels)
    found = {whose: image if whose == CANDIDATE else kept(identities.get(whose, "")) for whose in dict.fromkeys(wanted)}
    return Kernels(found.pop(first), first, found)


def programs_beside(plan: Plan, held: Callable[[str], Image | None]) -> dict[str, str]:
    """Whose → the folder of the programs of QEMU that do some steps of a trial in place of those under test.

    Raises InfraError for one that is gone.
    """
    found = {}
    for whose, identity in plan.kernels if plan.by_others else ():
        image = held(identity)
        if image is None or not image.programs:
            raise InfraError(f"the {whose.replace('-', ' ')}'s QEMU is gone from the cache; repeat it")
        found[whose] = image.programs
    return found


def other_boots(argv: Sequence[str], places: vng.Places, kernels: Kernels, plan: Plan) -> vng.OtherBoots:
    """How the script that stands in for QEMU brings up another kernel; ``argv``: what vng is called with.

    Of QEMU's arguments the kernel's are replaced alone: disks, consoles and shared folders stay.
    """
    if not kernels.others:
        return vng.SAME
    before = [f"whose={kernels.name}", _words("first")]
    between = [f"  [ -e {places.shared}/kernel.$boot.{kernels.name} ] && whose={kernels.name} && {_FIRST}"]
    for number, whose in enumerate(kernels.others):
        asked, kept = shlex.join(vng.for_another(argv, places, whose)), places.recorded(whose)
        before.append(f"{asked} </dev/null >{kept}.log 2>&1 &\nasked{number}=$!")
        between.append(
            f"  if [ -e {places.shared}/kernel.$boot.{whose} ]; then\n"
            f"    wait $asked{number}\n"
            f'    [ -e {kept}.append ] || {{ echo "vng did not say how to boot {whose}" >&2; code=1; break; }}\n'
            f"    whose={whose} kernel={places.kernel(whose)} append=$(cat {kept}.append)\n"
            f"    initrd=; [ -e {kept}.initrd ] && initrd={kept}.initrd\n"
            f"  fi"
        )
    between += [_REPLACE, f'  echo "{marker(plan.token, "boot", "$whose")}" >&2']
    return vng.OtherBoots("\n".join(before) + "\n", "\n".join(between) + "\n")


def recorder_script(qemu: str, places: vng.Places, whose: str) -> str:
    """Stands in for QEMU where vng is asked how it would boot another kernel: keeps command line and initramfs."""
    kept = places.recorded(whose)
    return f"""#!/bin/sh
[ "$1" = --version ] && exec {shlex.quote(qemu)} --version
last=
for word; do
  case $last in
    -initrd) cat "$word" >{kept}.initrd || exit 1 ;;
    -append) append=$word ;;
  esac
  last=$word
done
printf %s "$append" >{kept}.append.new && mv {kept}.append.new {kept}.append
"""


_FIRST = "kernel=$first_kernel append=$first_append initrd=$first_initrd"


def _words(prefix: str) -> str:
    """Keeps the kernel's words among QEMU's arguments, each in a variable with that prefix."""
    return f"""last= {prefix}_kernel= {prefix}_append= {prefix}_initrd=
for word; do
  case $last in
    -kernel) {prefix}_kernel=$word ;;
    -append) {prefix}_append=$word ;;
    -initrd) {prefix}_initrd=$word ;;
  esac
  last=$word
done
{_FIRST}"""


_REPLACE = """  count=$# last=
  while [ $count -gt 0 ]; do
    word=$1; shift; count=$((count - 1))
    case $word in -kernel|-append|-initrd) last=$word; continue ;; esac
    [ -n "$last" ] || set -- "$@" "$word"
    last=
  done
  set -- "$@" -kernel "$kernel" -append "$append" ${initrd:+-initrd "$initrd"}"""
