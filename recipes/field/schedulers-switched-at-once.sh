#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# schedulers-switched-at-once.sh DISK SECONDS: four processes switch its I/O scheduler, beside reads. Prints how often
# the first one did.
set -u
queue=/sys/block/${1#/dev/}/queue
for module in mq-deadline kyber-iosched bfq; do modprobe -q "$module" 2>/dev/null; done
names=$(tr -d '[]' <"$queue/scheduler")
[ "$(echo "$names" | wc -w)" -ge 2 ] || exit 2 # there is nothing to switch to
end=$(($(date +%s) + $2))
switch() {
	count=0
	while [ "$(date +%s)" -lt "$end" ]; do
		for name in $names; do
			echo "$name" >"$queue/scheduler" && count=$((count + 1))
		done 2>/dev/null
	done
	echo "$count"
}
while [ "$(date +%s)" -lt "$end" ]; do dd if="$1" of=/dev/null bs=4k count=64 iflag=direct; done >/dev/null 2>&1 &
for more in 1 2 3; do switch >/dev/null & done
echo "switched=$(switch)"
wait
