"""
A recorded build on the command line: which record answers a call, and how a replay is shown.

What is written is what a build that is all cached writes after planning; `progress` is not used for it, since
its renderers need the whole of the builder, but a test holds the two together. See
builder/decisions/0006-recorded-builds.md.
"""

from __future__ import annotations

import json
import os
import sys

from ..caching import replay
from .inputs import ignore_file
from .roots import VERSION, shows_color

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take the name for True; importing typing would take long
    import argparse
    from collections.abc import Mapping
    from typing import Any

    from .inputs import Inputs


def record_key(args: argparse.Namespace, inputs: Inputs, environment: Mapping[str, str]) -> str:
    """
    The key of a call's record; "" for calls that are never answered from one.

    It covers every argument that can change the image or what is reported of it, the bytes of the Dockerfile
    and of the ignore file, and this machine's platform.
    """
    if args.no_cache or args.pull or args.push or args.output or args.plan or args.no_cache_filter:
        return ""
    bounds = (
        *(args.shm_size, args.ulimit, args.cgroup_parent, args.memory, args.memory_swap, args.cpu_shares),
        *(args.cpu_period, args.cpu_quota, args.cpuset_cpus, args.cpuset_mems),
    )
    if args.build_context or args.secret or args.ssh or any(bounds):
        return ""  # no part of any key, but what is wrong with them has to be told every time
    if len(args.platform) > 1 or "," in "".join(args.platform) or args.annotation or args.squash:
        return ""
    if args.cache_from or args.cache_to:
        return ""
    if args.compression != "gzip" or not _is_plain_size(
        args.cache_limit or environment.get("PYBUILD_CACHE_LIMIT", "")
    ):
        return ""  # no part of the key either
    if "BUILDKIT_MULTI_PLATFORM" in inputs.build_args or "BUILDKIT_INLINE_CACHE" in inputs.build_args:
        return ""
    try:
        ignored = ignore_file(inputs)
    except OSError:
        return ""
    machine = os.uname()
    return replay.key_of(
        [
            VERSION,
            [machine.sysname, machine.machine],
            os.path.realpath(inputs.context),
            [inputs.name, inputs.dockerfile.hex()],
            None if ignored is None else ignored.hex(),
            sorted(inputs.build_args.items()),
            environment.get("SOURCE_DATE_EPOCH"),
            [args.target, args.platform, args.network, args.label, args.tag, args.add_host, args.allow],
        ]
    )


def _is_plain_size(text: str) -> bool:
    """Whether a text is surely a size, or nothing."""
    digits = text.rstrip("BbGgKkMm")
    return not text or (digits.isdecimal() and len(text) - len(digits) <= 1)


def replayed(
    root: str, key: str, args: argparse.Namespace, inputs: Inputs, environment: Mapping[str, str]
) -> bool:
    """Answer the call from its record, if that holds."""
    kind, color = args.progress, shows_color(environment)
    if kind == "auto":
        kind = "tty" if sys.stderr.isatty() and color else "plain"
    if (kind == "tty" and not sys.stderr.isatty()) or kind == "rawjson":
        return False  # the picture for what is no terminal is rich's alone, BuildKit's form has the graph
    record = replay.find(root, key, inputs.context)
    if record is None:
        return False
    is_tty = kind == "tty"
    sys.stderr.write(_picture(record, _width(environment), color=color) if is_tty else _LINES[kind](record))
    sys.stderr.flush()
    from .report import report

    report(record["answer"], {}, args)
    return True


def _plain(record: Mapping[str, Any]) -> str:
    steps = enumerate(record["steps"], 1)
    shown = "".join(f"#{number} {title}\n#{number} CACHED\n\n" for number, (_, title, _) in steps)
    warnings = "".join(f"WARN: {text}\n" for text in record["notices"])
    return shown + warnings + _summary(record)


def _quiet(record: Mapping[str, Any]) -> str:
    del record
    return ""


def _summary(record: Mapping[str, Any]) -> str:
    from .report import summary

    return summary(record["notices"])


def _json(record: Mapping[str, Any]) -> str:
    events: list[dict[str, object]] = [
        {"event": "step-cached", "step": digest, "name": title, "line": line}
        for digest, title, line in record["steps"]
    ]
    events += [{"event": "notice", "level": "warning", "text": text} for text in record["notices"]]
    return "".join(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n" for event in events)


def _picture(record: Mapping[str, Any], width: int, *, color: bool) -> str:
    """The picture that a live one on a terminal ends with; nothing moves."""
    blue, yellow, plain = ("\x1b[34m", "\x1b[33m", "\x1b[0m") if color else ("", "", "")
    steps = record["steps"]
    lines = [f"[+] Building 0.0s ({len(steps)}/{len(steps)}) FINISHED"] if steps else []
    width = max(20, width - 3)
    for _, title, _ in steps:
        text = " => CACHED " + title.replace("\n", " ")
        lines.append(f"{blue}{_fitted(text, width - len(' 0.0s'))}{plain} 0.0s")
    lines += [f"{yellow}WARN: {text}{plain}" for text in record["notices"]]
    return "".join(line + "\n" for line in lines) + _summary(record)


def _fitted(text: str, width: int) -> str:
    """A text in exactly so many cells of a terminal, its end cut off for an ellipsis where it is too long."""
    if text.isascii():
        return text.ljust(width) if len(text) <= width else text[: max(0, width - 1)] + "…"
    import unicodedata

    def cells(char: str) -> int:
        if unicodedata.combining(char):
            return 0
        return 2 if unicodedata.east_asian_width(char) in "WF" else 1

    if sum(map(cells, text)) > width:
        while text and sum(map(cells, text)) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - sum(map(cells, text)))


def _width(environment: Mapping[str, str]) -> int:
    columns = environment.get("COLUMNS", "")
    # A terminal without a size says 0; the live picture takes it for 80 columns as well.
    return int(columns) if columns.isdigit() else os.get_terminal_size(sys.stderr.fileno()).columns or 80


_LINES = {"plain": _plain, "quiet": _quiet, "json": _json}
