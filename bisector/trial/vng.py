# SPDX-License-Identifier: GPL-2.0-only
"""What virtme-ng is called with. Pure: image, plan and folder in; argument list, scripts and environment out.

Facts about virtme-ng stand for 1.42 and were read in its source or seen. It joins its options into one line for a
shell, so a path with a blank breaks; ``--exec`` travels in the kernel's command line (2,048 bytes, cut silently), so a
script goes by its path; an option value that starts with "-" needs the ``=`` form.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector.agent.plan import Layer, Plan
from bisector.errors import InfraError
from bisector.layers import table
from bisector.layers.device import DEVICES, SERIAL_LENGTH, Device
from bisector.layers.drive import file_words, format_words, more_words
from bisector.model import Image
from bisector.system.sandbox import Access, installation

SAFE = re.compile(r"[A-Za-z0-9_+/.-]+")  # what vng's --rwdir takes, without the blank that its shell would split at
RUN, QEMU = "--run", "--qemu"  # options of vng
OPTIONS = 800  # bytes of kernel options; with vng's own 1,000 they stay below the 2,048 that the kernel reads
CONFIGURATION = '{"default_opts": {}}'  # found first, so that neither the user's nor the host's file is read


@dataclass(frozen=True)
class Places:
    """Where everything of one trial lies below its work folder; ``shared`` has the same path inside the VM."""

    root: Path

    @property
    def shared(self) -> Path:
        """Folder that the VM may write."""
        return self.root / "s"

    @property
    def start(self) -> Path:
        """Script that the VM runs."""
        return self.shared / "start"

    def kernel(self, whose: str = "") -> Path:
        """Link to an image, the first that is booted or another one's. vng looks for lib/modules beside its folder."""
        return self.shared / (f"k-{whose}" if whose else "k") / "boot/vmlinuz"

    def modules(self, whose: str = "") -> Path:
        """Link to that image's modules, or an empty folder: else vng would take those of the host."""
        return self.kernel(whose).parents[1] / "lib/modules"

    def recorder(self, whose: str) -> Path:
        """Script that stands in for QEMU where vng is asked how it would boot another kernel."""
        return self.root / f"record-{whose}"

    def recorded(self, whose: str) -> Path:
        """What it left: with ``.append`` and ``.initrd`` behind it, and ``.log``."""
        return self.root / f"boot-{whose}"

    @property
    def home(self) -> Path:
        """Private HOME of vng."""
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """Private TMPDIR of vng, whose temporary files would outlive a kill."""
        return self.root / "tmp"

    @property
    def qemu(self) -> Path:
        """Script that stands in for QEMU and notes how it ended."""
        return self.root / "qemu"

    @property
    def qemu_exit(self) -> Path:
        """QEMU's exit code as a shell gives it (128 and above: killed by a signal)."""
        return self.root / "qemu.exit"

    def disk(self, layer: Layer) -> Path:
        """File behind a disk of the VM."""
        return self.root / "disks" / layer.name


FEW_QUEUES = ("-global", "virtio-serial-device.max_ports=2")
"""vng gives the VM up to six serial controllers of 31 ports and 64 queues each, and uses one port of each.

QEMU polls every queue: 391 descriptors, up to a thousand times a second, which took a seventh of a core.
"""

SMALL_BUFFER = ("-accel", "tcg,tb-size=128")
"""MiB of translated code that QEMU keeps; its default is 1,024, of which an inner guest fills 360 in a minute.

Where the inner QEMU ends, its memory is full of code that was translated. Whoever gets a page of it next has each write
looked up, until all translations of the page are taken back: the second start of an inner guest took 76 s, and takes
39 s since QEMU forgets them all at once when its buffer is full.
"""

SERVICES = (Path("/usr/lib/systemd"), Path("/lib/systemd"), Path("/usr/bin/systemd-tmpfiles"))
"""What virtme's init would start and wait for: udev, its trigger and its settling, and systemd-tmpfiles.

It looks for systemd-udevd in the first two, and goes on where it finds none (find_udevd() and run_udevd(),
virtme_ng_init/src/main.rs); that systemd-tmpfiles does not start is one line on the console (run_cmd(), utils.rs).
"""

ON_CONSOLE = (1, 41)
"""The first version whose init runs a script on the console where its ports have no names, which udev gives them.

Read in both inits of 1.40 and 1.41 (run_user_script_on_console()).
"""


def without_udev(version: str) -> bool:
    """Whether virtme-ng of that version ("" when unknown) runs a script in a VM without udev."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= ON_CONSOLE


ICOUNT = ("-icount", "shift=1")
"""Each instruction takes the VM 2 ns, whatever the host does meanwhile; while the VM waits, its time is the host's.

So what a workload takes that never waits is a count of instructions (docs/devel/tcg-icount.rst of QEMU). With
``sleep=off`` waiting would take no time, but a VM whose root comes from this host (9p) waits for the host: its clock
was at 1,270 s after a boot of 20 s.
"""


def disks(plan: Plan) -> tuple[Layer, ...]:
    """The layers that are devices of the VM; the others are made by the agent."""
    return tuple(layer for layer in plan.layers if _device(layer))


def _device(layer: Layer) -> Device | None:
    row = table.row(layer.kind, layer.type)
    return row.device if row else None


def arguments(
    image: Image,
    plan: Plan,
    places: Places,
    *,
    accel: str,
    vng: str = "vng",
    programs: Sequence[str] = (),
    others: Sequence[Image] = (),
) -> tuple[str, ...]:
    """The argument list of vng for one trial. Raises InfraError for a path or name that vng or QEMU would cut.

    Args:
        accel: "kvm" or "tcg".
        vng: the program, by name or path.
        programs: folders of programs of QEMU that the trial runs; none when the kernel is under test.
        others: kernels that a later boot of the VM may bring up.
    """
    if not SAFE.fullmatch(str(places.root)):
        raise InfraError(f"vng cannot use the folder {places.root}", hint="set TMPDIR to a path without blanks")
    emulation = (*SMALL_BUFFER, *(ICOUNT if plan.icount else ())) if accel != "kvm" else ()
    return (
        *(vng, RUN, str(places.kernel())),
        *(["--disable-kvm"] if accel != "kvm" else []),
        "--force-9p",  # virtiofs needs a daemon that Debian 12 does not ship
        "--verbose",  # without it the kernel log is dropped
        *("--memory", f"{plan.memory >> 20}M"),
        *("--cpus", str(plan.cpus)),
        f"--rwdir={places.shared}={places.shared}",
        *_seen(*_folders_of_modules(image, *others), *folders_of_programs(*programs)),
        *(QEMU, str(places.qemu)),
        *(f"--append={option}" for option in kernel_options(plan, accel)),
        f"--qemu-opts={shlex.join((*FEW_QUEUES, *emulation, *devices(plan, places)))}",
        *("--exec", str(places.start)),
    )


def for_another(argv: Sequence[str], places: Places, whose: str) -> tuple[str, ...]:
    """``arguments`` for another kernel, with the script that keeps what QEMU would be called with in its place."""
    other = {RUN: str(places.kernel(whose)), QEMU: str(places.recorder(whose))}
    return tuple(other.get(before, word) for before, word in zip(("", *argv), argv, strict=False))


def kernel_options(plan: Plan, accel: str) -> tuple[str, ...]:
    """Further options of the VM's kernel command line. Raises InfraError when the kernel would cut them off."""
    options = (
        "printk.devkmsg=on",  # else the markers are rate-limited
        # An emulated CPU on a busy host is slow, not locked up; and its timer may come too late for the check at boot,
        # which then panics: "IO-APIC + timer doesn't work" (seen at a load of 20).
        *(["watchdog_thresh=30", "no_timer_check"] if accel != "kvm" else []),
        *(["intel_iommu=on", "iommu=nopt"] if _passthrough(plan) else []),
        *_options_of_storage(plan),
        *plan.append,
    )
    if len(" ".join(options)) > OPTIONS:
        raise InfraError(f"the VM's kernel options are longer than {OPTIONS} characters", hint="shorten vm.append")
    return options


def _options_of_storage(plan: Plan) -> tuple[str, ...]:
    """What types of storage need on the kernel's command line."""
    layers = {key: [layer for layer in plan.layers if (layer.kind, layer.type) == key] for key in table.ROWS}
    return tuple(option for key, own in layers.items() if own for option in table.ROWS[key].kernel_options(own))


def devices(plan: Plan, places: Places) -> tuple[str, ...]:
    """QEMU's options for the plan's disks: each has its layer's name as serial number."""
    options: list[str] = []
    if _passthrough(plan):  # must come before the devices that it translates for
        options += ["-machine", "q35", "-device", "intel-iommu,intremap=off,caching-mode=on"]
    attached = [(layer, device) for layer in plan.layers if (device := _device(layer))]
    for device in DEVICES.values():
        own = [dict(layer.options) for layer, behind in attached if behind is device]
        options += device.controllers(len(own), given={word: value for words in own for word, value in words.items()})
    used = dict.fromkeys(DEVICES, 0)
    for layer, device in attached:
        if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{SERIAL_LENGTH}}}", layer.name):
            limit = f"at most {SERIAL_LENGTH} characters"
            raise InfraError(f"disk {layer.name}: a disk's name is its serial number, {limit}")
        given = dict(layer.options)
        words = ["if=none", f"id=disk-{layer.name}", *format_words(given), "cache=unsafe", *more_words(given)]
        node = ",".join([*file_words(str(places.disk(layer)), given), *words])
        place = device.for_disk(used[device.name])
        used[device.name] += 1
        options += ["-drive", node, *device.attached(place, f"disk-{layer.name}", layer.name, given)]
    return tuple(options)


def _passthrough(plan: Plan) -> bool:
    return plan.guest is not None and bool(plan.guest.passthrough)


def _folders_of_modules(*images: Image) -> tuple[Path, ...]:
    found = ((Path(image.modules) / "lib/modules").resolve() for image in images if image.modules)
    return tuple(dict.fromkeys(found))


def folders_of_programs(*programs: str) -> tuple[Path, ...]:
    """Of images with programs: each image (a program finds its data at ../share), and where links in it lead to, as an
    emulator is not copied.

    Without one of these another program of that name would be found in PATH, and tried in its place.
    """
    return tuple(dict.fromkeys(place for one in programs if one for place in _folders_of_programs(one)))


def _folders_of_programs(programs: str) -> tuple[Path, ...]:
    folder = Path(programs).resolve()
    linked = {link.resolve().parent for link in folder.iterdir() if link.is_symlink()}
    linked |= {share for place in linked if (share := place.parent / "share").is_dir() and place.name == "bin"}
    return (folder.parent, *sorted(place for place in linked if not place.is_relative_to("/usr")))


def _seen(*folders: Path) -> tuple[str, ...]:
    """Folders that the VM sees: the host's root it has, but with empty file systems over /run, /var/cache, /var/tmp."""
    for folder in folders:
        if not SAFE.fullmatch(str(folder)):
            raise InfraError(f"vng cannot use {folder}", hint="use folders (XDG_CACHE_HOME) without blanks in the path")
    return tuple(f"--rodir={folder}={folder}" for folder in folders)


def access(
    images: Sequence[Image],
    plan: Plan,
    places: Places,
    *,
    accel: str,
    tools: tuple[str, ...],
    programs: Sequence[str] = (),
) -> Access:
    """What vng and its QEMU may touch. The VM's root is this host's as they see it: the VM sees no more.

    Without a udev that the plan wants, it sees no ``SERVICES``: the agent would end them as the first thing.
    ``images``: the kernels that it boots.
    ``tools``: paths of what runs, which may lie below a home folder; the others as of ``arguments``.
    """
    seen = [Path(image.kernel) for image in images]
    seen += [*_folders_of_modules(*images), *folders_of_programs(*programs)]
    seen += [place for tool in tools if "/" in tool for place in installation(tool)]
    devices = (Path("/dev/kvm"),) if accel == "kvm" else ()
    return Access((places.root,), tuple(seen), devices, () if plan.udev else SERVICES)


def environment(places: Places, environ: Mapping[str, str], vng: str) -> dict[str, str]:
    """The whole environment of vng: nothing of the user's but PATH. vng calls its parts by name, so they go first."""
    path = environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    beside = f"{Path(vng).parent}:" if "/" in vng else ""
    return {
        "PATH": f"{beside}{path}:/usr/local/sbin:/usr/sbin:/sbin",
        "HOME": str(places.home),
        "TMPDIR": str(places.temporary),
        "LANG": "C.UTF-8",
    }


@dataclass(frozen=True)
class OtherBoots:
    """Parts of that script for further kernels (trial/kernels.py): at its beginning, and between two boots."""

    before: str = ""
    between: str = ""


SAME = OtherBoots()


def qemu_script(qemu: str, places: Places, boots: int = 1, other: OtherBoots = SAME) -> str:
    """Stands in for QEMU: vng itself hides whether QEMU was killed or the VM went down.

    It starts QEMU up to ``boots`` times, again where the agent wanted that (agent/boots.py), on ``other`` kernels too.
    """
    start = f'{shlex.quote(qemu)} "$@"\ncode=$?' if boots == 1 else _boots(qemu, places, boots, other)
    return f"""#!/bin/sh
[ "$1" = --version ] && exec {shlex.quote(qemu)} --version
{start}
echo $code >{places.qemu_exit}.new && mv {places.qemu_exit}.new {places.qemu_exit}
exit $code
"""


CUT = 0.1
"""Seconds between two looks for a wish to have the VM's power cut."""


def _boots(qemu: str, places: Places, boots: int, other: OtherBoots) -> str:
    pid = f"{places.root}/qemu.pid"
    return f"""{other.before}boot=1
while :; do
  ( while sleep {CUT}; do [ -e {places.shared}/cut.$boot ] && kill -9 "$(cat {pid})" && exit; done ) \\
    </dev/null >/dev/null 2>&1 &
  sh -c 'echo $$ >"$0"; exec "$@"' {pid} {shlex.quote(qemu)} "$@"
  code=$?
  kill $! 2>/dev/null
  [ $boot -lt {boots} ] || break
  [ -e {places.shared}/boot.$boot ] || [ -e {places.shared}/cut.$boot ] || break
{other.between}  boot=$((boot + 1))
done"""


def start_script(python: str, entry: Path, places: Places, programs: str = "") -> str:
    """What the VM runs: the agent, whose own output (a traceback, at most) goes to a file."""
    shared = places.shared
    first = f"export PATH={shlex.quote(programs)}:$PATH\n" if programs else ""
    agent = f"exec {python} -I -S {entry} {shared} >>{shared}/agent.log 2>&1 </dev/null"
    return f"#!/bin/sh\n{first}{agent}\n"
