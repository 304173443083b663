"""Arguments of ``pybuild build`` into a `BuildRequest`; reads the Dockerfile, nothing else of the context."""

from __future__ import annotations

import argparse
import os
import sys

from ..errors import InvalidContext, InvalidOption, Unsupported
from ..request import BuildRequest, Output
from .settings import Settings

DOCKERFILE_LIMIT = 32 << 20
_TYPES = ("image", "registry", "oci", "docker", "tar", "local")


def read_request(args: argparse.Namespace, settings: Settings) -> BuildRequest:
    """
    Check the arguments and read the Dockerfile.

    Raises:
        InvalidContext: the context or the Dockerfile cannot be read.
        InvalidOption: an argument is wrong.
        Unsupported: an argument that this version does not take.
    """
    from oci_image.platform import Platform
    from oci_image.reference import Reference

    context = _context(args.context)
    raw, name, path = _dockerfile(args, context)
    if args.network not in ("default", "none", "host", "private"):
        raise InvalidOption(f"--network {args.network}: expected default, none, host or private")
    build_args = dict(_pairs(args.build_arg, "--build-arg", settings.environment))
    epoch = build_args.get("SOURCE_DATE_EPOCH") or settings.source_date_epoch
    return BuildRequest(
        context=context,
        dockerfile=raw,
        dockerfile_name=name,
        dockerfile_path=path,
        tags=tuple(Reference.parse(text) for text in args.tag),
        target=args.target,
        build_args=build_args,
        labels=dict(_labels(args.label)),
        platform=_platform(args.platform, Platform),
        no_cache=args.no_cache,
        pull=args.pull,
        network=args.network,
        epoch=parse_epoch(epoch),
        outputs=tuple(_output(text) for text in args.output),
        push=args.push,
        compression=args.compression,
    )


def _context(text: str) -> str:
    if text == "-":
        raise Unsupported(
            "a build context from standard input is not supported",
            hint="unpack it into a directory and name that",
        )
    if "://" in text or text.startswith(("git@", "github.com/")):
        raise Unsupported(
            f"a remote build context is not supported: {text}",
            hint="clone or download it, then name the directory",
        )
    if not os.path.isdir(text):
        found = "is not a directory" if os.path.exists(text) else "does not exist"
        raise InvalidContext(f"the build context {text} {found}")
    return os.path.abspath(text)


def _dockerfile(args: argparse.Namespace, context: str) -> tuple[bytes, str, str | None]:
    if args.file == "-":
        raw = sys.stdin.buffer.read(DOCKERFILE_LIMIT + 1)
        return _bounded(raw, "standard input"), "-", None
    if args.file:
        path = args.file
    else:
        path = os.path.join(context, "Dockerfile")
        if not os.path.exists(path) and os.path.exists(os.path.join(context, "Containerfile")):
            path = os.path.join(context, "Containerfile")
    name = args.file or os.path.basename(path)
    try:
        with open(path, "rb") as stream:
            raw = stream.read(DOCKERFILE_LIMIT + 1)
    except FileNotFoundError as problem:
        raise InvalidContext(
            f"cannot read the Dockerfile: {path} does not exist",
            hint="name it with -f FILE" if not args.file else None,
        ) from problem
    except OSError as problem:
        raise InvalidContext(f"cannot read the Dockerfile: {path}: {problem.strerror}") from problem
    return _bounded(raw, path), name, os.path.abspath(path)


def _bounded(raw: bytes, where: str) -> bytes:
    if len(raw) > DOCKERFILE_LIMIT:
        raise InvalidContext(f"the Dockerfile {where} is larger than {DOCKERFILE_LIMIT} bytes")
    return raw


def _pairs(texts: list[str], flag: str, environment: dict[str, str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise InvalidOption(f"{flag} {text!r}: the name is empty")
        if equals:
            pairs.append((name, value))
        elif name in environment:
            pairs.append((name, environment[name]))
        # A bare name that the environment does not have is not passed at all, as docker does.
    return pairs


def _labels(texts: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise InvalidOption(f"--label {text!r}: the key is empty")
        pairs.append((key, value))
    return pairs


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
