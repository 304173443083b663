"""
The values of ``RUN --mount`` and ``RUN --device``: comma-separated keys and values, and what goes with what.

A value may hold ``$variables`` that only the build knows. Such a value is accepted as written, and the rules
it could break are checked when the mount is parsed again with an `expand` function. ``from`` takes none.
Governing text: "RUN --mount" in the Dockerfile reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import InvalidFlag
from .golang import csv_fields, parse_bool, parse_size, parse_unsigned, quote
from .suggest import did_you_mean

MOUNT_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING_MODES = ("shared", "private", "locked")

_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_KEYS = (
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "readwrite",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
    *_ALIASES,
)
_SWITCHES = ("readonly", "readwrite", "required")
_WITH_OWNER = ("cache", "secret", "ssh")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountFlag:
    """
    One ``--mount`` of a RUN.

    What was not given is None (or False); defaults that depend on the build, such as the id of a cache, are
    not filled in. With `unresolved` the mount holds variables: numbers behind them are missing, and
    `parse_mount` on `text` with an `expand` function gives the final value.
    """

    text: str
    type: str = "bind"
    target: str | None = None
    source: str | None = None
    from_: str | None = None
    readonly: bool = True
    id: str | None = None
    sharing: str | None = None
    required: bool = False
    size: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None
    unresolved: bool = False


@dataclass(frozen=True, slots=True)
class DeviceFlag:
    """One ``--device`` of a RUN: the name of a device class or device, and whether it has to exist."""

    name: str
    required: bool = False


def parse_mount(text: str, *, expand: Callable[[str], str] | None = None) -> MountFlag:
    """
    Parse the value of one ``--mount``.

    Args:
        text: the value as written.
        expand: replaces the variables in one value; without it, values with a ``$`` are left alone.

    Raises:
        InvalidFlag: an unknown key, an impossible value, or keys that exclude each other.

    """
    options = _Options(expand)
    for entry in _fields(text, "mounts"):
        options.add(entry)
    mount = options.mount(text)
    if not mount.unresolved:
        _check(mount)
    return mount


def parse_device(text: str) -> DeviceFlag:
    """
    Parse the value of one ``--device``.

    Raises:
        InvalidFlag: an unknown key, or a second name.

    """
    name, required = "", False
    for entry in _fields(text, "devices"):
        key, has_value, value = entry.partition("=")
        key = key.lower()
        if key == "required":
            required = _boolean(key, value) if has_value else True
        elif key == "name" and has_value:
            if name:
                raise InvalidFlag(f"device name already set to {name}")
            name = value
        elif not name:
            name = entry
        elif has_value:
            raise InvalidFlag(
                f"unexpected key '{key}' in '{entry}'", hint=did_you_mean(key, ("name", "required"))
            )
        else:
            raise InvalidFlag(f"invalid field '{entry}' must be a key=value pair")
    return DeviceFlag(name, required)


@dataclass(slots=True)
class _Options:
    """Collects the keys of one mount; rules that need the type wait until all keys are read."""

    expand: Callable[[str], str] | None
    values: dict[str, str] = field(default_factory=dict)
    readonly: bool | None = None
    required: bool | None = None
    unresolved: bool = False

    def add(self, entry: str) -> None:
        written, has_value, value = entry.partition("=")
        written = written.lower()
        key = _ALIASES.get(written, written)
        if key not in _KEYS:
            if not has_value:
                raise InvalidFlag(f"invalid field '{entry}' must be a key=value pair")
            raise InvalidFlag(f"unexpected key '{written}' in '{entry}'", hint=did_you_mean(written, _KEYS))
        if key in _SWITCHES:
            self._add_switch(written, self._expanded(key, value) if has_value else "true")
        elif not has_value:
            raise InvalidFlag(f"invalid field '{entry}' must be a key=value pair")
        else:
            self.values[key] = self._expanded(key, value)

    def _expanded(self, key: str, value: str) -> str:
        # A dollar at the very end is no variable.
        if "$" not in value[:-1]:
            return value if self.expand is None else self.expand(value)
        if key == "from" and self.expand is None:
            raise InvalidFlag("'from' doesn't support variable expansion, define alias stage instead")
        if self.expand is not None:
            return self.expand(value)
        self.unresolved = True
        return value

    def _add_switch(self, written: str, value: str) -> None:
        if self._waits(value):
            return
        state = _boolean(written, value)
        key = _ALIASES.get(written, written)
        if key == "required":
            self.required = state
        else:
            self.readonly = state == (key == "readonly")

    def _waits(self, value: str) -> bool:
        return self.unresolved and "$" in value[:-1]

    def mount(self, text: str) -> MountFlag:
        kind = self._choice("type", MOUNT_TYPES, "unsupported mount type") or "bind"
        get = self.values.get
        if self.required is not None and kind not in ("secret", "ssh") and not self.unresolved:
            raise InvalidFlag(f"unexpected key 'required' for mount type '{kind}'")
        if get("size") is not None and kind != "tmpfs" and not self.unresolved:
            raise InvalidFlag(f"unexpected key 'size' for mount type '{kind}'")
        return MountFlag(
            text=text,
            type=kind,
            target=get("target"),
            source=get("source"),
            from_=get("from") or None,
            readonly=kind not in ("cache", "tmpfs") if self.readonly is None else self.readonly,
            id=get("id"),
            sharing=self._choice("sharing", SHARING_MODES, "unsupported sharing value"),
            required=bool(self.required),
            size=self._number("size", parse_size),
            mode=self._number("mode", lambda value: parse_unsigned(value, 8)),
            uid=self._number("uid", lambda value: parse_unsigned(value, 10)),
            gid=self._number("gid", lambda value: parse_unsigned(value, 10)),
            env=get("env"),
            unresolved=self.unresolved,
        )

    def _choice(self, key: str, allowed: tuple[str, ...], complaint: str) -> str | None:
        value = self.values.get(key)
        if value is None or self._waits(value):
            return value
        if value.lower() not in allowed:
            raise InvalidFlag(f"{complaint} {quote(value)}", hint=did_you_mean(value.lower(), allowed))
        return value.lower()

    def _number(self, key: str, read: Callable[[str], int]) -> int | None:
        value = self.values.get(key)
        if value is None or self._waits(value):
            return None
        try:
            return read(value)
        except ValueError:
            complaint = f"{value} for {key}" if key != "size" else f"for {key}: {value}"
            raise InvalidFlag(f"invalid value {complaint}") from None


def _check(mount: MountFlag) -> None:
    if mount.type not in _WITH_OWNER:
        for key in ("mode", "uid", "gid"):
            if getattr(mount, key) is not None:
                raise InvalidFlag(f"{key} not allowed for {quote(mount.type)} type mounts")
    if mount.type == "secret":
        if mount.from_:
            raise InvalidFlag("secret mount should not have a from")
        if mount.sharing:
            raise InvalidFlag("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise InvalidFlag("invalid secret mount. one of source, target required")
        if mount.source and mount.id:
            raise InvalidFlag("both source and id can't be set")
    elif mount.type == "ssh" and mount.source:
        raise InvalidFlag("ssh does not support source")
    elif mount.sharing and mount.type != "cache":
        raise InvalidFlag(f"invalid cache sharing set for {mount.type} mount")


def _fields(text: str, what: str) -> list[str]:
    try:
        return csv_fields(text)
    except ValueError as error:
        raise InvalidFlag(f"failed to parse csv {what}: {error}") from None


def _boolean(key: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise InvalidFlag(f"invalid value for {key}: {value}") from None
