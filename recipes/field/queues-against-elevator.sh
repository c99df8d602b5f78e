#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# queues-against-elevator.sh DISK NAME SECONDS: change the hardware queues of null_blk's NAME (its folder in configfs)
# while its I/O scheduler is switched and it is read.
set -u
queue=/sys/block/${1#/dev/}/queue
queues=/sys/kernel/config/nullb/$2/submit_queues
[ -w "$queues" ] || exit 2
for module in mq-deadline kyber-iosched bfq; do modprobe -q "$module" 2>/dev/null; done
names=$(tr -d '[]' <"$queue/scheduler")
[ "$(echo "$names" | wc -w)" -ge 2 ] || exit 2 # there is nothing to switch to
end=$(($(date +%s) + $3))
change() {
	count=0
	while [ "$(date +%s)" -lt "$end" ]; do
		for number in 1 2; do
			echo "$number" >"$queues" && count=$((count + 1))
		done 2>/dev/null
	done
	echo "queues=$count"
}
while [ "$(date +%s)" -lt "$end" ]; do dd if="$1" of=/dev/null bs=4k count=64 iflag=direct; done >/dev/null 2>&1 &
change &
count=0
while [ "$(date +%s)" -lt "$end" ]; do
	for name in $names; do
		echo "$name" >"$queue/scheduler" && count=$((count + 1))
	done 2>/dev/null
done
echo "schedulers=$count"
wait
