# SPDX-License-Identifier: GPL-2.0-only
"""Write blocks with metadata by NVMe passthrough, and read them back. Exit code 1: something else came back.

Arguments: the disk; "other" reads the block beside, as a control. The command is struct nvme_passthru_cmd of
include/uapi/linux/nvme_ioctl.h.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import sys

NVME_IOCTL_ID = 0x4E40
NVME_IOCTL_IO_CMD = 0xC0484E43
WRITE, READ = 1, 2
BLOCK, METADATA = 512, 8


def command(disk, opcode, block, data, metadata):
    """One block, with its metadata; both are addresses."""
    number = fcntl.ioctl(disk, NVME_IOCTL_ID)
    words = struct.pack(
        "<BBHIIIQQIIIIIIIIII",
        *(opcode, 0, 0, number, 0, 0, metadata, data, METADATA, BLOCK, block, 0, 0, 0, 0, 0, 0, 0),
    )
    status = fcntl.ioctl(disk, NVME_IOCTL_IO_CMD, bytearray(words))
    if status:
        print(f"command {opcode}: status {status:#x} of NVMe")
        sys.exit(1)


def address(memory, offset=0):
    """Where it lies; nothing of it is touched."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)) + offset


def main():
    """Each block over memory of its own: what is written comes from what only can be read."""
    disk = os.open(sys.argv[1], os.O_RDWR)
    shift = 1 if sys.argv[2:] == ["other"] else 0
    for block, offset in ((8, 0), (16, 1), (24, 4092)):
        wanted = bytes((block + at) % 256 for at in range(METADATA))
        data, into, out, back = (mmap.mmap(-1, size, mmap.MAP_PRIVATE) for size in (4096, 4096, 8192, 8192))
        data[:BLOCK] = bytes([block]) * BLOCK
        out[offset : offset + METADATA] = wanted
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(address(out)), ctypes.c_size_t(8192), mmap.PROT_READ):
            raise OSError("mprotect")
        try:
            command(disk, WRITE, block, address(data), address(out, offset))
            command(disk, READ, block + shift, address(into), address(back, offset))
        except OSError as error:
            if error.errno not in (errno.EFAULT, errno.EINVAL, errno.EIO):
                raise
            print(f"block {block}, metadata at {offset} of a page: {error.strerror}")
            return 1
        found = bytes(back[offset : offset + METADATA])
        print(f"block {block}, metadata at {offset} of a page: {found.hex()} of {wanted.hex()}")
        if found != wanted or any(mmap.mmap(-1, 8192, mmap.MAP_PRIVATE)[:]):
            return 1  # or the disk wrote into the page of zeroes that all share
    return 0


sys.exit(main())
