#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# brd-discard-before-its-range.sh PATTERN DISK: write the same 64 KiB, none of them zero, to both.
set -u
modprobe -q brd rd_nr=1 rd_size=16384
[ -b "$2" ] || exit 2
yes "$BISECTOR_SEED" | dd of="$1" bs=64k count=1 iflag=fullblock conv=fsync status=none || exit 2
dd if="$1" of="$2" bs=64k count=1 iflag=direct oflag=direct status=none || exit 2
