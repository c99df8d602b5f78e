# SPDX-License-Identifier: GPL-2.0-only
"""Overrides: one grammar, ``path: value``, for the cells of a matrix, for controls and for ``--cell``. Pure.

``storage.{a,b}.disk: scsi`` sets one value at several places, so that they change together.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bisector.errors import UsageError
from bisector.model import Cell, Verdict
from bisector.recipe import check, text, together
from bisector.recipe.model import Recipe
from bisector.recipe.parse import allowed_keys, edited
from bisector.recipe.text import Fault, Path, TextError
from bisector.recipe.values import suggestion

ROOTS = ("storage", "guest", "steps", "vm", "deadline")
"""What may be overridden. A cell changes what is tried, never what is built, searched or called bad."""

NOT_EDITED = ("matrix", "controls")

MAX_CELLS = 256
MAX_AXES = 16
MAX_PLACES = 64
"""Places that one path names."""
MAX_CONTROLS = 64
MAX_WORK = 100_000
"""Cells times values of the recipe: each cell is checked as a recipe of its own, which takes 3 µs a value."""

_NAMED = (("storage",), ("guest", "storage"), ("guest", "drives"), ("steps",))


_SEVERAL = re.compile(r"(.*?)\{([^{}]*)\}(.*)")


class BadPath(Exception):
    """An override's path leads nowhere; the text says why. ``path``: the override."""

    path = ""


def cells(recipe: Recipe) -> tuple[Cell, ...]:
    """The matrix multiplied out, in the file's order, the first path slowest; one cell without name when there is none.

    A cell that the software refuses is there too, and says so in ``not_applicable``.
    """
    axes = [[(path, value) for value in values] for path, values in recipe.matrix.items()]
    return tuple(_cell(recipe, dict(combination)) for combination in itertools.product(*axes))


def controls(recipe: Recipe) -> tuple[Cell, ...]:
    """The controls, as cells that know what to expect."""
    return tuple(
        Cell(name, _written(control.overrides), Verdict(control.expect), _refusal(recipe, control.overrides))
        for name, control in recipe.controls.items()
    )


def cell_named(recipe: Recipe, name: str) -> Cell:
    """The cell or control of that name; the recipe as it is where a caller had pinned a cell: it is in it already."""
    known = {cell.name: cell for cell in (*controls(recipe), *cells(recipe))}
    return known.get(name) or Cell(name)


def apply(recipe: Recipe, cell: Cell) -> Recipe:
    """The recipe under the cell's overrides, checked again. It has neither matrix nor controls.

    Raises:
        UsageError: the cell's overrides do not fit this recipe.
    """
    return _overridden(recipe, {path: _value(written) for path, written in cell.overrides})


def override(recipe: Recipe, assignment: str) -> Recipe:
    """The recipe under one ``PATH=VALUE`` (the command line's ``--cell``); the path leaves the matrix.

    Raises:
        UsageError: the assignment is none, or does not fit this recipe.
    """
    path, equals, written = assignment.partition("=")
    path = path.strip()
    if not equals or not path:
        raise UsageError(f"--cell {assignment}: expected PATH=VALUE", hint="for example guest.drives.vda.aio=threads")
    axes = {axis: values for axis, values in recipe.matrix.items() if axis != path}
    changed = _overridden(recipe, {path: _value(written)}, refusals=not axes)
    return changed.model_copy(update={"matrix": axes, "controls": recipe.controls})


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data in its own grammar, without what is left at its default."""
    return recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def faults(recipe: Recipe) -> Iterator[Fault]:
    """What is wrong with the overrides of matrix and controls, each where it stands; not what is wrong without them."""
    too_many = tuple(_too_many_overrides(recipe))
    if too_many:
        yield from too_many
        return
    too_large = tuple(_too_many_cells(recipe))
    yield from too_large
    for path, values in recipe.matrix.items():
        if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
            yield Fault(("matrix", path), "names a value twice")
    yield from _overlaps(recipe.matrix, ("matrix",))
    for name, control in recipe.controls.items():
        yield from _overlaps(control.overrides, ("controls", name, "set"))
    if not too_large:
        yield from _faults_inside(recipe)


def _faults_inside(recipe: Recipe) -> Iterator[Fault]:
    """What is wrong with the recipe under each override."""
    base = check.faults(recipe)
    old = {(fault.path, fault.message) for fault in base}
    bad_axes = False
    for path, values in recipe.matrix.items():
        for index, value in enumerate(values):
            for fault in _faults_of(recipe, {path: value}, old):
                bad_axes = True
                yield Fault(("matrix", path) if fault.at_key else ("matrix", path, index), fault.message, fault.at_key)
    if (
        recipe.matrix
        and not bad_axes
        and all(fault.refused for fault in base)
        and all(cell.not_applicable for cell in cells(recipe))
    ):
        yield Fault(("matrix",), f"no cell can run: {cells(recipe)[0].not_applicable}", at_key=True)
    for name, control in recipe.controls.items():
        at = ("controls", name, "set")
        for fault in _faults_of(recipe, control.overrides, old):
            yield Fault((*at, *fault.path), fault.message, fault.at_key)


def _too_many_overrides(recipe: Recipe) -> Iterator[Fault]:
    """More axes, controls and places than are expanded; found by counting alone."""
    if len(recipe.matrix) > MAX_AXES:
        yield Fault(("matrix",), f"has {len(recipe.matrix)} axes, more than {MAX_AXES}", at_key=True)
    if len(recipe.controls) > MAX_CONTROLS:
        yield Fault(("controls",), f"{len(recipe.controls)} controls, more than {MAX_CONTROLS}", at_key=True)
        return
    paths: list[tuple[Path, str]] = [(("matrix", path), path) for path in recipe.matrix]
    for name, control in recipe.controls.items():
        at: Path = ("controls", name, "set")
        if len(control.overrides) > MAX_AXES:
            yield Fault(at, f"{len(control.overrides)} overrides, more than {MAX_AXES}", at_key=True)
        paths += [((*at, path), path) for path in control.overrides]
    for place, path in paths:
        if (named := _count_places(path)) > MAX_PLACES:
            yield Fault(place, f"names {_shown_count(named)} places, more than {MAX_PLACES}", at_key=True)


def _too_many_cells(recipe: Recipe) -> Iterator[Fault]:
    count = math.prod(len(values) for values in recipe.matrix.values())
    checked = count + len(recipe.controls) if recipe.matrix or recipe.controls else 0
    section = "matrix" if recipe.matrix else "controls"
    if count > MAX_CELLS:
        yield Fault(("matrix",), f"has {_shown_count(count)} cells, more than {MAX_CELLS}", at_key=True)
    elif checked and checked * (values := _values(plain(recipe))) > MAX_WORK:
        what = f"{checked} cells and controls of a recipe of {values} values"
        yield Fault((section,), f"{what}; make either fewer (at most {MAX_WORK} multiplied)", at_key=True)


def _shown_count(count: int) -> str:
    """A number as a message writes it, however many digits it has."""
    return str(count) if count < 10**12 else "more than 10^12"


def _count_places(path: str) -> int:
    """How many places ``places`` would give."""
    return math.prod(group.count(",") + 1 for group in re.findall(r"\{([^{}]*)\}", path))


def _values(data: Any) -> int:
    if isinstance(data, dict):
        return 1 + sum(map(_values, data.values()))
    return 1 + sum(map(_values, data)) if isinstance(data, list) else 1


def _faults_of(recipe: Recipe, overrides: Mapping[str, Any], old: set[tuple[Path, str]]) -> Iterator[Fault]:
    """Faults of the overridden recipe; their path is the override to blame, with ``at_key`` for a path to nowhere."""
    try:
        _, found = _edited(recipe, overrides)
    except BadPath as error:
        yield Fault((error.path,), str(error), at_key=True)
        return
    for fault in found:
        if fault.refused or (fault.path, fault.message) in old:
            continue
        where = text.dotted(fault.path)
        blamed = next((path for path in overrides if where.startswith(places(path))), next(iter(overrides)))
        inside = "" if where in places(blamed) else f"{where}: "
        yield Fault((blamed,), f"{inside}{fault.message}")


def _overlaps(paths: Mapping[str, Any], at: Path) -> Iterator[Fault]:
    for path, other in itertools.permutations(paths, 2):
        if any(place == taken or place.startswith(f"{taken}.") for place in places(path) for taken in places(other)):
            yield Fault((*at, path), f"lies inside {other}, which is overridden too", at_key=True)


def places(path: str) -> tuple[str, ...]:
    """The single places that a path names: ``storage.{a,b}.disk`` names two."""
    found = _SEVERAL.fullmatch(path)
    if not found:
        return (path,)
    return tuple(place for name in found[2].split(",") for place in places(f"{found[1]}{name.strip()}{found[3]}"))


# ---- one override --------------------------------------------------------------------------------------------------


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    """Put ``value`` at each place of ``path``. Raises BadPath when the recipe has no such place."""
    for one in places(path):
        _set_one(data, one, value)


def _set_one(data: dict[str, Any], path: str, value: Any) -> None:
    parts = path.split(".")
    if parts == ["steps"]:  # a list in the file's own grammar, which says what is wrong with it
        data["steps"] = copy.deepcopy(value)
        return
    if parts[0] not in ROOTS:
        if parts[0] in allowed_keys(()):
            raise BadPath(f"{parts[0]} is the same for all cells; overrides change {', '.join(ROOTS)}")
        raise BadPath(f"no {parts[0]!r} in the recipe{suggestion(parts[0], ROOTS)}")
    if parts[0] == "guest" and "guest" not in data:
        raise BadPath("the recipe has no guest")
    if not isinstance(data["steps"], list) or not all(isinstance(step, dict) for step in data["steps"]):
        raise BadPath("the steps are overridden as a whole too, and not by a list of steps")
    place: Any = {**data, "steps": together.bodies(data["steps"])}
    top = place
    for index, part in enumerate(parts[:-1]):
        place = _inside(place, tuple(parts[:index]), part)
    _check_part(place, tuple(parts[:-1]), parts[-1])
    place[parts[-1]] = copy.deepcopy(value)
    data.update({**top, "steps": together.nested(top["steps"], together.groups(data["steps"]))})


def _inside(place: dict[str, Any], path: Path, part: str) -> dict[str, Any]:
    _check_part(place, path, part)
    inner = copy.deepcopy(place.get(part, {}))
    if not isinstance(inner, dict):
        raise BadPath(f"{text.dotted((*path, part))} has nothing inside")
    place[part] = inner
    return inner


def _check_part(place: dict[str, Any], path: Path, part: str) -> None:
    """A name must be one that the recipe has; a key must be one that the grammar has."""
    if path in _NAMED:
        if part not in place:
            raise BadPath(f"no {part!r} in {text.dotted(path)}{suggestion(part, place)}")
        return
    allowed = allowed_keys(path)
    if allowed and part not in allowed:
        where = f" in {text.dotted(path)}" if path else ""
        raise BadPath(f"no key {part!r}{where}{suggestion(part, allowed)}")
    if not allowed and part not in place:
        raise BadPath(f"no {part!r} in {text.dotted(path)}")


def _overridden(recipe: Recipe, overrides: Mapping[str, Any], *, refusals: bool = True) -> Recipe:
    """``refusals``: whether what the software refuses is a fault; a matrix may change that."""
    try:
        changed, found = _edited(recipe, overrides)
    except BadPath as error:
        raise UsageError(f"{recipe.recipe}, override {error.path}: {error}") from None
    problems = [fault for fault in found if refusals or not fault.refused]
    if changed is None or problems:
        faults = "\n".join(f"{text.dotted(fault.path)}: {fault.message}" for fault in problems)
        raise UsageError(f"{recipe.recipe} with {_name(overrides)}: {faults}")
    return changed.place_as(recipe)


def _edited(recipe: Recipe, overrides: Mapping[str, Any]) -> tuple[Recipe | None, tuple[Fault, ...]]:
    """The recipe under the overrides, without matrix and controls, and its faults; each edit is made once.

    Raises BadPath.
    """
    key = json.dumps(list(overrides.items()))
    if key not in recipe._edits:
        if "" not in recipe._edits:  # the recipe as plain data
            recipe._edits[""] = {name: value for name, value in plain(recipe).items() if name not in NOT_EDITED}
        data = copy.deepcopy(recipe._edits[""])
        for path, value in overrides.items():
            try:
                _set(data, path, value)
            except BadPath as error:
                error.path = path
                raise
        changed = {place.partition(".")[0] for path in overrides for place in places(path)}
        recipe._edits[key] = edited(recipe, data, sorted(changed))
    found: tuple[Recipe | None, tuple[Fault, ...]] = recipe._edits[key]
    return found


def _cell(recipe: Recipe, overrides: dict[str, Any]) -> Cell:
    return Cell(_name(overrides), _written(overrides), None, _refusal(recipe, overrides))


def _refusal(recipe: Recipe, overrides: Mapping[str, Any]) -> str | None:
    """Why the software would not run the recipe like this; None when it would."""
    _, found = _edited(recipe, overrides)
    return "; ".join(fault.message for fault in found if fault.refused) or None


def _name(overrides: Mapping[str, Any]) -> str:
    return ",".join(f"{path}={_text(value)}" for path, value in overrides.items())


def _written(overrides: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((path, _text(value)) for path, value in overrides.items())


def _text(value: Any) -> str:
    """A value as one line that ``_value`` reads back: a plain word as it is, all else as JSON (which is YAML)."""
    plain_word = isinstance(value, str) and text.scalar(value) == value and value.isprintable()
    if plain_word and not any(mark in value for mark in "[]{}\"'#&*!|>%@`,: "):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _value(written: str) -> Any:
    return copy.deepcopy(_read(written))


@functools.lru_cache(1024)  # an axis has the same few values in each of its cells
def _read(written: str) -> Any:
    try:
        document = text.read(written.encode("utf-8", "surrogatepass"))
    except TextError as error:
        raise UsageError(f"the value {written[:80]!r} is not YAML: {error.message}") from None
    if document.faults:
        raise UsageError(f"the value {written[:80]!r}: {document.faults[0][2]}")
    return document.data
