"""
What a finished build leaves for scripts: the image ID on standard output, ``--iidfile``, ``--metadata-file``.

Used by builds and by replays of recorded ones, so it takes plain values and imports next to nothing.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take the name for True; importing typing would take long
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import Any


def report(
    answer: Mapping[str, Any],
    pushed: Mapping[str, Mapping[str, Any]],
    args: argparse.Namespace,
    *,
    is_taken: bool = False,
) -> None:
    """
    Write everything that was asked for.

    Args:
        answer: the image's "id", its "descriptor" as JSON, its "names" and how many "steps" there were.
        pushed: descriptors of manifests as JSON, by the names that were pushed.
        args: of the call.
        is_taken: whether an archive went to standard output, which must not be followed by anything.

    Raises:
        BuildError: a file cannot be written.
    """
    if args.iidfile:
        write_file(args.iidfile, answer["id"])
    if args.metadata_file:
        is_index = answer["id"] == answer["descriptor"]["digest"]  # which has no configuration
        # What a registry has is told rather than what lies here, where layers are not compressed.
        manifest = next(iter(pushed.values()), answer["descriptor"])
        value = {
            **({} if is_index else {"containerimage.config.digest": answer["id"]}),
            "containerimage.digest": manifest["digest"],
            "containerimage.descriptor": manifest,
            "image.name": answer["names"],
            "pybuild.pushed": {name: pushed[name]["digest"] for name in pushed},
            "pybuild.steps": answer["steps"],
        }
        write_file(args.metadata_file, json.dumps(value, indent=2) + "\n")
    print(answer["id"], file=sys.stderr if is_taken else sys.stdout)


def summary(warnings: Sequence[str]) -> str:
    """The line below the warnings of a build, "" without any."""
    if not warnings:
        return ""
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    checks = " (use --check to expand)" if any(" (line " in text for text in warnings) else ""
    return f"{count} found{checks}\n"


def write_file(path: str, text: str) -> None:
    """
    Write a small file atomically; what is no regular file, such as /dev/null, stays what it is.

    Raises:
        BuildError: it cannot be written.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        _write_through(path, text)
        return
    temporary = f"{os.path.abspath(path)}.{os.urandom(4).hex()}.tmp"
    try:
        stream = open(temporary, "x", encoding="utf-8")  # noqa: SIM115 - what was not made is not removed
        try:
            with stream:
                stream.write(text)
            os.replace(temporary, path)
        except BaseException:
            from contextlib import suppress

            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as problem:
        from ..errors import BuildError

        raise BuildError(f"cannot write {path}: {problem.strerror}") from problem


def _write_through(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as problem:
        from ..errors import BuildError

        raise BuildError(f"cannot write {path}: {problem.strerror}") from problem
