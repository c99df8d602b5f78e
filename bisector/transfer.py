# SPDX-License-Identifier: GPL-2.0-only
"""What a job brings to its worker: in parts, so that a job that is stopped ends soon, and leaves nothing half there."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from bisector import worker
from bisector.errors import Interrupted
from bisector.execute.remote import Call, WorkerMismatch
from bisector.model import Image
from bisector.system.sandbox import Sandbox

PART = 16 << 20
"""Bytes that travel at once: the first tree of a kernel has a third of a gigabyte."""


def parts_of(source: BinaryIO) -> Iterator[bytes]:
    """What a file holds, in parts; of an empty one an empty part."""
    part = source.read(PART)
    yield part
    while part := source.read(PART):
        yield part


@contextmanager
def arrived(call: Call, parts: Iterable[bytes], sandbox: Sandbox) -> Iterator[str]:
    """Have the parts on the worker, as a file under the name that this gives; who takes it in removes it there.

    Raises WorkerLost, WorkerFailed; Interrupted where the job is stopped meanwhile: then the file is removed.
    """
    name = secrets.token_hex(8)
    try:
        for part in parts:
            call.ask(worker.take_part, name, call.send(part), sandbox)
        yield name
    except Interrupted:
        call.tidy(worker.drop_parts, name, sandbox)
        raise


def bring_image(call: Call, image: Image, sandbox: Sandbox) -> None:
    """Have the image on the worker. Raises WorkerMismatch when what arrived there is another one, Interrupted."""
    with call.alone():
        held: set[str] = call.worker.notes.setdefault("images", set())
        if image.identity in held:
            return
        if not call.ask(worker.has_image, image.identity, sandbox):
            data = io.BytesIO(worker.packed_image(image))
            with arrived(call, parts_of(data), sandbox) as name:
                got = call.ask(worker.take_image, image, name, sandbox)
            if got != image.identity:
                raise WorkerMismatch(f"{call.worker.name} got image {image.identity[:12]} and has {got[:12]}")
        held.add(image.identity)
