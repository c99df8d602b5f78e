# SPDX-License-Identifier: GPL-2.0-only
"""``bisector export``: all that another person needs to read a campaign and to repeat any trial of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bisector import __version__
from bisector.agent.plan import File, Plan
from bisector.codec import DecodeError, load
from bisector.errors import InfraError
from bisector.model import Image
from bisector.pack import archive, record
from bisector.pack.archive import AHEAD, LINKS, PLAN, RECIPE, RECORD
from bisector.pack.record import Record, UnusedTrials
from bisector.recipe.kept import OWN, OWN_LIMIT
from bisector.store import CampaignRow, Store
from bisector.system import shipped
from bisector.system.locks import locked
from bisector.system.trees import paths_below

LOGS = ("bisect.log", "outcome.json")
PARTS = ("kernel", "modules", "bin", "share")  # of an image in the cache, beside its config


@dataclass(frozen=True)
class ExportResult:
    """What was written. ``size`` in bytes."""

    path: Path
    size: int
    members: int
    images: int
    left_out: tuple[str, ...]


@dataclass
class _Evidence:
    """Members so far: path inside → a file or its bytes; and what cannot go in."""

    contents: dict[str, Path | bytes]
    left_out: list[str]

    def take(self, name: str, content: Path | bytes) -> None:
        if not archive.fits(name):
            self.left_out.append(f"{name}: its name")
        elif isinstance(content, bytes) or content.is_file():
            self.contents[name] = content

    def members(self) -> tuple[archive.Member, ...]:
        """What is there so far, by name and size."""
        return tuple(
            archive.Member(name, len(each) if isinstance(each, bytes) else each.stat().st_size, "")
            for name, each in self.contents.items()
        )

    def drop(self, prefix: str) -> None:
        self.contents = {name: each for name, each in self.contents.items() if not name.startswith(prefix)}

    def take_below(self, prefix: str, folder: Path) -> dict[str, str]:
        """Take all plain files below ``folder``; gives the links there, which an export cannot hold: name → target."""
        links = {}
        for path in sorted(paths_below(folder)):
            name = f"{prefix}/{path.relative_to(folder).as_posix()}"
            if path.is_symlink():
                links[name] = str(path.readlink())
            elif path.is_file():
                self.take(name, path)
        return links


def export(store: Store, row: CampaignRow, out: Path, *, with_images: bool) -> ExportResult:
    """Write the campaign to the file ``out``.

    Args:
        with_images: kernels and their modules too, of all that were tried.

    Raises UsageError when ``out`` is taken, InfraError when the campaign is at work or cannot be read.
    """
    folder = store.campaign_folder(row.id)
    with locked(folder / "lock", busy=f"campaign {row.id} is at work in another process"):
        found, ahead = record.of_campaign(store, row), UnusedTrials(store.trials_ahead(row.id))
        gathered = _Evidence({}, [])
        try:
            images = _gather(gathered, found, folder, with_images)
            if ahead.trials:
                gathered.take(AHEAD, record.text(ahead))
        except OSError as error:
            raise InfraError(f"{error.filename}: {error.strerror or error}") from error
        left_out = tuple(gathered.left_out)
        archive.write(
            out, gathered.contents, made_by=__version__, campaign=row.id, left_out=left_out, at=row.created
        )  # fmt: skip
    return ExportResult(out, out.stat().st_size, len(gathered.contents), images, left_out)


def _gather(gathered: _Evidence, found: Record, folder: Path, with_images: bool) -> int:
    """Put everything together. Gives how many images go in whole."""
    gathered.take(RECORD, record.text(record.without_paths(found)))
    gathered.take(RECIPE, found.campaign.source.encode())
    for file in own_files(found, folder):
        if Path(file.path).stat().st_size > OWN_LIMIT:
            gathered.left_out.append(f"recipe/{file.name}: larger than {OWN_LIMIT >> 20} MiB; SHA-256 {file.sha256}")
        else:
            gathered.take(f"recipe/{file.name}", Path(file.path))
    for name in LOGS:
        gathered.take(name, folder / name)
    for name in gathered.take_below("trials", folder / "trials"):
        gathered.left_out.append(f"{name}: a link")
    for trial in found.trials:
        if trial.taken_from:
            gathered.left_out.append(f"trial {trial.number}: campaign {trial.taken_from} ran it, export that one too")
    for number, build in enumerate(found.builds):
        if build.failure and build.failure.log:
            gathered.take(f"builds/{number}.log", Path(build.failure.log))
    tried = {trial.image for trial in found.trials}
    tried |= {identity for plan in _plans(found, folder) for _, identity in plan.kernels}
    return sum(
        _take_image(gathered, image, with_images and identity in tried)
        for identity, image in sorted(found.images().items())
    )


def _take_image(gathered: _Evidence, image: Image, whole: bool) -> bool:
    prefix = f"images/{image.identity}"
    if image.config:
        gathered.take(f"{prefix}/config", Path(image.config))
    if not whole:
        return False
    if not image.path or not Path(image.path).exists():
        gathered.left_out.append(f"{prefix}: it is no longer in the cache")
        return False
    parts = [(name, Path(image.path).parent / name) for name in PARTS]
    links: dict[str, str] = {}
    for name, part in parts:
        if part.is_file():
            gathered.take(f"{prefix}/{name}", part)
        else:
            links |= gathered.take_below(f"{prefix}/{name}", part)
    leading = {name.removeprefix(f"{prefix}/"): to for name, to in links.items()}
    if outside := [f"{name} to {to}" for name, to in sorted(leading.items()) if archive.leads_out(name, to)]:
        gathered.drop(f"{prefix}/")
        gathered.left_out.append(f"{prefix}: it is linked to this host ({outside[0]})")
        return False
    if problem := archive.too_much(gathered.members()):
        gathered.drop(f"{prefix}/")
        gathered.left_out.append(f"{prefix}: with it the export would have {problem}")
        return False
    if leading:
        gathered.take(f"{prefix}/{LINKS}", json.dumps(leading, sort_keys=True).encode())
    return True


# ---- the recipe's own files ----------------------------------------------------------------------------------------


def own_files(found: Record, folder: Path) -> tuple[File, ...]:
    """Files that the recipe names beside itself: those kept with the campaign, else where its trials took them from.

    One that has changed since is not the one that was tried, and is left away.
    """
    kept = folder / OWN
    if kept.is_dir():
        return tuple(
            File(path.relative_to(kept).as_posix(), str(path), archive.hash_of(path))
            for path in sorted(paths_below(kept))
            if path.is_file() and not path.is_symlink()
        )
    named = {file.name: file for plan in _plans(found, folder) for file in plan.files}
    return tuple(file for _, file in sorted(named.items()) if _unchanged(file))


def recipe_folder(found: Record, folder: Path) -> Path:
    """Where the files lie that the campaign's recipe names beside itself."""
    if (folder / OWN).is_dir():
        return folder / OWN
    for plan in _plans(found, folder):
        for file in plan.files:
            if file.path.endswith(f"/{file.name}"):
                return Path(file.path.removesuffix(f"/{file.name}"))
    return shipped.recipes() if (shipped.recipes() / f"{found.campaign.recipe}.yaml").is_file() else folder


def _plans(found: Record, folder: Path) -> Iterator[Plan]:
    for trial in found.trials:
        try:
            yield load(Plan, (folder / trial.folder / PLAN).read_bytes())
        except (OSError, DecodeError):  # a trial that ended in the harness may have left none
            continue


def _unchanged(file: File) -> bool:
    path = Path(file.path)
    return path.is_file() and archive.hash_of(path) == file.sha256
