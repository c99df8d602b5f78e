#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Sync a file that lost its name, and one made after it, on the file system at FOLDER.

btrfs-log-replay.py [--keep-name] FOLDER
"""

import argparse
import os


def main() -> None:
    """Do so; nothing but the two fsyncs brings anything to the disk."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep-name", action="store_true")
    parser.add_argument("folder")
    options = parser.parse_args()
    os.sync()
    first = os.open(f"{options.folder}/first", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(first, b"x" * (64 << 10))
    if not options.keep_name:
        os.unlink(f"{options.folder}/first")
    os.fsync(first)
    second = os.open(f"{options.folder}/second", os.O_RDWR | os.O_CREAT, 0o600)
    os.fsync(second)


if __name__ == "__main__":
    main()
