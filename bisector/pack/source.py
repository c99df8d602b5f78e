# SPDX-License-Identifier: GPL-2.0-only
"""Where a replay takes its trials from: a campaign of this host, or an export that somebody sent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from bisector import __version__
from bisector.agent.plan import Plan
from bisector.codec import DecodeError, digest, load
from bisector.errors import UsageError
from bisector.model import Image, Trial
from bisector.pack import archive, names, record
from bisector.pack.archive import LINKS, OWN, PLAN, RECIPE, RECORD, PackBroken
from bisector.pack.export import recipe_folder
from bisector.pack.record import Record
from bisector.recipe.load import loads
from bisector.recipe.model import Recipe
from bisector.store import CampaignRow, Store
from bisector.system.trees import paths_below
from bisector.target.images import Images, identity_of, identity_of_programs


@dataclass(frozen=True)
class Source:
    """A recorded campaign with what of it is at hand.

    ``folder``: holds the trials' folders, and of an export ``images``; ``recipe_file``: what its recipe's own files
    lie beside; ``made_by``: the version of bisector that recorded it, "" when that is not known; ``file``: the export.
    """

    record: Record
    folder: Path
    recipe_file: Path
    made_by: str
    file: str = ""

    def recipe(self) -> Recipe:
        """The recipe as resolved. Raises RecipeError when a file that it names is not at hand."""
        return loads(self.record.campaign.source, self.recipe_file)

    def trial(self, number: int) -> Trial:
        """The trial with that number. Raises UsageError."""
        for trial in self.record.trials:
            if trial.number == number:
                return trial
        numbers = ", ".join(str(trial.number) for trial in self.record.trials) or "none"
        raise UsageError(f"{self.record.campaign.id} has no trial {number}", hint=f"there are: {numbers}")

    def plan(self, trial: Trial) -> Plan | None:
        """The plan that a trial ran by, None when it is not at hand. Of one that was sent only seconds are used."""
        if not archive.fits(trial.folder):
            return None
        try:
            return load(Plan, (self.folder / trial.folder / PLAN).read_bytes())
        except (OSError, DecodeError):
            return None

    def image(self, identity: str, images: Images) -> Image | None:
        """The image of a trial, brought into the cache from the export if it is there; None when it is not at hand.

        Raises PackBroken when the export's bytes are not the image that was tried.
        """
        known = self.record.images().get(identity)
        if known and known.path and Path(known.path).exists():
            return known
        if found := images.held(identity):
            return found
        packed = self.folder / "images" / identity
        if known is None or not self.has_image(identity):
            return None
        with images.staging() as staged:
            _assemble(packed, staged, self.file)
            programs = (staged / "bin").is_dir()
            modules = staged / "modules"
            found_identity = (
                identity_of_programs(staged)
                if programs
                else identity_of(staged / "kernel", modules if modules.is_dir() else None)
            )
            if found_identity != identity:
                raise PackBroken(f"{self.file} holds another image than the one that was tried ({identity[:12]})")
            kept = images.keep(digest("export", identity), staged, known)
        assert isinstance(kept, Image)
        return kept

    def has_image(self, identity: str) -> bool:
        """Whether the export holds the whole image."""
        packed = self.folder / "images" / identity
        return bool(self.file) and ((packed / "kernel").is_file() or (packed / "bin").is_dir())

    def config(self, identity: str) -> str:
        """Text of the recorded .config of an image, "" when there is none."""
        known = self.record.images().get(identity)
        for path in (self.folder / "images" / identity / "config", Path(known.config) if known else Path()):
            if path.is_file():
                return path.read_text(errors="replace", encoding="utf-8")
        return ""


def of_campaign(store: Store, row: CampaignRow) -> Source:
    """A campaign of this host. Which version ran it is not stored; it is taken to be this one."""
    found = record.of_campaign(store, row)
    folder = store.campaign_folder(row.id)
    return Source(found, folder, recipe_folder(found, folder) / "recipe.yaml", __version__)


@contextmanager
def of_file(path: Path, *, image_of: int | None = None) -> Iterator[Source]:
    """An export, checked as a whole, in a private folder that is gone afterwards.

    Args:
        image_of: number of the trial whose image is wanted beside the rest; None: no image.

    Raises PackBroken, InfraError.
    """
    with TemporaryDirectory(prefix="bisector-export-") as name:
        folder = Path(name)
        manifest = archive.unpack(path, folder, lambda member: member == RECORD or member.startswith(OWN))
        found = record.without_paths(_record(path, folder))
        if not (names.fits("campaign", manifest.campaign) and names.fits("version", manifest.made_by)):
            raise PackBroken(f"{path}: its manifest names no campaign, or no version of bisector")
        if found.campaign.id != manifest.campaign:
            raise PackBroken(f"{path} is of campaign {manifest.campaign!r} and holds another one's record")
        wanted = [trial for trial in found.trials if trial.number == image_of]
        prefixes = tuple(f"images/{t.image}/" for t in wanted if t.image)
        prefixes += tuple(f"{t.folder}/{PLAN}" for t in wanted)
        if prefixes:
            archive.unpack(path, folder, lambda member: member.startswith(prefixes))
        for file in paths_below(folder / "recipe"):
            file.chmod(0o755)  # a tar of plain files has no modes; a recipe's program must be one
        yield Source(found, folder, folder / RECIPE, manifest.made_by, str(path))


def _record(path: Path, folder: Path) -> Record:
    try:
        found = record.parse((folder / RECORD).read_bytes())
        names.check(found)
    except FileNotFoundError:
        raise PackBroken(f"{path} holds no {RECORD}") from None
    except DecodeError as error:
        raise PackBroken(f"{path}: its {RECORD} is malformed: {error}") from None
    source = (folder / RECIPE).read_text(errors="replace", encoding="utf-8") if (folder / RECIPE).is_file() else ""
    if source != found.campaign.source:
        raise PackBroken(f"{path} holds two recipes that differ")
    return found


def _assemble(packed: Path, staged: Path, file: str) -> None:
    """Bring an unpacked image into the folder in which it is looked at and kept."""
    for path in sorted(paths_below(packed)):
        place = staged / path.relative_to(packed)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif path.name != LINKS or path.parent != packed:
            shutil.copyfile(path, place)
    for program in (staged / "bin").glob("*"):
        program.chmod(0o755)
    for name, target in _links(packed / LINKS, file).items():
        place = staged / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def _links(path: Path, file: str) -> dict[str, str]:
    """Links of a packed image. Raises PackBroken for one that leads out of the image."""
    if not path.is_file():
        return {}
    try:
        text = path.read_bytes()
        if sum(map(text.count, (b",", b"[", b"{"))) > archive.MEMBERS:
            raise PackBroken(f"{file}: {LINKS} of an image names too many links")
        pairs = {str(name)[:256]: str(target)[:1024] for name, target in json.loads(text).items()}
    except (ValueError, AttributeError, RecursionError):
        raise PackBroken(f"{file}: {LINKS} of an image is malformed") from None
    for name, target in pairs.items():
        through = any(str(above) in pairs for above in PurePosixPath(name).parents)
        if not archive.fits(name) or through or archive.leads_out(name, target) or (path.parent / name).exists():
            raise PackBroken(f"{file} has a link that leads out of its image: {name[:80]!r} to {target[:80]!r}")
    return pairs
