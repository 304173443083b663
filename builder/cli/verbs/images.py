"""``pybuild images``: list the images of the local store."""

from __future__ import annotations

import json

from ...images import DAMAGED, ImageRow, rows
from ...local import LocalStore
from ..options import verb
from ..settings import Settings
from ..words import since, size, table


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("images", "List images.", usage="[OPTIONS] [REPOSITORY[:TAG]]")
    p.add_argument("name", nargs="?", metavar="REPOSITORY[:TAG]", help="only images of this name")
    p.add_argument("-q", "--quiet", action="store_true", help="print image IDs only")
    p.add_argument("--digests", action="store_true", help="show digests of manifests")
    p.add_argument("--no-trunc", action="store_true", help="show IDs in full")
    p.add_argument("--format", choices=("table", "json"), default="table", help="how to print")
    args = p.parse_args(arguments)
    store = LocalStore(Settings.read(args.root).root)
    found = sorted((row for row in rows(store) if _wanted(row, args.name)), key=lambda row: str(row.name))
    if args.quiet:
        ids = dict.fromkeys(str(row.id) if args.no_trunc else row.id.short for row in found)
        if ids:
            print("\n".join(ids))
    elif args.format == "json":
        for row in found:
            print(json.dumps(_fields(row)))
    else:
        print(_table(found, digests=args.digests, full=args.no_trunc))
    return 0


def _wanted(row: ImageRow, name: str | None) -> bool:
    if name is None or row.name is None:
        return name is None
    return name in (row.name.familiar, row.name.familiar_name, str(row.name))


def _fields(row: ImageRow) -> dict[str, object]:
    return {
        "Repository": row.name.familiar_name if row.name else "<none>",
        "Tag": row.name.tag if row.name else "<none>",
        "ID": str(row.id),
        "Digest": str(row.manifest.digest),
        "Platform": row.platform,
        "CreatedAt": row.created,
        "Size": row.size,
    }


def _table(found: list[ImageRow], *, digests: bool, full: bool) -> str:
    # Only an index has several rows under one name, and only then does it matter which is which.
    several = len({str(row.name) for row in found}) < len(found)
    shown = [*(["DIGEST"] if digests else []), "IMAGE ID", *(["PLATFORM"] if several else [])]
    header = ["REPOSITORY", "TAG", *shown, "CREATED", "SIZE"]
    lines = []
    for row in found:
        name = [row.name.familiar_name, row.name.tag or "<none>"] if row.name else ["<none>", "<none>"]
        digest = [str(row.manifest.digest)] if digests else []
        identity = str(row.id) if full else row.id.short
        state = DAMAGED if row.platform == DAMAGED else since(row.created, row.came)
        platform = [row.platform] if several else []
        lines.append([*name, *digest, identity, *platform, state, size(row.size)])
    return table(header, lines)
