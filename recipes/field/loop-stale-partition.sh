#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# loop-stale-partition.sh IMAGE TIMES: give IMAGE a partition, attach it, and detach it while others open the device,
# until a partition is there and its device has no file; then it ends with 1.
set -u
echo 'start=2048, size=8192, type=83' | sfdisk -q --label dos "$1" || exit 2
loop=$(losetup --find) || exit 2
name=${loop#/dev/}
stale=0 attached=0
opener() { while :; do blockdev --getsz "$loop"; done >/dev/null 2>&1; }
opener & first=$!
opener & second=$!
while [ "$attached" -lt "$2" ]; do
	losetup --partscan "$loop" "$1" 2>/dev/null || continue # still detaching
	attached=$((attached + 1))
	losetup --detach "$loop" 2>/dev/null
	tries=0
	while [ -e "/sys/block/$name/loop/backing_file" ] && [ "$tries" -lt 600 ]; do
		tries=$((tries + 1)) # the last one who has it open detaches it
		sleep 0.02
	done
	[ -e "/sys/block/$name/loop/backing_file" ] && exit 2
	if [ -e "/sys/block/$name/${name}p1" ]; then
		stale=1
		break
	fi
done
kill "$first" "$second"
echo "attached=$attached"
echo "stale=$stale"
[ "$stale" -eq 0 ]
