"""``pybuild build`` (and ``pybuild CONTEXT``): flags as ``docker build`` has them."""

from __future__ import annotations

import argparse
import os
import sys

from ..inputs import Inputs, is_address, is_remote, read_inputs
from ..replaying import record_key, replayed
from ..roots import store_root

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take the name for True; importing typing would take long
    from collections.abc import Mapping
    from typing import NoReturn

DESCRIPTION = "Build an image from a Dockerfile and a build context."


_SOURCE_POLICY = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"
_SKIPPED_WHEN_EMPTY = (
    *("build_context", "secret", "ssh", "add_host", "no_cache_filter", "allow", "output", "annotation"),
    *("cache_from", "cache_to"),
)
"""Flags that docker skips without a value, as scripts give them: ``--secret "$SECRET"``."""


class _Misread(Exception):
    """The arguments cannot be read as they are."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process: what cannot be read may be a word of docker's."""

    def error(self, message: str) -> NoReturn:
        raise _Misread(message)


def read(arguments: list[str]) -> argparse.Namespace:
    """
    The arguments as ours, with those that only docker's command line has translated or refused.

    Raises:
        BuildError: a flag of docker's is not supported.
        SystemExit: wrong usage, which is explained.
    """
    p = parser()
    try:
        # argparse takes "-q=false" for several letters.
        return p.parse_args(["--misread"] if any(word.startswith("-q=") for word in arguments) else arguments)
    except _Misread:
        pass
    from ..dockerflags import suggestion, translated

    words = translated(arguments)
    try:
        return p.parse_args(words)
    except _Misread as problem:
        known = p._option_string_actions  # noqa: SLF001 - argparse tells it in no other way
        argparse.ArgumentParser.error(p, f"{problem}{suggestion(words, known)}")


def parser() -> argparse.ArgumentParser:
    """The options of the verb."""
    from ..options import add_caches, add_granted, add_progress, add_root, formatter

    p = _Parser(
        prog="pybuild",
        usage="pybuild [OPTIONS] CONTEXT",
        description=DESCRIPTION,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    add_root(p)
    p.add_argument(
        "context", metavar="CONTEXT", help='build context: a directory, git repository, URL or "-"'
    )
    p.add_argument("-t", "--tag", action="append", default=[], metavar="NAME[:TAG]", help="name of the image")
    p.add_argument(
        "-f", "--file", metavar="FILE", help='Dockerfile (default CONTEXT/Dockerfile; "-" is stdin)'
    )
    p.add_argument("--build-arg", action="append", default=[], metavar="NAME[=VALUE]", help="value of an ARG")
    p.add_argument("--target", default="", metavar="STAGE", help="stage to build (default the last one)")
    p.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH[,OS/ARCH]",
        help="platforms to build for; several make an image index",
    )
    p.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="label of the image")
    p.add_argument("--no-cache", action="store_true", help="run every step again")
    p.add_argument("--pull", action="store_true", help="ask the registry for newer base images")
    p.add_argument(
        "--network",
        default="default",
        metavar="MODE",
        help="network of RUN: default, none, host or private",
    )
    add_granted(p)
    add_caches(p)
    add_progress(p)
    p.add_argument("--iidfile", metavar="FILE", help="write the image ID to the file")
    p.add_argument("--metadata-file", metavar="FILE", help="write digests as JSON to the file")
    p.add_argument("--push", action="store_true", help="push the image to the registries in its names")
    p.add_argument(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="type=TYPE[,dest=PATH]",
        help="where the result goes: image, registry, oci, docker, tar, local or cacheonly",
    )
    p.add_argument(
        "--annotation",
        action="append",
        default=[],
        metavar="[LEVEL:]KEY=VALUE",
        help="annotation of the manifest, manifest-descriptor, index or index-descriptor",
    )
    p.add_argument("--squash", action="store_true", help="join the layers of this build into one")
    p.add_argument(
        "--compression",
        default="gzip",
        metavar="KIND",
        help="of layers that leave the store: gzip (same bytes everywhere), gzip-fast, zstd, uncompressed",
    )
    p.add_argument("--plan", action="store_true", help="print the plan and stop")
    p.add_argument(
        "--call",
        default="build",
        metavar="METHOD[,format=json]",
        help="what to do with the Dockerfile: build, check, outline or targets",
    )
    p.add_argument("--check", action="store_const", dest="call", const="check", help="short for --call=check")
    return p


def main(arguments: list[str]) -> int:
    """Run the verb."""
    args = read(arguments)
    for name in _SKIPPED_WHEN_EMPTY:
        setattr(args, name, [text for text in getattr(args, name) if text])
    _add_defaults(args, os.environ)
    builds = args.call == "build" and not args.plan
    if args.iidfile and builds:
        # Gone before the build, so that a failed one never leaves the ID of an earlier image.
        _remove(args.iidfile)
    environment = dict(os.environ)
    if is_remote(args.context) or is_address(args.file):
        from ..remotecontexts import fetched_inputs
        from ..settings import Settings

        with fetched_inputs(args, environment, Settings.read(args.root)) as inputs:
            return _run(args, inputs, environment, "")
    inputs = read_inputs(args, environment)
    key = record_key(args, inputs, environment) if builds else ""
    if key and replayed(store_root(args.root, environment), key, args, inputs, environment):
        return 0
    return _run(args, inputs, environment, key)


def _add_defaults(args: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """
    What docker's command line takes from the environment unless a flag says it.

    Raises:
        Unsupported: what a variable asks for is not done.
    """
    if environment.get(_SOURCE_POLICY):
        from ...errors import Unsupported

        raise Unsupported(
            f"{_SOURCE_POLICY} is not supported: sources are not judged by policies",
            hint="a build that ignored the policy would be no help: remove the variable from the environment",
        )
    if not args.platform and environment.get("DOCKER_DEFAULT_PLATFORM"):
        args.platform = [environment["DOCKER_DEFAULT_PLATFORM"]]
    if args.progress == "auto" and environment.get("BUILDKIT_PROGRESS"):
        kind = environment["BUILDKIT_PROGRESS"]
        if kind in ("plain", "tty", "json", "rawjson", "quiet", "none"):  # docker ignores others, too
            args.progress = "quiet" if kind == "none" else kind


def _run(args: argparse.Namespace, inputs: Inputs, environment: dict[str, str], key: str) -> int:
    # Everything else is loaded only now: above this line each import counts.
    from ..building import build
    from ..granted import read_granted
    from ..requests import read_request
    from ..settings import Settings

    def same_key() -> str:
        return key if key and record_key(args, inputs, environment) == key else ""

    settings = Settings.read(args.root)
    request = read_request(args, inputs, settings)
    if args.call != "build" or args.plan:
        from ..calling import PLAN, Call, answer, parse_call

        call = Call(method=PLAN, is_json=args.progress == "json") if args.plan else parse_call(args.call)
        if call.method != "build":
            return answer(call, request, settings, args)
    return build(request, args, settings, read_granted(args, environment), key=same_key)


def _remove(path: str) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        return  # /dev/null, a pipe: there is no ID in it
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as problem:
        print(f"error: --iidfile {path}: {problem.strerror}", file=sys.stderr)
        raise SystemExit(2) from problem
