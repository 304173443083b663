"""``pybuild registry gc | scrub | rm | readonly | status | fsck``: looking after a registry's directory."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from ...errors import InvalidOption
from ..buckets import is_url, located
from ..options import verb
from ..settings import Settings

if TYPE_CHECKING:
    from registry.server.config import RegistryConfig
    from registry.server.housekeeping.maintenance import Ask

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SUMMARIES = {
    "gc": "Remove what no tag needs from a registry's directory.",
    "fsck": "Compare the files of a registry's directory with each other.",
    "rm": "Remove a repository from a registry's directory; the next gc frees the space.",
    "scrub": "Read everything in a registry's directory and put aside what is damaged.",
    "readonly": "Let a running registry refuse pushes and deletions, or take them again.",
    "status": "Show what a registry's directory holds and what its server does.",
}
_OPERANDS = {"rm": " REPOSITORY", "readonly": " [on|off]"}
WORDS = tuple(_SUMMARIES)


def main(word: str, arguments: list[str]) -> int:
    """Run one of the words."""
    args = _parse(word, arguments)
    config = _settings(args)
    if not config.is_bucket and not os.path.isdir(f"{config.root}/repositories"):
        raise InvalidOption(f"{config.root} is not the directory of a registry", hint="name it with --root")
    if word == "fsck" and args.rebuild:
        return _rebuild(config)
    from registry.server.housekeeping.maintenance import administration

    with administration(config) as ask:
        if word == "gc":
            return _gc(ask, args)
        if word == "fsck":
            return _fsck(ask, repair=args.repair)
        if word == "scrub":
            return _scrub(ask, args)
        if word == "rm":
            ask("rm", repository=args.repository)
            return 0
        return _readonly(ask, args.value) if word == "readonly" else _status(ask, as_json=args.json)


def _settings(args: argparse.Namespace) -> RegistryConfig:
    store_root = Settings.read().root
    root = args.root if args.root is None or is_url(args.root) else os.path.abspath(args.root)
    from registry.server.configfile import load

    config = load(
        args.config or "",
        environment=os.environ,
        flags={("storage", "root"): root, ("storage", "memory"): None if root is None else False},
        default_root=os.path.join(store_root, "registry"),
    )
    return located(config, os.environ, store_root)


def _parse(word: str, arguments: list[str]) -> argparse.Namespace:
    usage = f"[OPTIONS]{_OPERANDS.get(word, '')}"
    p = verb(f"registry {word}", _SUMMARIES[word], usage=usage, root=False)
    p.add_argument(
        "--root", metavar="DIR|URL", help="where its content rests (default: registry/ in the store)"
    )
    p.add_argument("--config", metavar="FILE", help="its settings (TOML); --root overrules them")
    if word == "gc":
        p.add_argument("--dry-run", action="store_true", help="only say what would go, and why")
        p.add_argument("--grace", metavar="TIME", help="how long unneeded things stay (24h, or the server's)")
        p.add_argument("--undelete-window", metavar="TIME", help="how long the trash is kept (as --grace)")
        p.add_argument("--explain", metavar="DIGEST", help="say why something is here or gone, then end")
        p.add_argument("--undelete", metavar="DIGEST", help="bring back what was collected, then end")
    if word == "fsck":
        p.add_argument("--repair", action="store_true", help="mend what can be mended")
        p.add_argument("--rebuild", action="store_true", help="make the index again, then end")
    if word == "scrub":
        p.add_argument("--rate", type=float, metavar="MB", help="megabytes to read in a second")
    if word == "rm":
        p.add_argument("repository", metavar="REPOSITORY", help="what goes, with all its tags")
    if word == "readonly":
        p.add_argument("value", metavar="on|off", nargs="?", choices=("on", "off"), help="without: show it")
    if word == "status":
        p.add_argument("--json", action="store_true", help="as a JSON object")
    return p.parse_args(arguments)


def _gc(ask: Ask, args: argparse.Namespace) -> int:
    grace = None if args.grace is None else _seconds("--grace", args.grace)
    window = None if args.undelete_window is None else _seconds("--undelete-window", args.undelete_window)
    if args.explain:
        lines = ask("explain", digest=args.explain, grace=grace)["lines"]
        print("\n".join(lines) or f"{args.explain} is not here and never was")
        return 0
    if args.undelete:
        print("\n".join(ask("undelete", digest=args.undelete)["lines"]))
        return 0
    report = ask("gc", dry_run=args.dry_run, grace=grace, undelete=window)
    for item in report["deletions"]:
        place = f"{item['repository']}@" if item["repository"] else ""
        if item["kind"] == "tag":
            print(f"tag {item['repository']}:{item['tag']} of {item['digest']}: {item['reason']}")
            continue
        print(f"{item['kind']} {place}{item['digest']} ({item['size']} bytes): {item['reason']}")
    if report["waiting"]:
        print(
            f"nothing is collected for another {report['waiting']:.0f} seconds: what was used before "
            "is not known, since the registry is new or its last server was killed",
            file=sys.stderr,
        )
    word = "would go" if args.dry_run else "went to the trash"
    print(f"{len(report['deletions'])} things {word}, {report['freed']} bytes", file=sys.stderr)
    return 0


def _rebuild(config: RegistryConfig) -> int:
    import contextlib

    from registry.server.housekeeping.maintenance import open_directory, rebuild_index

    start = time.monotonic()
    with contextlib.closing(open_directory(config)) as store:
        rebuild_index(store)
    print(f"made the index again in {time.monotonic() - start:.1f} seconds", file=sys.stderr)
    return 0


def _fsck(ask: Ask, *, repair: bool) -> int:
    found = ask("fsck", repair=repair)["findings"]
    for item in found:
        print(f"{item['place']}: {item['problem']}{' (mended)' if item['repaired'] else ''}")
    open_ones = sum(not item["repaired"] for item in found)
    print(f"{len(found)} findings, {open_ones} of them not mended", file=sys.stderr)
    return 1 if open_ones else 0


def _scrub(ask: Ask, args: argparse.Namespace) -> int:
    report = ask("scrub", rate=None if args.rate is None else args.rate * 1e6)
    for digest, repositories in report["damaged"].items():
        print(
            f"{digest} is damaged; push it again to repair it ({', '.join(repositories) or 'nobody has it'})"
        )
    print(
        f"read {report['checked']} blobs and manifests, {report['size']} bytes; "
        f"{len(report['damaged'])} damaged",
        file=sys.stderr,
    )
    return 1 if report["damaged"] else 0


def _readonly(ask: Ask, value: str | None) -> int:
    answer = ask("readonly") if value is None else ask("readonly", value=value == "on")
    print("on" if answer["read_only"] else "off")
    return 0


def _status(ask: Ask, *, as_json: bool) -> int:
    found = ask("status")
    if as_json:
        import json

        print(json.dumps(found, indent=2))
        return 0
    for name, value in found.items():
        if name == "workers":
            for worker in value:
                text = ", ".join(f"{key} {what}" for key, what in worker.items() if key != "pid")
                print(f"worker {worker['pid']}: {text}")
        else:
            print(f"{name.replace('_', ' ')}: {_word(value)}")
    return 0


def _word(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _seconds(option: str, text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        value = float(number) * _UNITS[unit]
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InvalidOption(f"{option} {text}: expected a time, as in 90s, 30m, 24h or 7d")
    return value
