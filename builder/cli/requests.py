"""Arguments of ``pybuild build``, and what they name, into a `BuildRequest`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import InvalidOption, Unsupported
from ..request import Annotation, BuildRequest, Output
from .granted import read_bounds, read_entitlements, read_hosts
from .inputs import Inputs
from .settings import Settings

if TYPE_CHECKING:
    from oci_image.platform import Platform
    from oci_image.reference import Reference

    from ..cachetransfer.options import CacheExport, CacheImport
    from ..devices.allowing import AllowedDevices

_EPOCH = "SOURCE_DATE_EPOCH"
_SCHEMES = ("docker-image", "oci-layout", "http", "https", "git", "ssh")
"""What the address of a named build context may begin with."""


def read_request(args: argparse.Namespace, inputs: Inputs, settings: Settings) -> BuildRequest:
    """
    Check the arguments.

    Raises:
        InvalidOption: an argument is wrong.
        Unsupported: an argument that this version does not take.
    """
    if args.compression != "gzip":
        _check_compression(args.compression)
    if args.network not in ("default", "none", "host", "private"):
        raise InvalidOption(f"--network {args.network}: expected default, none, host or private")
    build_args = inputs.build_args
    _check_frontend(build_args.get("BUILDKIT_SYNTAX", ""))
    if _EPOCH not in build_args and settings.source_date_epoch:
        build_args = {**build_args, _EPOCH: settings.source_date_epoch}
    epoch = build_args.get(_EPOCH, "")
    tags = tuple(map(_tag, args.tag))
    outputs = _outputs(args.output)
    keeps_nothing = bool(outputs) and all(output.type == "cacheonly" for output in outputs) and not args.push
    return BuildRequest(
        context=inputs.context,
        dockerfile=inputs.dockerfile,
        dockerfile_name=inputs.name,
        dockerfile_path=inputs.path,
        tags=() if keeps_nothing else tags,
        target=args.target,
        build_args=build_args,
        build_contexts=dict(_build_context(text) for text in args.build_context),
        labels=dict(_labels(args.label)),
        platforms=_platforms(args.platform),
        as_index=_is_true("BUILDKIT_MULTI_PLATFORM", inputs.build_args),
        annotations=_annotations(args.annotation),
        squash=args.squash,
        no_cache=args.no_cache,
        pull=args.pull,
        no_cache_filter=tuple(word for text in args.no_cache_filter for word in text.split(",") if word),
        network=args.network,
        add_hosts=read_hosts(args.add_host),
        bounds=read_bounds(args),
        entitlements=read_entitlements(args.allow),
        devices=_devices(args.allow),
        # A word stands for a time that only planning finds.
        epoch=parse_epoch(epoch) if epoch[:1].isdigit() else None,
        context_time=inputs.context_time,
        outputs=outputs,
        push=args.push,
        compression=args.compression,
        cache_from=_imports(args.cache_from),
        cache_to=_exports(args.cache_to, inputs.build_args),
    )


def _devices(texts: list[str]) -> AllowedDevices | None:
    if not any(text.startswith("device") for text in texts):
        return None
    from ..devices.allowing import read_allowed

    return read_allowed(texts)


def _tag(text: str) -> Reference:
    from oci_image.reference import Reference

    name = Reference.parse(text)
    if name.digest is not None:
        raise InvalidOption(
            f"--tag {text}: a name with a digest cannot be given", hint="leave the digest out"
        )
    return name


def _check_compression(text: str) -> None:
    from oci_image.errors import ImageError
    from oci_image.layer.encoders import parse_encoder

    try:
        parse_encoder(text)
    except ImageError as problem:
        raise InvalidOption(f"--compression {text}: {problem.message}", hint=problem.hint) from problem


def _check_frontend(text: str) -> None:
    """A frontend that the build chooses has to be the one that is built in, as with the directive."""
    if not text:
        return
    from dockerfile_grammar.directives import is_built_in

    if not is_built_in(text.partition(" ")[0]):
        raise Unsupported(
            f"--build-arg BUILDKIT_SYNTAX={text}: unsupported syntax frontend",
            hint="only docker/dockerfile is built in",
        )


def _imports(texts: list[str]) -> tuple[CacheImport, ...]:
    if not texts:
        return ()
    from ..cachetransfer.options import read_imports

    return read_imports(texts)


def _exports(texts: list[str], build_args: Mapping[str, str]) -> tuple[CacheExport, ...]:
    is_inline = _is_true("BUILDKIT_INLINE_CACHE", build_args)
    if not texts and not is_inline:
        return ()
    from ..cachetransfer.options import inline_export, read_exports

    exports = read_exports(texts)
    return (*exports, inline_export()) if is_inline else exports


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
    scheme, separator, _ = value.partition("://")
    if separator and scheme not in _SCHEMES and not os.path.isdir(value):
        raise InvalidOption(
            f"--build-context {text}: {scheme}:// is not supported",
            hint=f"expected one of {', '.join(_SCHEMES)}",
        )
    is_path = not (is_url(value) or "://" in value or value.startswith("target:"))
    if is_path and parse_git(value, context=True) is None:
        if not os.path.isdir(value):
            raise InvalidOption(f"--build-context {text}: {value} is not a directory")
        value = os.path.abspath(value)
    if value.startswith("oci-layout://"):
        _check_layout(text, value)
    return name, value


def _check_layout(text: str, value: str) -> None:
    import os

    from ..named import NamedImage, read_named

    (named,) = read_named({"layout": value}).values()
    if isinstance(named, NamedImage) and not os.path.isfile(f"{named.reference.repository}/oci-layout"):
        raise InvalidOption(f"--build-context {text}: {named.reference.repository} is no OCI image layout")


def _platforms(texts: list[str]) -> tuple[Platform, ...]:
    """Each platform once; "local" is that of this machine."""
    from oci_image.errors import InvalidPlatform
    from oci_image.platform import Platform, local_platform

    found: list[Platform] = []
    for text in (word for value in texts if value.strip() for word in value.split(",")):
        try:
            found.append(local_platform() if text.strip() == "local" else Platform.parse(text))
        except InvalidPlatform as problem:
            raise InvalidOption(f"--platform {text}: {problem.message}", hint=problem.hint) from problem
    return tuple(dict.fromkeys(found))


def _annotations(texts: list[str]) -> tuple[Annotation, ...]:
    if not texts:
        return ()
    from ..exporters.annotations import parse_annotation

    return tuple(one for text in texts for one in parse_annotation(text))


def _outputs(texts: list[str]) -> tuple[Output, ...]:
    if not texts:
        return ()
    from ..exporters.options import parse_output

    return tuple(parse_output(text) for text in texts)


def _is_true(name: str, build_args: Mapping[str, str]) -> bool:
    """Whether something is asked for by an argument of BuildKit."""
    text = build_args.get(name, "")
    if not text:
        return False
    from dockerfile_grammar.golang import parse_bool

    try:
        return parse_bool(text)
    except ValueError as problem:
        raise InvalidOption(f"--build-arg {name}={text}: {problem}") from problem


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
