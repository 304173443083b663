"""``pybuild registry gc | fsck | scrub | rm``: looking after a directory while no server uses it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from ...errors import InvalidOption
from ..options import verb
from ..settings import Settings

if TYPE_CHECKING:
    from registry.server.maintenance import Directory

WORDS = ("gc", "fsck", "scrub", "rm")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(word: str, arguments: list[str]) -> int:
    """Run one of the words."""
    p = verb(
        f"registry {word}",
        _SUMMARIES[word],
        usage="[OPTIONS] REPOSITORY" if word == "rm" else "[OPTIONS]",
        root=False,
    )
    p.add_argument("--root", metavar="DIR", help="the registry's directory (default: registry/ in the store)")
    if word == "gc":
        p.add_argument("--dry-run", action="store_true", help="only say what would go, and why")
        p.add_argument("--grace", default="24h", metavar="TIME", help="how long unneeded things stay (24h)")
        p.add_argument("--undelete-window", default="24h", metavar="TIME", help="how long the trash is kept")
        p.add_argument("--explain", metavar="DIGEST", help="say why something is here or gone, then end")
        p.add_argument("--undelete", metavar="DIGEST", help="bring back what was collected, then end")
    if word == "fsck":
        p.add_argument("--repair", action="store_true", help="mend what can be mended")
        p.add_argument("--rebuild", action="store_true", help="make the index again, then end")
    if word == "scrub":
        p.add_argument("--rate", type=float, default=0.0, metavar="MB", help="megabytes to read in a second")
    if word == "rm":
        p.add_argument("repository", metavar="REPOSITORY", help="what goes, with all its tags")
    args = p.parse_args(arguments)
    root = os.path.abspath(args.root or os.path.join(Settings.read().root, "registry"))
    if not os.path.isdir(f"{root}/repositories"):
        raise InvalidOption(f"{root} is not the directory of a registry", hint="name it with --root")
    if word == "gc":
        grace, window = _seconds("--grace", args.grace), _seconds("--undelete-window", args.undelete_window)
    from registry.server.maintenance import open_directory

    store = open_directory(root)
    try:
        if word == "gc":
            return _gc(store, args, grace, window)
        if word == "rm":
            return _rm(store, args.repository)
        return _fsck(store, args) if word == "fsck" else _scrub(store, args)
    finally:
        store.close()


_SUMMARIES = {
    "gc": "Remove what no tag needs from a registry's directory.",
    "fsck": "Compare the files of a registry's directory with each other.",
    "rm": "Remove a repository from a registry's directory; the next gc frees the space.",
    "scrub": "Read everything in a registry's directory and put aside what is damaged.",
}


def _gc(store: Directory, args: argparse.Namespace, grace: float, window: float) -> int:
    from oci_image.digest import Digest
    from registry.server.gc import Collector
    from registry.server.gc_questions import explain, undelete

    if args.explain:
        lines = explain(store, Digest.parse(args.explain), grace)
        print("\n".join(lines) or f"{args.explain} is not here and never was")
        return 0
    if args.undelete:
        print("\n".join(undelete(store, Digest.parse(args.undelete))))
        return 0
    report = Collector(store, grace=grace, undelete=window).collect(dry_run=args.dry_run)
    for item in report.deletions:
        place = f"{item.repository}@" if item.repository else ""
        print(f"{item.kind} {place}{item.digest} ({item.size} bytes): {item.reason}")
    if report.waiting:
        print(
            f"nothing is collected for another {report.waiting:.0f} seconds: the last server was killed, "
            "so it is not known what was used lately",
            file=sys.stderr,
        )
    word = "would go" if args.dry_run else "went to the trash"
    print(f"{len(report.deletions)} things {word}, {report.freed} bytes", file=sys.stderr)
    return 0


def _fsck(store: Directory, args: argparse.Namespace) -> int:
    from registry.server.fsck import check
    from registry.server.maintenance import rebuild_index

    if args.rebuild:
        start = time.monotonic()
        rebuild_index(store)
        print(f"made the index again in {time.monotonic() - start:.1f} seconds", file=sys.stderr)
        return 0
    found = check(store, repair=args.repair)
    for item in found:
        print(f"{item.place}: {item.problem}{' (mended)' if item.repaired else ''}")
    open_ones = sum(not item.repaired for item in found)
    print(f"{len(found)} findings, {open_ones} of them not mended", file=sys.stderr)
    return 1 if open_ones else 0


def _scrub(store: Directory, args: argparse.Namespace) -> int:
    from registry.server.scrub import Scrubber

    report = Scrubber(store, rate=args.rate * 1e6).scrub()
    for digest, repositories in sorted(report.damaged.items()):
        print(
            f"{digest} is damaged; push it again to repair it ({', '.join(repositories) or 'nobody has it'})"
        )
    print(
        f"read {report.checked} blobs and manifests, {report.size} bytes; {len(report.damaged)} damaged",
        file=sys.stderr,
    )
    return 1 if report.damaged else 0


def _rm(store: Directory, repository: str) -> int:
    from registry.server.maintenance import remove_repository

    if not remove_repository(store, repository):
        raise InvalidOption(f"there is no repository {repository}")
    return 0


def _seconds(option: str, text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        value = float(number) * _UNITS[unit]
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InvalidOption(f"{option} {text}: expected a time, as in 90s, 30m, 24h or 7d")
    return value
