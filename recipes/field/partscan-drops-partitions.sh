#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# partscan-drops-partitions.sh IMAGE TIMES: give IMAGE a partition, attach and detach it, so often, and count the
# kernel's events of that partition: one addition and one removal each time, and no more.
set -u
echo 'start=2048, size=8192, type=83' | sfdisk -q --label dos "$1" || exit 2
# udev watches disks for writers that close them, and then asks for a scan itself: losetup is such a writer
mkdir -p /run/udev/rules.d || exit 2
echo 'SUBSYSTEM=="block", KERNEL=="loop*", OPTIONS+="nowatch"' >/run/udev/rules.d/99-partscan.rules || exit 2
udevadm control --reload || exit 2
udevadm settle --timeout=60
events=$(mktemp) || exit 2
udevadm monitor --kernel --subsystem-match=block/partition >"$events" &
monitor=$!
while ! grep -q '^KERNEL' "$events"; do sleep 0.1; done # until it listens
time=0
while [ "$time" -lt "$2" ]; do
	time=$((time + 1))
	loop=$(losetup --find --show --partscan "$1") || exit 2
	udevadm settle --timeout=60
	losetup --detach "$loop" || exit 2
	udevadm settle --timeout=60
done
sleep 1
kill "$monitor"
echo "added=$(grep -c ' add .*/block/loop' "$events")"
echo "removed=$(grep -c ' remove .*/block/loop' "$events")"
rm -f "$events"
