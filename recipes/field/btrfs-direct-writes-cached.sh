#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# btrfs-direct-writes-cached.sh FILE HOW: write 16 MiB to FILE as dd's operand HOW says, and count the pages of the page
# cache that became dirty meanwhile.
set -u
dirtied() { sed -n 's/^nr_dirtied //p' /proc/vmstat; }
before=$(dirtied)
dd if=/dev/zero of="$1" bs=64k count=256 status=none "$2" || exit 2
echo "dirtied=$(($(dirtied) - before))"
