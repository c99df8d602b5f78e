# SPDX-License-Identifier: GPL-2.0-only
"""The inner guest's root: a newc cpio (Documentation/driver-api/early-userspace/buffer-format.rst) of a busybox."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from .command import Halt, find_tool, run

ELF_INTERPRETER = 3  # PT_INTERP, elf(5): a program that names a dynamic loader

# Its commands come over the second serial port, one line each: a number, how many bytes of its output are wanted, and a
# shell command. Answers: "O number text" per line of output, "E number exit"; where it printed more than is wanted
# "T number", and then the end of it. Each command has a file of its own, so that what it leaves running writes into no
# other's; how long that is stands in the position of its descriptor. Only the shell's own words, up to "ready" and for
# what is short: a fork in an emulated guest of an emulated VM costs a tenth of a second. "read" drops the NULs of a VPD
# page, and the trailing blanks of an ATA serial.
# A line that a reset has cut off ends with the first thing it says.
# With a file /beside it does not wait for the end of one before the next; who reads the commands is then no parent of
# theirs, as the end of a child in a "read" loses what was read of a line.
INIT = """\
#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
exec 3<>/dev/ttyS1
busybox stty raw -echo <&3
[ -e /modules-to-load ] && read -r names </modules-to-load && busybox modprobe -a $names
echo 8 >/proc/sys/kernel/printk
cd /files
through=; [ -e /without-cache ] && read -r through </without-cache
blocks() {
  for d in /sys/block/*; do
    for f in serial device/serial device/vpd_pg80; do
      s=; [ -r $d/$f ] && read -r s <$d/$f
      [ "$s" ] || continue
      case " $through " in *" $s "*) echo write through >$d/queue/write_cache; esac
      printf 'B %s %s\\n' ${d##*/} "$s" >&3 && break
    done
  done
}
lines() { while IFS= read -r line || [ "$line" ]; do printf 'O %s %s\\n' $number "$line" >&3; done; }
echo >&3
blocks
echo ready >&3
answer() {
  case $command in blocks) blocks; echo E $number 0 >&3; return;; esac
  out=/tmp/out.$number
  exec 4>$out
  (eval "$command") >&4 2>&1 </dev/null 3>&- 4>&-
  code=$?
  read -r _ size </proc/self/fdinfo/4
  exec 4>&-
  if [ $size -le $keep ]; then
    lines <$out
  else
    echo T $number >&3
    tail -c $keep $out | lines
  fi
  : >$out
  echo E $number $code >&3
}
[ -e /beside ] && (while read -r number keep command <&3; do (answer &); done)
while read -r number keep command <&3; do answer; done
"""


@dataclass(frozen=True)
class Entry:
    """A file of the archive; ``mode`` holds its type and its rights, ``data`` a link's aim or a file's content."""

    path: str
    mode: int
    data: bytes = b""


BESIDE = Entry("beside", stat.S_IFREG | 0o644)
"""With it the guest does commands beside each other."""


def cpio(entries: Iterable[Entry]) -> bytes:
    """A newc archive of ``entries``, in their order (a folder before what is in it)."""
    out = bytearray()
    for number, entry in enumerate((*entries, Entry("TRAILER!!!", 0)), 1):
        name = entry.path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % value for value in fields) + name
        out += bytes(-len(out) % 4)
        out += entry.data
        out += bytes(-len(out) % 4)
    return bytes(out)


def find_busybox() -> str:
    """A busybox that needs no libraries. Raises Halt(tools)."""
    path = find_tool("busybox")
    with open(path, "rb") as file:
        head = file.read(4096)
    if not is_static(head):
        raise Halt("tools", f"{path} is not a static program; install busybox-static")
    return path


def is_static(head: bytes) -> bool:
    """Whether the first bytes of an ELF64 file name no dynamic loader among its program headers (elf(5))."""
    if head[:5] != b"\x7fELF\x02":
        return False
    start, size, count = (int.from_bytes(head[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    kinds = [head[at : at + 4] for at in range(start, start + size * count, size)]
    return ELF_INTERPRETER.to_bytes(4, "little") not in kinds


def guest_root(
    folder: str, names: Iterable[str], more: Iterable[Entry] = (), without_cache: Iterable[str] = ()
) -> bytes:
    """The inner guest's root: busybox under all its names, our init, the recipe's files.

    Args:
        folder: holds the recipe's files.
        names: of those.
        more: further files and folders, which go before a busybox of the same name.
        without_cache: serial numbers of disks whose kernel is told that they have no write cache.

    Raises Halt(tools).
    """
    busybox = find_busybox()
    with open(busybox, "rb") as file:
        program = file.read()
    applets = run([busybox, "--list"], timeout=20.0).output.split() or ["sh"]
    folders = ("bin", "dev", "proc", "sys", "tmp", "files", "mnt")
    more = [entry for entry in more if entry.path not in folders]
    applets = [name for name in applets if f"bin/{name}" not in {entry.path for entry in more}]
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in folders]
    # The kernel opens /dev/console for init before devtmpfs is mounted; without it init has no output.
    entries.append(Entry("init", stat.S_IFREG | 0o755, INIT.encode()))
    entries.append(Entry("bin/busybox", stat.S_IFREG | 0o755, program))
    entries += [Entry(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox") for name in applets if name != "busybox"]
    entries += more
    if serials := " ".join(without_cache):
        entries.append(Entry("without-cache", stat.S_IFREG | 0o644, f"{serials}\n".encode()))
    for name in names:
        entries += _own_file(folder, name)
    return cpio(entries)


def _own_file(folder: str, name: str) -> list[Entry]:
    name = os.path.normpath(name)
    parents = name.split("/")[:-1]
    above = [Entry("/".join(["files", *parents[: i + 1]]), stat.S_IFDIR | 0o755) for i in range(len(parents))]
    try:
        with open(f"{folder}/{name}", "rb") as file:
            return [*above, Entry(f"files/{name}", stat.S_IFREG | 0o755, file.read())]
    except OSError as error:
        raise Halt("plan", f"the recipe's file {name} is not there: {error}") from None
