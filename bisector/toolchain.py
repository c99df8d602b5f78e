# SPDX-License-Identifier: GPL-2.0-only
"""The toolchain that a campaign began with: two compilers build two images of one source.

A campaign that goes on where the host has got another compiler keeps what the first one built, with its trials, and
builds nothing by the other: one side of a comparison would be built by this one, the other side by that one.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from bisector.errors import InfraError
from bisector.interfaces import Listener, Phase, Progress, Target
from bisector.store import Store
from bisector.system.files import write_whole
from bisector.target.source import SourceTarget, Tools

MEMORY = "toolchain.json"  # in a campaign's folder


def pin(target: Target, store: Store, campaign: str, listener: Listener) -> None:
    """Have the target name its builds by the campaign's toolchain; that of this host where the campaign begins.

    The listener hears it when this host has another one. Raises InfraError.
    """
    if not isinstance(target, SourceTarget):
        return
    memory = store.campaign_folder(campaign) / MEMORY
    began = _remembered(memory) or _of_images(store, campaign)
    if began is None:
        write_whole(memory, json.dumps({"tools": target.tools}) + "\n")
        return
    target.pin(began, campaign)
    try:
        other = target.other_tools()
    except InfraError as error:  # one is missing; a campaign with nothing left to build does not need it
        other = error.what
    if other:
        listener(Progress(Phase.STAGE, f"Nothing is built anew, and what is built is used: {other}", campaign=campaign))


def _remembered(memory: Path) -> Tools | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        return tuple((str(name), str(version)) for name, version in json.loads(memory.read_bytes())["tools"])
    return None


def _of_images(store: Store, campaign: str) -> Tools | None:
    """What built a campaign that began before this was noted."""
    return next((image.tools for image in store.images(campaign) if image.tools and not image.same_inputs), None)
