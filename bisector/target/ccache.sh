#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Stands before ccache in a kernel's build: PATH finds it under that name. Depend mode makes what is not in the cache a
# quarter cheaper, for the source is not preprocessed twice; but then ccache does not see that a source has another file
# put into it by .incbin, and would give what that file was before. Such sources, and assembler, are left to the usual
# mode. kbuild names the source last. See ccache.py for headers.
for source; do :; done
case $source in
*.c)
	grep -q incbin -- "$source"
	[ $? -eq 1 ] && export CCACHE_DEPEND=1
	;;
esac
exec "$BISECTOR_CCACHE" "$@"
