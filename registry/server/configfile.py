"""
Settings from a TOML file, environment variables and flags, which overrule each other in this order.

Invariants: everything is checked before anything is built; an unknown name is an error, never ignored; a
message names the file or variable, the key and what was expected. Governing source: TOML 1.0.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ..errors import InvalidConfiguration
from .config import (
    AnonymousAuth,
    Auth,
    BasicAuth,
    ExternalIssuer,
    RegistryConfig,
    TlsFiles,
    TokenAuth,
    Webhook,
)
from .configschema import ENVIRONMENT_PREFIX, variable
from .configsections import SECTIONS
from .configsetting import Setting
from .configtables import TABLES
from .mirror.settings import Mirror
from .policies import KeepRule, Policy
from .rights import Rule

T = TypeVar("T")
Values = dict[str, dict[str, Any]]
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_TOKEN_KEYS = ("htpasswd", "anonymous_pull", "key", "service", "lifetime", "refresh_lifetime")


def load(
    path: str = "",
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[tuple[str, str], Any] | None = None,
    defaults: Mapping[tuple[str, str], Any] | None = None,
    default_root: str = "",
) -> RegistryConfig:
    """
    The settings of a server.

    Args:
        path: the file; empty for none. Relative paths in it start where it is.
        environment: variables, of which those count whose names begin with ``PYBUILD_REGISTRY_``.
        flags: further values by section and key; a None is no value.
        defaults: values for what nothing above says; a None is no value.
        default_root: where content goes when nothing else says so; empty for memory.

    Raises:
        InvalidConfiguration: with the place and what was expected there.
    """
    document = _parse(path) if path else {}
    values, tables = _read_document(document, path)
    for name, text in (environment or {}).items():
        if name.startswith(ENVIRONMENT_PREFIX):
            section, setting = _of_variable(name)
            values[section][setting.key] = _from_text(setting, text, name)
    for (section, key), value in (flags or {}).items():
        if value is not None:
            values[section][key] = value
    for (section, key), value in (defaults or {}).items():
        if value is not None:
            values[section].setdefault(key, value)
    place = path or "the settings"
    _check_required(values, place)
    try:
        if not values["storage"].get("memory"):
            values["storage"].setdefault("root", default_root)
        return _build(values, tables, _read_groups(document.get("groups", {}), place))
    except InvalidConfiguration as problem:
        raise InvalidConfiguration(f"{place}: {problem.message}", hint=problem.hint) from problem


def _parse(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as problem:
        raise InvalidConfiguration(f"cannot read {path}: {problem.strerror}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise InvalidConfiguration(
            f"{path} is not TOML: {problem}", hint="strings need quotes, and tables [brackets]"
        ) from problem


def _read_document(document: dict[str, Any], path: str) -> tuple[Values, dict[str, list[dict[str, Any]]]]:
    values: Values = {name: {} for name in SECTIONS}
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for name, content in document.items():
        if name == "groups":
            continue
        if name in TABLES:
            tables[name] = _read_rows(name, TABLES[name], content, path)
            continue
        if name not in SECTIONS:
            raise _unknown(f"{path}: there is no section [{name}]", name, [*SECTIONS, *TABLES, "groups"])
        if not isinstance(content, dict):
            raise InvalidConfiguration(f"{path}: {name} must be a section", hint=f"write [{name}] above it")
        own = dict(content)
        for table in TABLES:
            parent, _, key = table.rpartition(".")
            if parent == name and key in own:
                tables[table] = _read_rows(table, TABLES[table], own.pop(key), path)
        values[name] = _read_section(f"[{name}]", SECTIONS[name], own, path)
    return values, tables


def _read_rows(
    name: str, settings: Iterable[Setting], content: object, path: str, within: str = ""
) -> list[dict[str, Any]]:
    rows = content if isinstance(content, list) else [None]
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InvalidConfiguration(
                f"{path}: {within}{name} must be a list of tables",
                hint=f"write [[{name}]] above each of them",
            )
        label = f"{within}[[{name}]] number {number}"
        inner = {
            setting.key: _read_rows(
                f"{name}.{setting.key}", setting.rows, row[setting.key], path, f"{label}, "
            )
            for setting in settings
            if setting.rows and setting.key in row
        }
        plain = {key: value for key, value in row.items() if key not in inner}
        found.append(_read_section(label, settings, plain, path) | inner)
        for setting in settings:
            if setting.required and setting.key not in row:
                raise InvalidConfiguration(f"{path}: {label}: {setting.key} is missing", hint=setting.text)
    return found


def _read_section(
    label: str, settings: Iterable[Setting], content: dict[str, Any], path: str
) -> dict[str, Any]:
    known = {setting.key: setting for setting in settings}
    for key, value in content.items():
        if key not in known:
            raise _unknown(f"{path}: {label}: there is no setting {key}", key, known)
        _check(known[key], value, f"{path}: {label} {key}")
    return {key: _anchored(known[key], value, path) for key, value in content.items()}


def _anchored(setting: Setting, value: Any, path: str) -> Any:
    if setting.kind != "path" or "://" in value or value in ("", "memory:"):
        return value
    return os.path.join(os.path.dirname(os.path.abspath(path)), value)


def _check(setting: Setting, value: object, place: str) -> None:
    kinds: dict[str, tuple[type | tuple[type, ...], str]] = {
        "string": (str, "a string"),
        "path": (str, "a string"),
        "boolean": (bool, "true or false"),
        "integer": (int, "a whole number"),
        "number": ((int, float), "a number"),
        "strings": (list, "a list of strings"),
    }
    types, expected = kinds[setting.kind]
    right = isinstance(value, types) and (setting.kind == "boolean" or not isinstance(value, bool))
    right = right and (not isinstance(value, float) or math.isfinite(value))
    words = value if isinstance(value, list) else [value]
    if not right or (setting.kind == "strings" and not all(isinstance(word, str) for word in words)):
        raise InvalidConfiguration(f"{place}: expected {expected}, found {value!r}", hint=setting.text)
    for word in words:
        if setting.choices and word not in setting.choices:
            raise _unknown(f"{place}: {word!r} is not possible", str(word), setting.choices)
    if setting.minimum is not None and isinstance(value, int | float) and value < setting.minimum:
        raise InvalidConfiguration(f"{place}: must be at least {setting.minimum}", hint=setting.text)


def _of_variable(name: str) -> tuple[str, Setting]:
    known = {
        variable(section, setting.key): (section, setting)
        for section, settings in SECTIONS.items()
        for setting in settings
    }
    if name not in known:
        raise _unknown(f"there is no setting for the variable {name}", name, known)
    return known[name]


def _from_text(setting: Setting, text: str, name: str) -> Any:
    value: Any = text
    try:
        if setting.kind == "boolean" and text.lower() in _TRUE + _FALSE:
            value = text.lower() in _TRUE
        elif setting.kind == "integer":
            value = int(text)
        elif setting.kind == "number":
            value = float(text)
        elif setting.kind == "strings":
            value = [part.strip() for part in text.split(",") if part.strip()]
    except ValueError:
        value = text  # the check below says what was expected
    _check(setting, value, name)
    return value


def _unknown(message: str, word: str, known: Iterable[str]) -> InvalidConfiguration:
    import difflib  # for mistakes only

    names = list(known)
    close = difflib.get_close_matches(word, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"possible: {', '.join(names)}"
    return InvalidConfiguration(message, hint=hint)


def _check_required(values: Values, place: str) -> None:
    for section, settings in SECTIONS.items():
        for setting in settings:
            if setting.required and values[section] and setting.key not in values[section]:
                raise InvalidConfiguration(
                    f"{place}: [{section}]: {setting.key} is missing", hint=setting.text
                )


def _read_groups(value: object, place: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise InvalidConfiguration(f"{place}: groups must be a section", hint="write [groups] above it")
    member = Setting(key="", kind="strings", text="Each group is a list of its members.")
    for name, members in value.items():
        _check(member, members, f"{place}: [groups] {name}")
    return {name: tuple(members) for name, members in value.items()}


def _build(
    values: Values, tables: dict[str, list[dict[str, Any]]], groups: dict[str, tuple[str, ...]]
) -> RegistryConfig:
    chosen: dict[str, Any] = {}
    for section, settings in SECTIONS.items():
        for setting in settings:
            if setting.field and setting.key in values[section]:
                chosen[setting.field] = values[section][setting.key]
    if "listen" in values["server"]:
        chosen["host"], chosen["port"] = read_address(values["server"]["listen"])
    if values["storage"].get("memory"):
        if chosen.get("root"):
            raise InvalidConfiguration("[storage]: root and memory exclude each other")
        chosen["root"] = ""
    rules = tuple(_row(Rule, row) for row in tables["rights"])
    if rules and values["auth"].get("anonymous_pull"):
        raise InvalidConfiguration(
            "[auth] anonymous_pull has no meaning beside [[rights]]",
            hint="write a rule with anonymous = true instead",
        )
    mirrors = tuple(_row(Mirror, row) for row in tables["mirror"])
    policies = tuple(_policy(row) for row in tables["policies"])
    return RegistryConfig(
        **chosen,
        # A policy of the file comes first, and so takes the place of what the mirror says of its space.
        policies=policies + tuple(mirror.policy for mirror in mirrors if mirror.policy is not None),
        mirrors=mirrors,
        webhooks=tuple(_row(Webhook, row) for row in tables["webhooks"]),
        auth=_build_auth(values["auth"], tables["auth.issuers"]),
        tls=TlsFiles(**values["tls"]) if values["tls"] else None,
        rights=rules,
        groups=groups,
    )


def _row(kind: Callable[..., T], row: dict[str, Any]) -> T:
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})


def _policy(row: dict[str, Any]) -> Policy:
    return _row(Policy, row | {"keep": [_row(KeepRule, rule) for rule in row.get("keep", [])]})


def _build_auth(values: dict[str, Any], rows: list[dict[str, Any]]) -> Auth:
    issuers = tuple(_row(ExternalIssuer, row) for row in rows)
    mode = values.get("mode") or ("token" if issuers or "htpasswd" in values else "none")
    if mode == "token":
        own = {key: values[key] for key in _TOKEN_KEYS if key in values}
        return TokenAuth(
            **({"anonymous_pull": False} | own), realm=values.get("token_url", ""), issuers=issuers
        )
    useless = [key for key in values if key not in ("mode", "htpasswd", "realm")]
    if mode == "none":
        useless = [key for key in values if key != "mode"]
    if useless or issuers:
        name = (useless or ["issuers"])[0]
        raise InvalidConfiguration(
            f"[auth] {name} has no meaning with mode {mode}", hint='remove it, or use mode = "token"'
        )
    if mode == "none":
        return AnonymousAuth()
    if "htpasswd" not in values:
        raise InvalidConfiguration("[auth]: mode basic needs htpasswd")
    return BasicAuth(htpasswd=values["htpasswd"], realm=values.get("realm", "registry"))


def read_address(text: str) -> tuple[str, int]:
    """
    Host and port of ``ADDRESS:PORT``; without an address every one is meant.

    Raises:
        InvalidConfiguration: it has another form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidConfiguration(f"{text}: expected ADDRESS:PORT, as in 127.0.0.1:5000")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":5000" means every address, as elsewhere
