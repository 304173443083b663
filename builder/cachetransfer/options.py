"""
The values of ``--cache-from`` and ``--cache-to``: where a cache comes from, and where it goes.

Keys and defaults are those of docker buildx but for ``ignore-error``, which is true unless it is said to be
false: a cache that cannot be written does not make a build fail. A value without any "=" is a list of
references of registries. What is not supported is an error that names it.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from oci_image.digest import Digest
from oci_image.errors import ImageError
from oci_image.layer.encoders import Encoder, parse_encoder
from oci_image.reference import Reference

from ..errors import BuildError, InvalidOption, Unsupported

_T = TypeVar("_T")
_ELSEWHERE = ("gha", "s3", "azblob")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_WRITING = {
    "mode",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "image-manifest",
    "ignore-error",
    "cache-mounts",
}
_FROM = {"registry": {"ref", "registry.insecure", "mode"}, "local": {"src", "tag", "digest", "mode"}}
_TO = {
    "registry": {"ref", "registry.insecure"} | _WRITING,
    "local": {"dest", "tag", "reset"} | _WRITING,
    "inline": {"mode"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheImport:
    """
    One ``--cache-from``: a `reference` of a registry, or a directory `path` with a `tag` or a `digest` in it.

    `insecure` lets the registry be reached without TLS or a valid certificate.
    """

    reference: Reference | None = None
    path: str = ""
    tag: str = "latest"
    digest: Digest | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheExport:
    """
    One ``--cache-to``: a `reference` of a registry, a directory `path`, or neither for the image itself.

    `all_steps` is mode=max; `fatal` lets the build fail when the cache cannot be written; `reset` removes
    from the directory what its index does not name; `mounts` takes the contents of cache mounts along.
    """

    reference: Reference | None = None
    path: str = ""
    tag: str = "latest"
    insecure: bool = False
    all_steps: bool = False
    encoder: Encoder
    recompress: bool = False
    fatal: bool = False
    reset: bool = False
    mounts: bool = False

    @property
    def is_inline(self) -> bool:
        """Whether the cache is to be part of the image."""
        return self.reference is None and not self.path


def read_imports(texts: Iterable[str]) -> tuple[CacheImport, ...]:
    """
    The values of ``--cache-from``.

    Raises:
        InvalidOption: one is malformed.
        Unsupported: a kind of cache, or an option of one, that is not supported.
    """
    return tuple(_import(one) for text in texts for one in _values(text, "--cache-from", _FROM))


def read_exports(texts: Iterable[str]) -> tuple[CacheExport, ...]:
    """
    The values of ``--cache-to``.

    Raises:
        InvalidOption: one is malformed.
        Unsupported: a kind of cache, or an option of one, that is not supported.
    """
    return tuple(_export(one) for text in texts for one in _values(text, "--cache-to", _TO))


def inline_export() -> CacheExport:
    """The same as ``--cache-to type=inline``."""
    return read_exports(["type=inline"])[0]


@dataclass(frozen=True, slots=True)
class _Value:
    """One cache as it was written; every error begins with `shown`."""

    shown: str
    kind: str
    fields: Mapping[str, str]

    def problem(self, message: str, hint: str | None = None) -> InvalidOption:
        return InvalidOption(f"{self.shown}: {message}", hint=hint)

    def flag(self, key: str, default: bool) -> bool:
        text = self.fields.get(key)
        if text is None:
            return default
        if text not in _TRUE and text not in _FALSE:
            raise self.problem(f"{key}={text} is neither true nor false")
        return text in _TRUE

    def only(self, key: str, value: bool) -> None:
        """Raise unless a flag that buildx has is absent or has the one value that is supported."""
        if self.flag(key, value) is not value:
            raise Unsupported(f"{self.shown}: {key}={self.fields[key]} is not supported")

    def everything(self) -> bool:
        mode = self.fields.get("mode", "min")
        if mode not in ("min", "max"):
            raise self.problem(f"mode={mode}: expected min or max")
        return mode == "max"

    def parsed(self, key: str, parse: Callable[[str], _T]) -> _T:
        try:
            return parse(self.fields[key])
        except ImageError as problem:
            raise self.problem(problem.message, problem.hint) from problem


def _values(text: str, option: str, known: Mapping[str, set[str]]) -> list[_Value]:
    shown = f"{option} {text}"
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as problem:
        raise InvalidOption(f"{shown}: {problem}") from problem
    if not fields or not all(fields):
        raise InvalidOption(f"{shown}: a part of it is empty", hint=f"as in {option} type=registry,ref=NAME")
    if not any("=" in field for field in fields):
        return [_Value(shown, "registry", {"ref": field}) for field in fields]
    values: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals:
            raise InvalidOption(f"{shown}: {field!r} is not of the form key=value")
        values[key.strip().lower()] = value
    kind = values.pop("type", "registry" if "ref" in values else "")
    _check(shown, kind, values, known)
    return [_Value(shown, kind, values)]


def _check(shown: str, kind: str, values: Mapping[str, str], known: Mapping[str, set[str]]) -> None:
    if kind in _ELSEWHERE:
        raise Unsupported(
            f"{shown}: caches of type={kind} are not supported", hint="use type=registry or type=local"
        )
    if kind not in known:
        hint = "an inline cache is imported from its image: type=registry,ref=IMAGE"
        raise InvalidOption(
            f"{shown}: type={kind}: expected one of {', '.join(known)}"
            if kind
            else f"{shown}: the type is missing",
            hint=hint if kind == "inline" else None,
        )
    unknown = sorted(set(values) - known[kind])
    if unknown:
        raise Unsupported(f"{shown}: {unknown[0]} is not supported with type={kind}")


def _import(value: _Value) -> CacheImport:
    value.everything()  # means nothing here, as with buildx, but has to be one of the two
    if value.kind == "registry":
        return CacheImport(reference=_reference(value), insecure=value.flag("registry.insecure", False))
    digest = value.parsed("digest", Digest.parse) if "digest" in value.fields else None
    return CacheImport(path=_path(value, "src"), tag=_tag(value), digest=digest)


def _export(value: _Value) -> CacheExport:
    if value.kind == "inline":
        if value.everything():
            raise Unsupported(f"{value.shown}: mode=max is not supported with type=inline")
        return CacheExport(encoder=parse_encoder("uncompressed"))
    remote = value.kind == "registry"
    if remote and _reference(value).digest is not None:
        raise value.problem("a cache is exported to a tag, not to a digest")
    value.only("oci-mediatypes", True)
    value.only("image-manifest", True)
    return CacheExport(
        reference=_reference(value) if remote else None,
        insecure=remote and value.flag("registry.insecure", False),
        path="" if remote else _path(value, "dest"),
        tag="latest" if remote else _tag(value),
        all_steps=value.everything(),
        encoder=_encoder(value),
        recompress=value.flag("force-compression", False),
        fatal=not value.flag("ignore-error", True),
        reset=value.flag("reset", False),
        mounts=value.flag("cache-mounts", False),
    )


def _reference(value: _Value) -> Reference:
    if not value.fields.get("ref"):
        raise value.problem("ref=NAME is missing")
    return value.parsed("ref", Reference.parse)


def _path(value: _Value, key: str) -> str:
    if not value.fields.get(key):
        raise value.problem(f"{key}=DIRECTORY is missing")
    return os.path.abspath(value.fields[key])


def _tag(value: _Value) -> str:
    tag = value.fields.get("tag", "latest")
    if not _TAG.fullmatch(tag):
        raise value.problem(f"tag={tag} is no tag")
    return tag


def _encoder(value: _Value) -> Encoder:
    kind = value.fields.get("compression", "gzip")
    level = value.fields.get("compression-level")
    try:
        if kind == "estargz":
            raise Unsupported(f"{value.shown}: compression=estargz is not supported")
        return parse_encoder(kind if level is None else f"{kind}:{level}")
    except BuildError:
        raise
    except ImageError as problem:
        raise value.problem(problem.message, problem.hint) from problem
