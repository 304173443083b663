"""
The image configuration: what a container of an image runs, and which layers it is made of.

Invariant: members that we do not know are kept (`extra`), so that a configuration that was read and extended
loses nothing. Governing source: OCI image-spec, config.md; Docker's additions (Healthcheck, Shell, OnBuild).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any

from .digest import Digest
from .errors import InvalidDigest, InvalidDocument
from .platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One entry of an image's history; `empty_layer` entries have no layer."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    def to_json(self) -> dict[str, Any]:
        """The JSON object without empty members."""
        value: dict[str, Any] = {}
        if self.created is not None:
            value["created"] = self.created
        if self.created_by:
            value["created_by"] = self.created_by
        if self.author:
            value["author"] = self.author
        if self.comment:
            value["comment"] = self.comment
        if self.empty_layer:
            value["empty_layer"] = True
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> History:
        """Read an entry tolerantly."""
        created = value.get("created")
        return cls(
            created=str(created) if created is not None else None,
            created_by=str(value.get("created_by") or ""),
            author=str(value.get("author") or ""),
            comment=str(value.get("comment") or ""),
            empty_layer=bool(value.get("empty_layer", False)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How to test that a container works; durations in nanoseconds, 0 = inherit."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    _NAMES = (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
        ("start_interval", "StartInterval"),
        ("retries", "Retries"),
    )

    def to_json(self) -> dict[str, Any]:
        """The JSON object in Docker's spelling."""
        value: dict[str, Any] = {"Test": list(self.test)} if self.test else {}
        value.update({name: getattr(self, own) for own, name in self._NAMES if getattr(self, own)})
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Healthcheck:
        """Read it tolerantly."""
        numbers = {own: _number(value.get(name)) for own, name in cls._NAMES}
        return cls(test=_words(value.get("Test")) or (), **numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The ``config`` member: defaults for containers. ``None`` for cmd and entrypoint means not set."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON object without empty members, in Docker's order."""
        value: dict[str, Any] = {}
        if self.user:
            value["User"] = self.user
        if self.exposed_ports:
            value["ExposedPorts"] = {port: {} for port in self.exposed_ports}
        if self.env:
            value["Env"] = list(self.env)
        if self.entrypoint is not None:
            value["Entrypoint"] = list(self.entrypoint)
        if self.cmd is not None:
            value["Cmd"] = list(self.cmd)
        if self.healthcheck is not None:
            value["Healthcheck"] = self.healthcheck.to_json()
        if self.volumes:
            value["Volumes"] = {path: {} for path in self.volumes}
        if self.working_dir:
            value["WorkingDir"] = self.working_dir
        if self.on_build:
            value["OnBuild"] = list(self.on_build)
        if self.labels:
            value["Labels"] = dict(sorted(self.labels.items()))
        if self.stop_signal:
            value["StopSignal"] = self.stop_signal
        if self.args_escaped:
            value["ArgsEscaped"] = True
        if self.shell is not None:
            value["Shell"] = list(self.shell)
        value.update(self.extra)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunConfig:
        """Read it tolerantly; unknown members go to `extra`."""
        health = value.get("Healthcheck")
        return cls(
            user=str(value.get("User") or ""),
            exposed_ports=_names(value.get("ExposedPorts")),
            env=_words(value.get("Env")) or (),
            entrypoint=_words(value.get("Entrypoint")),
            cmd=_words(value.get("Cmd")),
            volumes=_names(value.get("Volumes")),
            working_dir=str(value.get("WorkingDir") or ""),
            labels={str(k): str(v) for k, v in _object(value.get("Labels")).items()},
            stop_signal=str(value.get("StopSignal") or ""),
            args_escaped=bool(value.get("ArgsEscaped", False)),
            healthcheck=Healthcheck.from_json(health) if isinstance(health, dict) else None,
            shell=_words(value.get("Shell")),
            on_build=_words(value.get("OnBuild")) or (),
            extra={k: v for k, v in value.items() if k not in _KNOWN_RUN and v is not None},
        )


_KNOWN_RUN = frozenset(
    (
        *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels"),
        *("StopSignal", "ArgsEscaped", "Healthcheck", "Shell", "OnBuild"),
    )
)
_KNOWN = frozenset(
    (
        *("created", "author", "architecture", "variant", "os", "os.version", "os.features"),
        *("config", "rootfs", "history"),
    )
)


def _words(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    return tuple(str(word) for word in value) if isinstance(value, list) else None


def _names(value: object) -> tuple[str, ...]:
    """The keys of a Go set, which is an object with empty values; a list is taken as well."""
    return tuple(str(name) for name in value) if isinstance(value, dict | list) else ()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The configuration document of an image; `created` is RFC 3339, ``None`` = not recorded."""

    platform: Platform
    config: RunConfig = field(default_factory=RunConfig)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    created: str | None = None
    author: str = ""
    os_features: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, members in the order of the specification."""
        value: dict[str, Any] = {}
        if self.created is not None:
            value["created"] = self.created
        if self.author:
            value["author"] = self.author
        value["architecture"] = self.platform.architecture
        if self.platform.variant:
            value["variant"] = self.platform.variant
        value["os"] = self.platform.os
        if self.platform.os_version:
            value["os.version"] = self.platform.os_version
        if self.os_features:
            value["os.features"] = list(self.os_features)
        value["config"] = self.config.to_json()
        value["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in self.diff_ids]}
        value["history"] = [entry.to_json() for entry in self.history]
        value.update(self.extra)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> ImageConfig:
        """
        Read a configuration.

        Raises:
            InvalidDocument: the layer list is not usable.
        """
        listed = _object(value.get("rootfs")).get("diff_ids")
        if not isinstance(listed, list | NoneType):
            raise InvalidDocument(f"{where}: the member rootfs.diff_ids is not a list")
        try:
            diff_ids = tuple(Digest.parse(str(text)) for text in listed or ())
        except InvalidDigest as problem:
            raise InvalidDocument(f"{where}: unusable rootfs.diff_ids: {problem.message}") from problem
        features, history = value.get("os.features"), value.get("history")
        return cls(
            platform=Platform.from_json(value),
            config=RunConfig.from_json(_object(value.get("config"))),
            diff_ids=diff_ids,
            history=tuple(History.from_json(_object(entry)) for entry in history)
            if isinstance(history, list)
            else (),
            created=str(value["created"]) if value.get("created") is not None else None,
            author=str(value.get("author") or ""),
            os_features=tuple(str(word) for word in features) if isinstance(features, list) else (),
            extra={k: v for k, v in value.items() if k not in _KNOWN and v is not None},
        )

    def with_run_config(self, **changes: Any) -> ImageConfig:
        """The same configuration with members of ``config`` replaced."""
        return replace(self, config=replace(self.config, **changes))
