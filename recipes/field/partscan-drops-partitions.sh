#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# partscan-drops-partitions.sh IMAGE TIMES: give IMAGE a partition, attach it, and count the kernel's events of that
# partition while it is attached.
set -u
echo 'start=2048, size=8192, type=83' | sfdisk -q --label dos "$1" || exit 2
events=$(mktemp) || exit 2
added=0 removed=0 time=0
while [ "$time" -lt "$2" ]; do
	time=$((time + 1))
	udevadm monitor --kernel --subsystem-match=block/partition >"$events" &
	monitor=$!
	sleep 0.5 # until it listens
	loop=$(losetup --find --show --partscan "$1") || exit 2
	udevadm settle --timeout=20
	sleep 0.5
	kill "$monitor"
	wait "$monitor" 2>/dev/null
	added=$((added + $(grep -c ' add .*/block/loop' "$events")))
	removed=$((removed + $(grep -c ' remove .*/block/loop' "$events")))
	losetup --detach "$loop" || exit 2
	udevadm settle --timeout=20
done
rm -f "$events"
echo "added=$added"
echo "removed=$removed"
