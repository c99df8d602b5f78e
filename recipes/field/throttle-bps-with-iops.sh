#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# throttle-bps-with-iops.sh DISK BYTES OPERATIONS: two reads of 1 MiB at the same time, in a cgroup that is given so many
# bytes and operations a second ("max": no limit); DISK takes 4 KiB at once, so each is split. Prints how many
# milliseconds both took, and how long after the first the second one ended.
set -u
top=/sys/fs/cgroup
[ -e "$top/cgroup.controllers" ] || mount -t cgroup2 none "$top" || exit 2
echo +io >"$top/cgroup.subtree_control" || exit 2
mkdir -p "$top/limited" || exit 2
disk=/sys/block/${1#/dev/}
echo 4 >"$disk/queue/max_sectors_kb" || exit 2
echo "$(cat "$disk/dev") rbps=$2 riops=$3" >"$top/limited/io.max" || exit 2
echo $$ >"$top/limited/cgroup.procs" || exit 2
ends=$(mktemp) || exit 2
now() { echo "$(($(date +%s%N) / 1000000))"; }
read_one() { dd if="$1" of=/dev/null bs=1M skip="$2" count=1 iflag=direct && now >>"$ends"; }
begin=$(now)
read_one "$1" 1 &
read_one "$1" 2 &
wait
sort -n "$ends" | {
	read -r first && read -r second || exit 2
	echo "both=$((second - begin))"
	echo "apart=$((second - first))"
}
