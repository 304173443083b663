"""One setting of the configuration file: its name, its kind, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    One setting.

    Attributes:
        key: its name in its section.
        kind: ``string``, ``path``, ``boolean``, ``integer``, ``number``, ``strings`` or ``tables``.
        text: what it is for, one sentence.
        default: the value when it is absent; None where that has no value.
        field: the attribute of `RegistryConfig` that it sets, for those that set one directly.
        required: whether its section cannot do without it.
        minimum: the least number.
        choices: the only words that are accepted, of a list as well.
        rows: what each table of a list of tables may say.
    """

    key: str
    kind: str
    text: str
    default: Any = None
    field: str = ""
    required: bool = False
    minimum: float | None = None
    choices: Sequence[str] = ()
    rows: tuple[Setting, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its value."""
        value: dict[str, Any]
        if self.kind == "tables":
            value = {"type": "array", "items": object_schema(self.rows)}
        elif self.kind == "strings":
            item: dict[str, Any] = {"type": "string"}
            value = {"type": "array", "items": item | ({"enum": [*self.choices]} if self.choices else {})}
        else:
            value = {"type": "string" if self.kind == "path" else self.kind}
            if self.choices:
                value["enum"] = [*self.choices]
        if self.minimum is not None:
            value["minimum"] = self.minimum
        if self.default is not None:
            value["default"] = self.default
        return value | {"description": self.text}


def row(key: str, kind: str, text: str, default: Any = None, **more: Any) -> Setting:
    """A setting, as the tables of settings write it."""
    return Setting(key=key, kind=kind, text=text, default=default, **more)


def object_schema(settings: Sequence[Setting]) -> dict[str, Any]:
    """The JSON schema of a section or a table with these settings."""
    value: dict[str, Any] = {
        "type": "object",
        "properties": {setting.key: setting.schema for setting in settings},
        "additionalProperties": False,
    }
    required = [setting.key for setting in settings if setting.required]
    return value | ({"required": required} if required else {})
