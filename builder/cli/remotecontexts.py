"""
Main build contexts that are no directory here: git repositories, files behind URLs, and standard input.

Dockerfiles behind URLs, too, which may come with any context.

They become a directory that goes with the call. What is no archive is the Dockerfile, with an empty context.
Standard input is kept in a file in its place, so that it can be read again after the command line has entered
a user namespace.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

from ..errors import InvalidContext, InvalidOption
from ..sources.fetching import Fetcher
from ..sources.remote import UrlSource, is_url, parse_git, without_credentials
from .archives import naming
from .granted import read_granted
from .inputs import (
    DOCKERFILE_LIMIT,
    DOCKERFILES,
    Inputs,
    build_args,
    context_directory,
    is_address,
    is_remote,
    read_inputs,
)
from .settings import Settings

_STDIN = "-"
_START = 512


@contextmanager
def fetched_inputs(
    args: argparse.Namespace, environment: Mapping[str, str], settings: Settings
) -> Iterator[Inputs]:
    """
    What to build, as long as the block runs.

    Raises:
        BuildError: it is not to be had.
        InvalidOption: flags contradict the context.
    """
    from ..local import LocalStore
    from .progress.open import open_progress
    from .reentry import Entry
    from .wiring import open_host

    if args.context == _STDIN and args.file == "-":
        raise InvalidOption("standard input cannot be the build context and the Dockerfile at once")
    secrets = read_granted(args, environment).secrets
    if args.context == _STDIN:
        _keep_standard_input()
    Entry(settings).enter()
    with (
        open_progress(args.progress, sys.stderr, color=settings.color) as progress,
        open_host(settings, LocalStore(settings.root), progress) as host,
    ):
        fetcher = Fetcher(replace(host, network=replace(host.network, secrets=secrets)), progress, {})
        try:
            found, seconds = _found(args, fetcher, environment)
            dockerfile = _fetched(args.file, fetcher) if is_address(args.file) else None
        except BaseException:
            fetcher.close()
            raise
    try:
        inputs = _inputs(found, dockerfile, fetcher, args, environment)
        inputs.context_time = seconds
        yield inputs
    finally:
        fetcher.close()


def _found(
    args: argparse.Namespace, fetcher: Fetcher, environment: Mapping[str, str]
) -> tuple[str | bytes, int | None]:
    """The directory of a context, or the bytes of a Dockerfile; and its time."""
    import asyncio

    if not is_remote(args.context):
        return context_directory(args.context), None
    if args.context == _STDIN:
        found = _opened(sys.stdin.buffer, fetcher, "standard input")
        wanted = isinstance(found, str) and _wants_time(found, args, environment)
        return found, _newest_of_standard_input() if wanted else None
    git = parse_git(args.context, context=True)
    if git is not None:
        keep = build_args(args.build_arg, environment).get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "")
        directory = fetcher.directory_of(args.context, keep_git_dir=keep.lower() in ("1", "true"))
        return asyncio.run(directory), asyncio.run(fetcher.time_of(git))
    if not is_url(args.context):
        raise InvalidContext(
            f"the build context {without_credentials(args.context)} is nothing that can be fetched",
            hint='expected a directory, a git repository, an http or https URL, or "-"',
        )
    source = UrlSource(url=args.context)
    file = asyncio.run(fetcher.fetch_file(source))
    with fetcher.open_blob(file.digest) as stream:
        found = _opened(stream, fetcher, without_credentials(args.context))
    wanted = isinstance(found, str) and _wants_time(found, args, environment)
    return found, asyncio.run(fetcher.time_of(source)) if wanted else None


def _wants_time(directory: str, args: argparse.Namespace, environment: Mapping[str, str]) -> bool:
    """Whether anything may ask for the time of an archive, which has to be read once more for it."""
    name = "SOURCE_DATE_EPOCH"
    values = {**environment, **build_args(args.build_arg, environment)}
    if name in values:
        return values[name] == "context"
    try:
        with open(os.path.join(directory, args.file or "Dockerfile"), "rb") as stream:
            return name.encode() in stream.read(DOCKERFILE_LIMIT)
    except OSError:
        return True


def _newest_of_standard_input() -> int | None:
    from ..sources.archives import newest_entry

    # The stream was closed with what unpacked it; the descriptor below is still open.
    with os.fdopen(os.dup(0), "rb") as stream:
        stream.seek(0)
        return newest_entry(stream)


def _opened(stream: BinaryIO, fetcher: Fetcher, name: str) -> str | bytes:
    from ..sources.archives import is_archive

    start = stream.read(_START)
    stream.seek(0)
    if is_archive(start):
        with naming(name):
            return fetcher.unpacked(stream)
    raw = stream.read(DOCKERFILE_LIMIT + 1)
    hint = "it should be a Dockerfile, or an archive with one"
    if not raw.strip():
        raise InvalidContext(f"{name} is empty", hint=hint)
    if _is_binary(raw[:_START]):
        raise InvalidContext(f"{name} is neither a Dockerfile nor an archive", hint=hint)
    return raw


def _is_binary(start: bytes) -> bool:
    """Whether bytes are surely no text, whatever its encoding: control characters that no text has."""
    return any(byte < ord(" ") and byte not in b"\t\n\v\f\r\x1b" for byte in start)


def _keep_standard_input() -> None:
    """Put a file with its content in its place, to be read from the beginning; a file stays as it is."""
    if sys.stdin.buffer.seekable():
        sys.stdin.buffer.seek(0)
        return
    with tempfile.TemporaryFile() as spool:
        while data := sys.stdin.buffer.read(1 << 20):
            spool.write(data)
        spool.flush()
        spool.seek(0)
        os.dup2(spool.fileno(), 0, inheritable=True)
    sys.stdin = os.fdopen(0, closefd=False)


def _fetched(address: str, fetcher: Fetcher) -> bytes:
    import asyncio

    file = asyncio.run(fetcher.fetch_file(UrlSource(url=address)))
    with fetcher.open_blob(file.digest) as stream:
        raw = stream.read(DOCKERFILE_LIMIT + 1)
    if len(raw) > DOCKERFILE_LIMIT:
        raise InvalidContext(
            f"the Dockerfile {without_credentials(address)} is larger than {DOCKERFILE_LIMIT} bytes"
        )
    return raw


def _inputs(
    found: str | bytes,
    dockerfile: bytes | None,
    fetcher: Fetcher,
    args: argparse.Namespace,
    environment: Mapping[str, str],
) -> Inputs:
    values = build_args(args.build_arg, environment)
    if dockerfile is not None and isinstance(found, str):
        return Inputs(found, dockerfile, without_credentials(args.file), None, values)
    if isinstance(found, bytes):
        if args.file:
            raise InvalidOption(f"-f {args.file}: the context is itself the Dockerfile")
        return Inputs(fetcher.new_directory("empty"), found, "Dockerfile", None, values)
    written = args.file
    if written and written != "-":
        path = os.path.join(found, written)
        if not os.path.realpath(path).startswith(f"{os.path.realpath(found)}/"):
            raise InvalidContext(f"the Dockerfile {written} is outside of the build context")
        if not os.path.exists(path):
            raise InvalidContext(f"the build context has no file {written}", hint="-f is a path in it")
        args.file = path
    elif not written and not any(os.path.exists(os.path.join(found, name)) for name in DOCKERFILES):
        raise InvalidContext("the build context has no Dockerfile", hint="name another file in it with -f")
    args.context = found
    inputs = read_inputs(args, environment)
    if written:
        inputs.name = written
    elif inputs.path and os.path.realpath(inputs.path) != os.path.join(
        os.path.realpath(found), os.path.basename(inputs.path)
    ):
        raise InvalidContext("the Dockerfile is a link; name the file that it leads to with -f")
    return inputs
