#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# nbd-uri-export-name.sh IMAGE NAME OTHER: serve IMAGE as the export NAME, and look at OTHER by an nbd URI.
set -u
folder=$(mktemp -d) || exit 2
qemu-nbd --format=raw --export-name="$2" --socket="$folder/s" "$1" &
server=$!
tries=0
while [ ! -S "$folder/s" ] && [ "$tries" -lt 100 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
[ -S "$folder/s" ] || exit 2
qemu-img info "nbd+unix:///$3?socket=$folder/s" 2>&1
code=$?
kill "$server" 2>/dev/null
rm -rf "$folder"
exit "$code"
