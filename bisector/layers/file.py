# SPDX-License-Identifier: GPL-2.0-only
"""Files, raw or qcow2, on a file system or on their own."""

from .row import Kind, Power, Program, Row, Switch, Word

KIND = Kind("file", takes=frozenset({"of", "size", "full", "options"}), needs=("size",))
ROWS = (
    Row("file", "raw"),
    Row(
        "file", "qcow2", programs=(Program("qemu-img", "qemu-utils", "makes and checks disk images"),),
        options={  # qemu-img(1), "qcow2"; limits in block/qcow2.h (MIN_CLUSTER_BITS 9, MAX_CLUSTER_BITS 21)
            "cluster_size": Power(512, 2 << 20),
            "compat": Word(("0.10", "1.1", "v2", "v3")),
            "extended_l2": Switch(),
            "lazy_refcounts": Switch(),
            "preallocation": Word(("off", "metadata", "falloc", "full")),
            "refcount_bits": Power(1, 64, sized=False),
        },
    ),
)  # fmt: skip
