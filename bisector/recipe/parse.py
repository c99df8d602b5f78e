# SPDX-License-Identifier: GPL-2.0-only
"""Plain data → recipe, or every fault in it with the path where it stands. Pure; knows no files and no lines."""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bisector.model import FactKind
from bisector.recipe import check, check_workload, together
from bisector.recipe.facts import table
from bisector.recipe.facts.row import Key
from bisector.recipe.model import Recipe
from bisector.recipe.text import Fault, Path
from bisector.recipe.values import FILE_NAME, NAME, look_alike, shown, suggestion

_MISSING = {
    "good_when": "is missing: say what a clean trial looks like; a workload that did nothing is never good",
    "bad_when": "is missing: say what the failure looks like",
    "steps": "is missing: say what to run",
    "target": "is missing: say what is under test (target: {kernel: {config: [base, lvm-raid]}})",
    "recipe": "is missing: give the recipe a name",
}

_NAMES = {
    f"^{NAME}$": "names begin with a letter and hold letters, digits, '-' and '_'",
    f"^{FILE_NAME}$": (
        "names begin with a small letter or a digit and hold small letters, digits, '-' and single dots, 64 at most"
    ),
}
"""What a name's pattern allows, in words."""

_SUBJECTS = {
    Key.MACHINE: "vm",
    Key.VM: "vm",
    Key.GUEST: "guest",
    Key.STEP: "STEP",
    Key.STEP_OR_MACHINE: "STEP",
    Key.LAYER: "LAYER",
}
"""What stands before a fact's value, as the documentation writes it."""

_NAMED = {FactKind.COUNT: "REGEX", FactKind.TAP: "TEST"}
"""What a fact's names are where the documentation calls them something else than NAME."""


def parse(data: object) -> tuple[Recipe | None, tuple[Fault, ...]]:
    """A recipe from plain data as YAML gives it, and the faults found. One with faults is good for messages alone.

    What is wrong in itself is taken out and the rest looked at again, so that one slip does not hide the others.
    """
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"expected a mapping at the top, found {shown(data)}"
        return None, (Fault((), f"{what}; a recipe begins with 'recipe: NAME'"),)
    lost = list(_shape_of_steps(data))
    faults = [*_empty_values(data), *lost]
    lost += [fault for fault in faults if len(fault.path) == 1]
    rest = _without(data, {fault.path for fault in faults})
    if isinstance(rest.get("steps"), list):
        rest["steps"] = together.by_name(rest["steps"])
    recipe, found = _validated(rest, lost=bool(lost))
    faults += [fault for fault in found if not _follows(fault, faults)]
    if recipe is not None:
        faults += [fault for fault in check.faults(recipe) if not _follows(fault, faults)]
    return recipe, tuple(dict.fromkeys(faults))


def edited(recipe: Recipe, data: dict[str, Any], changed: Iterable[str]) -> tuple[Recipe | None, tuple[Fault, ...]]:
    """As ``parse`` of ``data``, where only the sections ``changed`` differ from what ``recipe`` was parsed from.

    The rest is taken over as it was parsed; what sections must agree on is checked anew. ``data`` without matrix or
    controls gives a recipe without them.
    """
    sections: dict[str, Any] = {name: Recipe.model_fields[name].get_default() for name in ("matrix", "controls")}
    kept = {name: getattr(recipe, name) for name in sections if name in data}
    try:
        for name in changed:
            if any(_empty_values(data[name], (name,))) or (name == "steps" and any(_shape_of_steps(data))):
                return parse(data)
            value = data[name] if name != "steps" else together.by_name(data["steps"])
            sections[name] = _section(name).validate_python(value)
    except ValidationError:
        return parse(data)  # which says what is wrong, and where
    found = recipe.model_copy(update=sections | kept)
    return found, tuple(dict.fromkeys(check.faults(found)))


@functools.cache
def _section(name: str) -> TypeAdapter[Any]:
    """What validates one section of a recipe."""
    field = Recipe.model_fields[name]
    annotated: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotated)


def _validated(data: dict[str, Any], *, lost: bool) -> tuple[Recipe | None, list[Fault]]:
    """The recipe of the data, or of what is left when the faulty keys are out; None when a fault lies in a name.

    ``lost``: whole sections were taken out before, and a recipe without them would only show what follows from it.
    """
    faults: list[Fault] = []
    for _ in range(4):
        try:
            recipe = Recipe.model_validate(data)
            return (None if lost else recipe), faults
        except ValidationError as error:
            fresh = faults_of(error, data)
            known = {fault.path for fault in faults}
            every = [*faults, *fresh]  # an item that is wrong also leaves its list too short
            faults += [fault for fault in fresh if fault.path not in known and not _follows(fault, every)]
            if any(fault.path[-1:] == ("[key]",) for fault in fresh):
                break
            data = _without(data, {_key_of(data, fault.path) for fault in fresh})
    return None, faults


def _key_of(data: Any, path: Path) -> Path:
    """The path as far as it is one of keys in the data."""
    known: Path = ()
    for part in path:
        if not isinstance(data, dict) or part not in data:
            break
        data = data[part]
        known = (*known, part)
    return known


def _follows(fault: Fault, others: Iterable[Fault]) -> bool:
    """Whether the fault only says what became of a mapping (or a key) out of which something wrong was taken."""
    return any(other.path[: len(fault.path)] == fault.path and other != fault for other in others)


# ---- before pydantic -----------------------------------------------------------------------------------------------


def _empty_values(data: object, path: Path = ()) -> Iterator[Fault]:
    """A key without a value is a slip of the hand, never a way to say something."""
    if data is None and path:
        yield Fault(path, "has no value; give one or take the key out", at_key=True)
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _empty_values(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _empty_values(value, (*path, index))


def _shape_of_steps(data: dict[str, Any]) -> Iterator[Fault]:
    steps = data.get("steps")
    if steps is None:
        return
    if not isinstance(steps, list):
        yield Fault(("steps",), f"expected a list of '- NAME: {{VERB: OBJECT}}', found {shown(steps)}")
        return
    yield from together.shape(steps)


def _without(data: Any, gone: set[Path]) -> Any:
    """The data less what stands at the paths."""

    def kept(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: kept(item, (*path, key)) for key, item in value.items() if (*path, key) not in gone}
        if isinstance(value, list):
            return [kept(item, (*path, index)) for index, item in enumerate(value) if (*path, index) not in gone]
        return value

    return kept(data, ())


# ---- pydantic's errors in our words --------------------------------------------------------------------------------


def faults_of(error: ValidationError, data: object, top: type[BaseModel] = Recipe) -> list[Fault]:
    """pydantic's errors in our words. ``top``: the model that ``data`` was to be."""
    return [_fault(detail, data, top) for detail in error.errors(include_url=False)]


def _fault(detail: ErrorDetails, data: object, top: type[BaseModel]) -> Fault:
    path, kind, context = tuple(detail["loc"]), detail["type"], detail.get("ctx", {})
    value = detail.get("input")
    if kind == "extra_forbidden":
        return Fault(
            path,
            f"unknown key{look_alike(str(path[-1]))}{suggestion(str(path[-1]), _allowed_beside(path, data, top))}",
            at_key=True,
        )
    if kind == "missing":
        message = _MISSING.get(str(path[-1]), "is missing") if len(path) == 1 else "is missing"
        return Fault(path, message, at_key=True)
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        word = value if isinstance(value, str) else ""
        in_key = path[-1:] == ("[key]",)
        return Fault(path, f"{shown(value)} is not known{look_alike(word)}{suggestion(word, choices)}", at_key=in_key)
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        odd = look_alike(value) if isinstance(value, str) else ""
        message = f"{shown(value)} is no name; {_NAMES.get(pattern, f'a name matches {pattern}')}{odd}"
        return Fault(path, message, at_key=path[-1:] == ("[key]",))
    if kind in ("model_type", "dict_type", "model_attributes_type", "dataclass_type"):
        return Fault(path, f"expected a mapping, found {shown(value)}{_of_mapping(path, top)}")
    if kind in ("tuple_type", "list_type"):
        example = f"; write [{value}]" if isinstance(value, str) and re.fullmatch(NAME, value) else ""
        return Fault(path, f"expected a list, found {shown(value)}{example}")
    if kind == "too_short":
        return Fault(path, "is empty")
    if kind == "too_long" and not isinstance(value, str):
        return Fault(path, f"has more items than {context.get('max_length')}")
    if kind in ("too_long", "string_too_long"):
        limit = context.get("max_length")
        return Fault(path, f"a name has at most {limit} characters here", at_key=path[-1:] == ("[key]",))
    return Fault(path, detail["msg"])


def _of_mapping(path: Path, top: type[BaseModel]) -> str:
    """What the mapping at ``path`` is to look like; "" where any name may stand in it."""
    if len(path) > 2 and path[0] in ("bad_when", "good_when"):
        row = next((row for row in table.ROWS.values() if row.kind == path[2]), None)
        if row:
            value = f"{{{_NAMED.get(row.kind, 'NAME')}: ...}}" if row.named else "..."
            return f"; write '{row.kind}: {{{_SUBJECTS[row.key]}: {value}}}'"
    return suggestion("", allowed_keys(path, top))


def allowed_keys(path: Path, top: type[BaseModel] = Recipe) -> tuple[str, ...]:
    """The keys that the grammar knows at ``path``; () where any name may stand."""
    found: Any = top
    for part in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in found.model_fields.items()}
            if part in fields:
                found = _inner(fields[str(part)])
                continue
        arguments = typing.get_args(found)
        found = _inner(arguments[-1] if typing.get_origin(found) is dict else arguments[0]) if arguments else None
    if isinstance(found, type) and issubclass(found, BaseModel):
        return tuple(field.alias or name for name, field in found.model_fields.items())
    return ()


def _allowed_beside(path: Path, data: object, top: type[BaseModel]) -> tuple[str, ...]:
    """The keys that may stand where ``path`` ends; of a step or a layer those of its verb or kind."""
    allowed = allowed_keys(path[:-1], top)
    for part in path[:-1]:
        data = data.get(part) if isinstance(data, dict) else None
    if not isinstance(data, dict):
        return allowed
    takes = {**check.TAKES, **check_workload.TAKES} if set(check.TAKES) < set(allowed) else check_workload.TAKES
    chosen = [word for word in takes if word in data and word in allowed]
    return (chosen[0], *sorted(takes[chosen[0]])) if len(chosen) == 1 else allowed


def _inner(annotation: Any) -> Any:
    """The type without what is said about it, and without ``| None``."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Union, types.UnionType):
            annotation = next(arg for arg in typing.get_args(annotation) if arg is not type(None))
        else:
            return annotation
