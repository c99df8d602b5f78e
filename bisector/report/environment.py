# SPDX-License-Identifier: GPL-2.0-only
"""What built and ran a campaign: versions of tools, the VMs' acceleration, what confined both. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bisector.model import Image, Trial

HERE = "this host"


def tools(images: Sequence[Image], trials: Sequence[Trial]) -> tuple[tuple[str, str], ...]:
    """Name and version of each tool that built the images or ran in the VMs, and the acceleration.

    Where there were several, all are named, each with the machines that it was seen on as far as they are known.
    """
    seen: dict[str, dict[str, set[str]]] = {}  # name → version → machines
    for name, version, worker in _seen(images, trials):
        places = seen.setdefault(name, {}).setdefault(version, set())
        if worker is not None:
            places.add(worker or HERE)
    found = {name: _listed(versions) for name, versions in seen.items()}
    if confined := sandboxes(images, trials):
        found["sandbox"] = ", ".join(sorted(confined))
    return tuple(found.items())


def _seen(images: Sequence[Image], trials: Sequence[Trial]) -> Iterator[tuple[str, str, str | None]]:
    """(name, version, machine) of each tool; None for a machine that was not recorded."""
    recorded = any(image.host for image in images)  # by earlier versions it was not
    for image in images:
        for name, version in image.tools:
            yield name, version, image.host if recorded else None
    for trial in trials:
        seen = trial.observation
        used = (*(seen.result.tools if seen.result else ()), ("virtme-ng", seen.vng), ("acceleration", seen.accel))
        for name, version in used:
            if version:
                yield name, version, seen.worker


def _listed(versions: dict[str, set[str]]) -> str:
    """One version as it is; of several each with its machines, where more than this host ran trials."""
    if len(versions) == 1:
        return next(iter(versions))
    machines = set().union(*versions.values())
    if machines <= {HERE}:
        return "; ".join(versions)
    return "; ".join(
        f"{version} on {', '.join(sorted(places))}" if places else version for version, places in versions.items()
    )


def sandboxes(images: Iterable[Image], trials: Sequence[Trial]) -> set[str]:
    """What confined the builds and the trials, as far as that was recorded."""
    used = (*(dict(image.tools).get("sandbox", "") for image in images), *(t.observation.sandbox for t in trials))
    return set(filter(None, used))


def alignment(trials: Sequence[Trial]) -> tuple[str, ...]:
    """How each layer's I/O must be aligned, by the newest trial that says so."""
    layers = next((t.observation.result.layers for t in reversed(trials) if t.observation.result), ())
    return tuple(
        f"{layer.name}: dma_alignment {layer.dma_alignment}, logical block {layer.logical_block}"
        for layer in layers
        if layer.dma_alignment >= 0
    )
