#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# xfs-xattr-medium-error.sh FOLDER DISK: give a file on XFS an attribute in a block of its own, let that block of
# scsi_debug's DISK fail, and read the attribute. 0: the read failed, as it must; 1: it did not.
set -u
driver=/sys/bus/pseudo/drivers/scsi_debug
values=/sys/module/scsi_debug/parameters
file=$1/file
: >"$file"
setfattr -n user.large -v "$(head -c 3000 /dev/zero | tr '\0' x)" "$file" || exit 2
sync
# "0: [0..7]: 192..199 ...": sectors of the file's attributes, and where they lie on the disk
start=$(xfs_bmap -a -v "$file" | sed -n 's/^ *0: \[0\.\.[0-9]*\]: *\([0-9]*\)\.\..*/\1/p')
[ -n "$start" ] || exit 2
umount "$1" || exit 2
mount -t xfs "$2" "$1" || exit 2
echo "$start" >"$values/medium_error_start" || exit 2
echo 8 >"$values/medium_error_count" || exit 2
echo 2 >"$driver/opts" || exit 2
if getfattr -n user.large "$file" 2>&1 >/dev/null; then code=1; else code=0; fi
echo 0 >"$driver/opts"
exit "$code"
