#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# nvmet-namespaces.sh FIRST MORE TIMES: serve the disk FIRST by nvme-loop, connect, and add and remove MORE so often.
set -u
nqn=bisector
top=/sys/kernel/config/nvmet
for module in nvmet nvme-loop; do modprobe -q "$module" 2>/dev/null; done
[ -d /sys/kernel/config/nvmet ] || mount -t configfs none /sys/kernel/config
mkdir "$top/subsystems/$nqn" || exit 2
echo 1 >"$top/subsystems/$nqn/attr_allow_any_host"
serve() { # NUMBER DISK
	mkdir "$top/subsystems/$nqn/namespaces/$1" &&
		echo "$2" >"$top/subsystems/$nqn/namespaces/$1/device_path" &&
		echo 1 >"$top/subsystems/$nqn/namespaces/$1/enable"
}
serve 1 "$1" || exit 2
mkdir "$top/ports/1" || exit 2
echo loop >"$top/ports/1/addr_trtype" || exit 2
ln -s "$top/subsystems/$nqn" "$top/ports/1/subsystems/$nqn" || exit 2
echo "transport=loop,nqn=$nqn" >/dev/nvme-fabrics || exit 2
disks() { ls /sys/block | grep -c '^nvme[0-9]*n[0-9]*$'; }
reach() { # NUMBER: wait until there are so many disks; half a minute, as a busy host may stop the VM for seconds
	tries=0
	while [ "$(disks)" -ne "$1" ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 600 ] || return 1
		sleep 0.05
	done
}
reach 1 || exit 2
time=0 appeared=0 gone=0
while [ "$time" -lt "$3" ]; do
	time=$((time + 1))
	serve 2 "$2" || exit 2
	reach 2 || break
	appeared=$((appeared + 1))
	echo 0 >"$top/subsystems/$nqn/namespaces/2/enable"
	rmdir "$top/subsystems/$nqn/namespaces/2" || exit 2
	reach 1 || break
	gone=$((gone + 1))
done
echo "appeared=$appeared"
echo "gone=$gone"
