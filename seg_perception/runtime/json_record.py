"""Frozen dataclasses from JSON, strictly: no missing, unknown or mistyped field gets through.

Missing is what has no default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from seg_perception.errors import BundleError


def decode(kind: Any, value: Any, where: str) -> Any:
    """Turn what `json.loads` gave into a record.

    Args:
        kind: a dataclass, str, int, Any, `tuple[X, ...]`, `tuple[X, Y]`, `Mapping[str, X]` or
            `X | None`.
        value: objects, lists, strings and numbers as JSON has them.
        where: name of the value, for the message.

    Raises:
        BundleError: the value is not of this kind; the message names the field.
    """
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _record(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else decode(arguments[0], value, where)
    if origin is tuple:
        return _tuple(arguments, _expect(list, value, where), where)
    if origin is Mapping:
        items = _expect(dict, value, where).items()
        return {key: decode(arguments[1], item, f"{where}.{key}") for key, item in items}
    return _expect(kind, value, where)


def _record(kind: Any, value: Any, where: str) -> Any:
    found = _expect(dict, value, where)
    needed = {field.name: field.default is MISSING for field in fields(kind)}
    missing = [name for name in needed if needed[name] and name not in found]
    unknown = [name for name in found if name not in needed]
    if missing or unknown:
        raise BundleError(f"{where}: fields missing {missing}, unknown {unknown}: export again")
    hints = get_type_hints(kind)
    return kind(**{name: decode(hints[name], found[name], f"{where}.{name}") for name in found})


def _tuple(arguments: tuple[Any, ...], items: list[Any], where: str) -> tuple[Any, ...]:
    if arguments[-1] is Ellipsis:
        arguments = arguments[:1] * len(items)
    if len(items) != len(arguments):
        raise BundleError(
            f"{where} has {len(items)} items instead of {len(arguments)}: export again"
        )
    return tuple(
        decode(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(arguments, items, strict=True))
    )


def _expect(kind: type, value: Any, where: str) -> Any:
    # bool is an int in Python, but not in JSON
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BundleError(
            f"{where} is {value!r:.80} instead of a JSON {_JSON_NAMES[kind]}: export again"
        )
    return value


_JSON_NAMES = {dict: "object", list: "array", str: "string", int: "integer"}
