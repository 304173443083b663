"""``pybuild prune``: give space back."""

from __future__ import annotations

import sys
import time

from dockerfile_grammar.golang import parse_duration

from ...cleanup import prune
from ...errors import InvalidOption
from ...local import LocalStore
from ..options import verb
from ..reentry import Entry
from ..settings import Settings
from ..words import size

_GRACE = 600.0
"""Seconds for which a blob that nothing refers to is left alone: a build that runs now may have made it."""


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("prune", "Remove what no image and no cached step needs.", usage="[OPTIONS]")
    p.add_argument("-a", "--all", action="store_true", help="also all cached steps and unpacked layers")
    p.add_argument("-f", "--force", action="store_true", help="do not ask")
    p.add_argument("--older-than", metavar="DURATION", help="also steps unused for so long, as in 168h")
    p.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    Entry(settings).enter()  # unpacked layers have files of other users
    store = LocalStore(settings.root)
    now = time.time()
    unused_since = now - _seconds(args.older_than) if args.older_than else None
    if not args.force and not args.dry_run and not _confirmed(everything=args.all):
        return 1
    done = prune(
        store,
        everything=args.all,
        unused_since=unused_since,
        cutoff=now - (0 if args.all else _GRACE),
        dry_run=args.dry_run,
    )
    verb_word = "Would remove" if args.dry_run else "Removed"
    print(f"{verb_word} {done.blobs} blobs, {done.records} cached steps, {done.directories} unpacked layers")
    print(f"Total reclaimed space: {size(done.freed)}")
    return 0


def _seconds(text: str) -> float:
    try:
        return parse_duration(text) / 1e9
    except ValueError as problem:
        raise InvalidOption(
            f"--older-than {text}: {problem}", hint="a duration, as in 24h or 90m"
        ) from problem


def _confirmed(*, everything: bool) -> bool:
    what = (
        "everything that no image needs, the whole build cache included"
        if everything
        else ("what no image and no cached step needs")
    )
    if not sys.stdin.isatty():
        print("error: nobody to ask; use --force", file=sys.stderr)
        return False
    print(f"This removes {what}. Continue? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
