"""Records to JSON values and back, strictly. Standard library only, Python 3.10.

Shapes: ``bool int float str None``, ``X | Y`` (at most one record among them), ``Literal``, ``tuple[X, ...]``,
``dict[str, X]`` and dataclasses. ``True`` is not an int; an int is accepted where a float is wanted; an unknown
key is an error that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import types
import typing
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from provision.errors import CodecError

T = TypeVar("T")
_SCALARS: dict[Any, str] = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}


def dump(value: Any) -> Any:
    """A record as JSON values: dictionaries in field order, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: dump(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [dump(item) for item in value]
    if isinstance(value, dict):
        return {str(key): dump(item) for key, item in value.items()}
    return value


def dumps(value: Any) -> str:
    """``dump`` as text: sorted keys, two spaces, a final newline; the same value gives the same bytes."""
    return json.dumps(dump(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def digest(value: Any) -> str:
    """SHA-256 (hex) over the compact, sorted JSON of a record: the identity of a plan."""
    compact = json.dumps(dump(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(compact.encode()).hexdigest()


def load(shape: type[T], value: Any) -> T:
    """``value`` (parsed JSON or TOML) as a ``shape``. Raises ``CodecError`` with the path of what is wrong."""
    return typing.cast(T, _load(shape, value))


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """`` (did you mean "x"?)`` or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' (did you mean "{close[0]}"?)' if close else ""


@functools.cache
def _fields(shape: Any) -> dict[str, tuple[Any, bool]]:
    """Field name to (type, required)."""
    hints = typing.get_type_hints(shape)
    return {
        f.name: (
            hints[f.name],
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
        )
        for f in dataclasses.fields(shape)
    }


def _load(shape: Any, value: Any) -> Any:
    if shape is Any:
        return value
    origin = get_origin(shape)
    if origin in (Union, types.UnionType):
        return _load_union(shape, value)
    if origin is Literal:
        if value not in get_args(shape):
            raise CodecError(f"expected one of {', '.join(map(repr, get_args(shape)))}, got {value!r}")
        return value
    if origin is tuple:
        return _load_tuple(shape, value)
    if origin is dict:
        if not isinstance(value, dict):
            raise CodecError(f"expected a table, got {_name(value)}")
        inner = get_args(shape)[1]
        return {key: _under(key, inner, item) for key, item in value.items()}
    if dataclasses.is_dataclass(shape):
        return _load_record(shape, value)
    if shape in _SCALARS:
        if shape is float and type(value) is int:
            return float(value)
        if type(value) is not shape:
            raise CodecError(f"expected {_SCALARS[shape]}, got {_name(value)}")
        return value
    raise TypeError(f"codec has no rule for {shape!r}")


def _load_union(shape: Any, value: Any) -> Any:
    members = get_args(shape)
    for member in members:  # scalars first: they cannot be confused
        if member in _SCALARS and (type(value) is member or (member is float and type(value) is int)):
            return _load(member, value)
    rest = [m for m in members if m not in _SCALARS]
    if len(rest) == 1 and value is not None:
        return _load(rest[0], value)
    raise CodecError(
        f"expected {' or '.join(_SCALARS.get(m, getattr(m, '__name__', str(m))) for m in members)}, got {_name(value)}"
    )


def _load_tuple(shape: Any, value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise CodecError(f"expected a list, got {_name(value)}")
    arguments = get_args(shape)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_under(f"[{i}]", arguments[0], item) for i, item in enumerate(value))
    if len(arguments) != len(value):
        raise CodecError(f"expected a list of {len(arguments)}, got {len(value)}")
    return tuple(_under(f"[{i}]", inner, item) for i, (inner, item) in enumerate(zip(arguments, value)))  # noqa: B905 (lengths just compared)


def _load_record(shape: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise CodecError(f"expected a table, got {_name(value)}")
    fields = _fields(shape)
    for key in value:
        if key not in fields:
            raise CodecError(f"unknown key{nearest(key, fields)}", key)
    for name, (kind, required) in fields.items():
        if required and name not in value:
            raise CodecError(f"missing; expected {_shape_name(kind)}", name)
    return shape(**{key: _under(key, fields[key][0], item) for key, item in value.items()})


def _under(step: str, shape: Any, value: Any) -> Any:
    try:
        return _load(shape, value)
    except CodecError as error:
        raise error.under(step) from None


def _shape_name(shape: Any) -> str:
    if get_origin(shape) in (Union, types.UnionType):
        return " or ".join(_shape_name(m) for m in get_args(shape))
    if get_origin(shape) is tuple:
        return "a list"
    return _SCALARS.get(shape, "a table")


def _name(value: Any) -> str:
    kind: Any = type(value)
    return _SCALARS.get(kind) or ("a table" if kind is dict else "a list" if kind is list else str(kind.__name__))
