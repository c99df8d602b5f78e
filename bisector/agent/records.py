# SPDX-License-Identifier: GPL-2.0-only
"""The part of the standard library's ``dataclasses`` that the agent uses, without code that is generated and compiled.

In a VM's bundle it stands in for that module (bisector/trial/bundle.py): on an emulated processor the module, what it
imports, and the source that it writes and compiles for each class took longer than all else that the agent does before
its first line. Making an instance takes longer, and the agent makes few. Elsewhere the agent runs with the real module,
and tests hold one against the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MISSING: Any = object()
_FIELDS = "__dataclass_fields__"


class FrozenInstanceError(AttributeError):
    """An attribute of a frozen instance was set."""


class Field:
    """One field; ``name`` is set by the class that it is of."""

    def __init__(self, default: Any, default_factory: Any, shown: bool, compare: bool) -> None:
        self.name = ""
        self.default, self.default_factory, self.repr, self.compare = default, default_factory, shown, compare


def field(*, default: Any = MISSING, default_factory: Any = MISSING, repr: bool = True, compare: bool = True) -> Any:
    """A field that is more than its default."""
    return Field(default, default_factory, repr, compare)


def dataclass(cls: Any = None, /, *, frozen: bool = False) -> Any:
    """The decorator. Annotations are only counted, so there is no ``ClassVar`` and no ``InitVar``."""
    if cls is None:
        return lambda cls: dataclass(cls, frozen=frozen)
    own = cls.__dict__
    found: dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        found.update(base.__dict__.get(_FIELDS, {}))
    for name in own.get("__annotations__", ()):  # inspect would be most of what is saved here
        one = own.get(name, MISSING)
        if not isinstance(one, Field):
            one = field(default=one)
        elif one.default is MISSING:
            delattr(cls, name)
        else:
            setattr(cls, name, one.default)
        one.name = name
        found[name] = one
    setattr(cls, _FIELDS, found)
    methods: dict[str, Any] = {"__init__": _init, "__repr__": _repr, "__eq__": _eq}
    if frozen:
        methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    if own.get("__hash__") is None:
        cls.__hash__ = _hash if frozen else None
    return cls


def _init(self: Any, *args: Any, **values: Any) -> None:
    every = self.__dataclass_fields__
    kind, into = type(self).__name__, self.__dict__
    if len(args) > len(every):
        raise TypeError(f"{kind} takes {len(every)} arguments, {len(args)} were given")
    for name, one in zip(every, args, strict=False):
        if name in values:
            raise TypeError(f"{kind} got multiple values for argument {name!r}")
        into[name] = one
    for name, one in list(every.items())[len(args) :]:
        if name in values:
            into[name] = values.pop(name)
        elif one.default is not MISSING:
            into[name] = one.default
        elif one.default_factory is not MISSING:
            into[name] = one.default_factory()
        else:
            raise TypeError(f"{kind} missing a required argument: {name!r}")
    if values:
        raise TypeError(f"{kind} got an unexpected keyword argument {next(iter(values))!r}")


def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _compared(of: Any) -> tuple[Any, ...]:
    return tuple(getattr(of, one.name) for one in fields(of) if one.compare)


def _eq(self: Any, other: Any) -> Any:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise FrozenInstanceError(f"{name!r} of a frozen {type(self).__name__} cannot be changed")


def fields(of: Any) -> tuple[Field, ...]:
    """The fields of a class, or of an instance."""
    return tuple(getattr(of, _FIELDS).values())


def is_dataclass(of: Any) -> bool:
    """Whether it is one, or an instance of one."""
    return hasattr(of if isinstance(of, type) else type(of), _FIELDS)


def replace(of: Any, /, **changes: Any) -> Any:
    """A new instance with other values."""
    return type(of)(**{one.name: getattr(of, one.name) for one in fields(of)} | changes)


def asdict(of: Any, *, dict_factory: Callable[[list[tuple[str, Any]]], Any] = dict) -> Any:
    """An instance as a dictionary, with all instances that it holds."""
    return dict_factory([(one.name, _plain(getattr(of, one.name), dict_factory)) for one in fields(of)])


def _plain(value: Any, dict_factory: Callable[[list[tuple[str, Any]]], Any]) -> Any:
    if is_dataclass(value):
        return asdict(value, dict_factory=dict_factory)
    if isinstance(value, (list, tuple)):
        return type(value)([_plain(each, dict_factory) for each in value])
    if isinstance(value, dict):
        return {_plain(key, dict_factory): _plain(each, dict_factory) for key, each in value.items()}
    return value
