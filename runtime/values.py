"""
JSON for the frozen values of this package: a dataclass becomes an object that names its class as `kind`.

Bytes become an object with one key, tuples become lists and come back as tuples. Only classes that the
reader lists can be made, so reading never runs code that the text chooses.
"""

import binascii
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, get_type_hints


def encode(value: Any) -> Any:
    """Return the JSON form of a value made of dataclasses, tuples, bytes and scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        members = {field.name: encode(getattr(value, field.name)) for field in fields(value)}
        return {"kind": type(value).__name__, **members}
    if isinstance(value, bytes):
        return {"base64": binascii.b2a_base64(value, newline=False).decode()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"no JSON form for {type(value).__name__}")


def decode(value: Any, kinds: Mapping[str, type]) -> Any:
    """Return the value that `encode` was given; raise `ValueError` for an unknown kind or field."""
    if isinstance(value, list):
        return tuple(decode(item, kinds) for item in value)
    if not isinstance(value, dict):
        return value
    if set(value) == {"base64"}:
        return binascii.a2b_base64(value["base64"])
    members = dict(value)
    cls = kinds.get(str(members.pop("kind", "")))
    if cls is None:
        raise ValueError(f"unknown kind {value.get('kind')!r}")
    hints = get_type_hints(cls)
    unknown = sorted(set(members) - set(hints))
    if unknown:
        raise ValueError(f"unknown fields of {cls.__name__}: {', '.join(unknown)}")
    made = {}
    for name, member in members.items():
        hint = hints[name]
        item = decode(member, kinds)
        made[name] = hint(item) if isinstance(hint, type) and issubclass(hint, Enum) else item
    return cls(**made)
