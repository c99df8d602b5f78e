#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# throttle-bps-with-iops.sh DISK BYTES OPERATIONS: two reads of 1 MiB at the same time, in a cgroup that is given so many
# bytes and operations a second ("max": no limit); DISK takes 4 KiB at once, so each is split. Prints the seconds that
# the shorter and the longer read took.
set -u
group=/sys/fs/cgroup/limited
mkdir -p "$group" || exit 2
disk=/sys/block/${1#/dev/}
echo 4 >"$disk/queue/max_sectors_kb" || exit 2
echo "$(cat "$disk/dev") rbps=$2 riops=$3" >"$group/io.max" || exit 2
echo $$ >"$group/cgroup.procs" || exit 2
took=$(mktemp) || exit 2
read_one() { LC_ALL=C dd if="$1" of=/dev/null bs=1M skip="$2" count=1 iflag=direct 2>&1 | sed -n 's/.*, \([0-9.]*\) s, .*/\1/p' >>"$took"; }
read_one "$1" 1 &
read_one "$1" 2 &
wait
sort -n "$took" | {
	read -r shorter && read -r longer || exit 2
	echo "shorter=$shorter"
	echo "longer=$longer"
}
