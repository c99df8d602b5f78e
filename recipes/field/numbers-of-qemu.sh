#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# numbers-of-qemu.sh SECONDS: the processor time that the emulator took in that time, in percent of one processor, and
# its resident memory in MiB.
set -u
pid=
for folder in /proc/[0-9]*; do
	case $(readlink "$folder/exe" 2>/dev/null) in */qemu-system-*) pid=${folder#/proc/} ;; esac
done
[ -n "$pid" ] || exit 2
ticks() { sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}'; } # utime and stime
before=$(ticks) || exit 2
sleep "$1"
after=$(ticks) || exit 2
echo "percent=$(((after - before) * 100 / ($1 * $(getconf CLK_TCK))))"
echo "resident=$(awk '/^VmRSS:/ {print int($2 / 1024)}' "/proc/$pid/status")"
