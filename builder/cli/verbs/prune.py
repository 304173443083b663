"""``pybuild prune``: give space back."""

from __future__ import annotations

import argparse
import sys
import time

from dockerfile_grammar.golang import parse_duration, parse_size

from ...cleanup import GRACE, Pruned, prune
from ...errors import InvalidOption
from ...filters import read_filters
from ...local import LocalStore
from ..options import verb
from ..reentry import Entry
from ..settings import Settings
from ..words import size


def main(arguments: list[str]) -> int:
    """Run the verb."""
    args = _parser().parse_args(arguments)
    settings = Settings.read(args.root)
    now = time.time()
    chooses = read_filters(args.filter, now, lambda text: seconds("--filter until", text))
    unused_since = now - seconds("--older-than", args.older_than) if args.older_than else None
    keep = None if args.keep is None else _bytes("--keep-storage", args.keep)
    free = None if args.min_free_space is None else _bytes("--min-free-space", args.min_free_space)
    if args.all and (args.filter or unused_since is not None):
        raise InvalidOption("--all leaves nothing to choose", hint="leave --all or the filters out")
    if (keep is not None or free is not None) and args.all:
        args.all = False  # as with buildx: all of it is meant, down to that size
    Entry(settings).enter()  # unpacked layers have files of other users
    if not args.force and not args.dry_run and not _confirmed(_meant(args)):
        return 1
    done = prune(
        LocalStore(settings.root),
        everything=args.all,
        unused_since=unused_since,
        chooses=chooses,
        keep=keep,
        free=free,
        cutoff=now - (0 if args.all else GRACE),
        dry_run=args.dry_run,
    )
    _report(done, dry_run=args.dry_run)
    return 0


def _parser() -> argparse.ArgumentParser:
    p = verb("prune", "Remove what no image and no cached step needs.", usage="[OPTIONS]")
    p.add_argument("-a", "--all", action="store_true", help="also the whole build cache")
    p.add_argument("-f", "--force", action="store_true", help="do not ask")
    p.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="also what all filters mean, as in until=24h, type=exec.cachemount, id=…, description~=…",
    )
    p.add_argument("--older-than", metavar="DURATION", help="also steps unused for so long, as in 168h")
    p.add_argument(
        *("--keep-storage", "--reserved-space", "--max-used-space"),
        dest="keep",
        metavar="BYTES",
        help="also what was unused for longest, until the cache is so small, as in 10GB",
    )
    p.add_argument(
        "--min-free-space", metavar="BYTES", help="the same, until so much of the disk is free, as in 20GB"
    )
    p.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    return p


def seconds(option: str, text: str) -> float:
    """
    A duration of an option.

    Raises:
        InvalidOption: it is none.
    """
    try:
        found = parse_duration(text) / 1e9
    except ValueError as problem:
        raise InvalidOption(f"{option} {text}: {problem}", hint="a duration, as in 24h or 90m") from problem
    if found < 0:
        raise InvalidOption(f"{option} {text}: a duration in the past, without a sign, is meant")
    return found


def _bytes(option: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as problem:
        raise InvalidOption(f"{option} {text}: {problem}", hint="as in 10GB or 512m") from problem


def _report(done: Pruned, *, dry_run: bool) -> None:
    verb_word = "Would remove" if dry_run else "Removed"
    mounts = f", {done.mounts} cache mounts" if done.mounts else ""
    print(
        f"{verb_word} {done.blobs} blobs, {done.records} cached steps, "
        f"{done.directories} unpacked layers{mounts}"
    )
    print(f"Total reclaimed space: {size(done.freed)}")


def _meant(args: argparse.Namespace) -> str:
    if args.all:
        return "everything that no image needs, the whole build cache included"
    if args.filter or args.older_than or args.keep is not None or args.min_free_space is not None:
        return "what no image and no cached step needs, and the chosen part of the build cache"
    return "what no image and no cached step needs"


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        print("error: nobody to ask; use --force", file=sys.stderr)
        return False
    print(f"This removes {what}. Continue? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
