#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# throttle-bps-with-iops.sh DISK BYTES OPERATIONS MIB: read MIB from DISK, 4 MiB at a time, in a cgroup that is given so
# many bytes and operations a second ("max": no limit).
set -u
top=/sys/fs/cgroup
[ -e "$top/cgroup.controllers" ] || mount -t cgroup2 none "$top" || exit 2
echo +io >"$top/cgroup.subtree_control" || exit 2
mkdir -p "$top/limited" || exit 2
echo "$(cat "/sys/block/${1#/dev/}/dev") rbps=$2 riops=$3" >"$top/limited/io.max" || exit 2
echo $$ >"$top/limited/cgroup.procs" || exit 2
exec dd if="$1" of=/dev/null bs=4M count="$(($4 / 4))" iflag=direct
