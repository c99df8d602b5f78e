#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# suspend-under-io.sh DISK LEVEL TIMES: suspend as far as LEVEL of /sys/power/pm_test, so often, while DISK is read.
set -u
echo "$2" >/sys/power/pm_test || exit 2
while :; do dd if="$1" of=/dev/null bs=4k iflag=direct; done >/dev/null 2>&1 &
reader=$!
done=0
while [ "$done" -lt "$3" ]; do
	echo freeze >/sys/power/state || exit 2
	done=$((done + 1))
done
kill "$reader"
echo "suspended=$done"
