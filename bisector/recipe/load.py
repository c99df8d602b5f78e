# SPDX-License-Identifier: GPL-2.0-only
"""Recipe files → recipes. All faults of a file are reported at once, in its order, with line and column."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from bisector.errors import Diagnostic, RecipeError, UsageError
from bisector.model import Cell
from bisector.recipe import files, matrix, parse, text, together
from bisector.recipe.model import Recipe
from bisector.recipe.text import MAX_BYTES, Document, Fault, TextError, dotted, read
from bisector.recipe.text import Path as Keys
from bisector.recipe.values import suggestion
from bisector.system import shipped

FILES_IN = ("guest", "steps", "vm")
"""Sections in which an override may name a file."""


def load(path: Path | str) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a file, or the name of a shipped recipe (with or without ``.yaml``), or ``field/NAME``, ``corpus/NAME``.

    Raises:
        RecipeError: the file is missing, is no YAML, or is no recipe; carries every fault found.
    """
    file = find(path)
    return _loads(_content(file), file)


def loads(content: str, file: Path) -> Recipe:
    """Read a recipe from text. ``file``: what to call it in errors; the files that it names lie beside it."""
    return _loads(content.encode("utf-8", "surrogatepass"), file)


def find(path: Path | str) -> Path:
    """The file that ``path`` names. Raises RecipeError when there is none."""
    given = Path(path)
    candidates = [given]
    if len(given.parts) <= 2 and not given.is_absolute() and ".." not in given.parts:
        folder = shipped.recipes()
        candidates += [folder / given, folder / f"{given}.yaml"]
    for candidate in candidates:
        if _exists(candidate) and not (candidate.is_dir() and candidate is not candidates[-1] and len(candidates) > 1):
            return candidate
    names = [file.stem for file in listed()]
    known = suggestion(given.name.removesuffix(".yaml"), names) if len(given.parts) == 1 else ""
    raise _unusable(given, f"there is no such file{known.replace('allowed', 'shipped recipes')}")


def listed() -> tuple[Path, ...]:
    """The shipped recipes, by name."""
    return tuple(sorted(shipped.recipes().glob("*.yaml")))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _content(file: Path) -> bytes:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise _unusable(file, "is a folder" if file.is_dir() else "is not a regular file")
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unusable(file, f"cannot be read: {(error.strerror or str(error)).lower()}") from None


def _unusable(file: Path, message: str) -> RecipeError:
    return RecipeError((Diagnostic(str(file), 1, 1, "", message),))


def _loads(content: bytes, file: Path) -> Recipe:
    try:
        document = read(content)
    except TextError as error:
        raise RecipeError((Diagnostic(str(file), error.place.line, error.place.column, "", error.message),)) from None
    recipe, faults = parse.parse(document.data)
    found = {Diagnostic(str(file), place.line, place.column, field, words) for place, field, words in document.faults}
    if recipe is not None:
        recipe._file = file
        overrides = tuple(matrix.faults(recipe))
        # What the software refuses may be what the matrix changes; then each cell answers for itself.
        base = tuple(fault for fault in faults if not (fault.refused and recipe.matrix))
        own = tuple(files.faults(recipe))
        faults = (*base, *overrides, *own, *(() if overrides or base else _files_of_overrides(recipe, own)))
    found |= {_diagnostic(fault, document, file) for fault in faults}
    if found or recipe is None:
        raise RecipeError(tuple(sorted(found, key=lambda item: (item.line, item.column, item.field, item.message))))
    return recipe


def _files_of_overrides(recipe: Recipe, own: tuple[Fault, ...]) -> Iterator[Fault]:
    """Files that cells and controls put into the recipe, and that are none of its own."""
    known = {fault.message for fault in own}
    ways: list[tuple[Keys, Cell]] = [(("matrix",), cell) for cell in matrix.cells(recipe)] if recipe.matrix else []
    ways += [(("controls", control.name), control) for control in matrix.controls(recipe)]
    for place, cell in ways:
        if cell.not_applicable or not any(path.startswith(FILES_IN) for path, _ in cell.overrides):
            continue
        for fault in files.faults(matrix.apply(recipe, cell)):
            if fault.message not in known:
                known.add(fault.message)
                yield Fault(place, f"{cell.name}: {text.dotted(fault.path)}: {fault.message}", at_key=True)


def override(recipe: Recipe, assignment: str) -> Recipe:
    """The recipe under one ``PATH=VALUE`` of the command line, which may name a file anywhere on this host.

    Raises UsageError for what does not fit the recipe, and for a file that is none.
    """
    changed = matrix.override(recipe, assignment)
    fresh = set(files.own(changed)) - set(files.own(recipe))
    changed._named_by_person |= {name for name in fresh if name.startswith("/")}
    for name in sorted(fresh):
        if message := files.trouble(changed, name, files.MAX_IMAGE):
            raise UsageError(f"--cell {assignment}: {name}: {message}")
    return changed


def diagnostics(recipe: Recipe, faults: Iterable[Fault]) -> tuple[Diagnostic, ...]:
    """Faults that were found after a recipe was loaded, each at its place in the file, or on its first line."""
    faults = tuple(faults)
    if not faults:  # nearly always, and once for each cell: the file is not read for it
        return ()
    try:
        document = read(_content(recipe.file))
    except (RecipeError, TextError):  # it is gone, or another one by now
        return tuple(Diagnostic(str(recipe.file), 1, 1, dotted(fault.path), fault.message) for fault in faults)
    return tuple(_diagnostic(fault, document, recipe.file) for fault in faults)


def _diagnostic(fault: Fault, document: Document, file: Path) -> Diagnostic:
    """The fault at its place. A step is an item of a list in the file and known by its name in the recipe.

    Parts that stand for no text of the file (the index of ``of: a``, which means ``of: [a]``) are left out.
    """
    in_file: Keys = ()
    field: Keys = ()
    steps = document.data.get("steps") if isinstance(document.data, dict) else None
    for part in fault.path:
        if in_file == ("steps",) and isinstance(steps, list):
            if isinstance(part, int):
                in_file, field = (*in_file, part), (*field, part) if len(fault.path) == 2 else field
                continue
            in_file += together.place(steps, part)
        if part in ("[key]", "is") or (isinstance(part, int) and (*in_file, part) not in document.values):
            continue
        in_file, field = (*in_file, part), (*field, part)
    place = document.place(in_file, at_key=fault.at_key)
    return Diagnostic(str(file), place.line, place.column, dotted(field), fault.message)
