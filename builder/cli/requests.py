"""Arguments of ``pybuild build``, and what they name, into a `BuildRequest`."""

from __future__ import annotations

import argparse

from ..errors import InvalidOption, Unsupported
from ..request import BuildRequest, Output
from .granted import read_bounds, read_entitlements, read_hosts
from .inputs import Inputs
from .settings import Settings

_TYPES = ("image", "registry", "oci", "docker", "tar", "local")


def read_request(args: argparse.Namespace, inputs: Inputs, settings: Settings) -> BuildRequest:
    """
    Check the arguments.

    Raises:
        InvalidOption: an argument is wrong.
        Unsupported: an argument that this version does not take.
    """
    from oci_image.platform import Platform
    from oci_image.reference import Reference

    if args.network not in ("default", "none", "host", "private"):
        raise InvalidOption(f"--network {args.network}: expected default, none, host or private")
    epoch = inputs.build_args.get("SOURCE_DATE_EPOCH") or settings.source_date_epoch
    return BuildRequest(
        context=inputs.context,
        dockerfile=inputs.dockerfile,
        dockerfile_name=inputs.name,
        dockerfile_path=inputs.path,
        tags=tuple(Reference.parse(text) for text in args.tag),
        target=args.target,
        build_args=inputs.build_args,
        build_contexts=dict(_build_context(text) for text in args.build_context),
        labels=dict(_labels(args.label)),
        platform=_platform(args.platform, Platform),
        no_cache=args.no_cache,
        pull=args.pull,
        no_cache_filter=tuple(args.no_cache_filter),
        network=args.network,
        add_hosts=read_hosts(args.add_host),
        bounds=read_bounds(args),
        entitlements=read_entitlements(args.allow),
        epoch=parse_epoch(epoch),
        outputs=tuple(_output(text) for text in args.output),
        push=args.push,
        compression=args.compression,
    )


def _labels(texts: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise InvalidOption(f"--label {text!r}: the key is empty")
        pairs.append((key, value))
    return pairs


def _build_context(text: str) -> tuple[str, str]:
    import os

    from ..sources.remote import is_url, parse_git

    name, _, value = text.partition("=")
    if not name or not value:
        raise InvalidOption(f"--build-context {text}: expected NAME=VALUE", hint="as in src=../src")
    is_path = not (is_url(value) or "://" in value or value.startswith("target:"))
    if is_path and parse_git(value, context=True) is None:
        if not os.path.isdir(value):
            raise InvalidOption(f"--build-context {text}: {value} is not a directory")
        value = os.path.abspath(value)
    return name, value


def _platform(text: str | None, kind: type):  # type: ignore[no-untyped-def]  # noqa: ANN202 - Platform | None
    if not text:
        return None
    if "," in text:
        raise Unsupported(
            "several platforms in one build are not supported; name one", hint=f"--platform {text}"
        )
    return kind.parse(text)  # type: ignore[attr-defined]


def parse_epoch(text: str | None) -> int | None:
    """
    SOURCE_DATE_EPOCH as seconds; None when it is not given.

    Raises:
        InvalidOption: it is no such number.
    """
    if text is None or text == "":
        return None
    if not text.isdigit() or int(text) > 253_402_300_799:
        raise InvalidOption(
            f"SOURCE_DATE_EPOCH={text}: expected whole seconds since 1970, at most the end of the year 9999"
        )
    return int(text)


def _output(text: str) -> Output:
    if "=" not in text:
        # docker's short forms: "-" is a tar on stdout, a path a local directory.
        return Output(type="tar", dest="-") if text == "-" else Output(type="local", dest=text)
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidOption(f"--output {text}: {part!r} is not of the form key=value")
        values[key.strip().lower()] = value
    kind = values.pop("type", "")
    dest = values.pop("dest", "")
    if kind not in _TYPES:
        raise InvalidOption(f"--output type={kind}: expected one of {', '.join(_TYPES)}")
    if kind in ("oci", "docker", "tar", "local") and not dest:
        raise InvalidOption(f"--output type={kind}: dest=PATH is missing")
    known = {"image": {"name", "push"}, "registry": {"name"}}.get(kind, {"name"})
    unknown = sorted(set(values) - known - {"compression"})
    if unknown:
        raise Unsupported(f"--output type={kind}: {unknown[0]} is not supported")
    return Output(type=kind, dest=dest, attributes=values)
