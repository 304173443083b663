"""``pybuild du``: what takes how much space, and who holds it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from ...accounting import account
from ...filters import read_filters
from ...holdings import GIT, IMAGE, LISTS, MOUNT, STEP, UNPACKED, Account, Holding
from ...local import LocalStore
from ..options import verb
from ..reentry import Entry
from ..settings import Settings
from ..words import ago, size, table
from .prune import seconds

_KINDS = (
    ("Images", IMAGE),
    ("Build cache", STEP),
    ("Unpacked layers", UNPACKED),
    ("Cache mounts", MOUNT),
    ("Repositories", GIT),
    ("Lists", LISTS),
)


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("du", "Show what takes how much space in the store, and who holds it.", usage="[OPTIONS]")
    p.add_argument("--verbose", action="store_true", help="one line for each holder")
    p.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE", help="as for prune")
    p.add_argument("--format", default="table", choices=("table", "json"), help="how to print")
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    now = time.time()
    chooses = read_filters(args.filter, now, lambda text: seconds("--filter until", text))
    Entry(settings).enter()  # unpacked layers have files of other users
    store = LocalStore(settings.root)
    found = account(store)
    holdings = [one for one in found.holdings if chooses is None or chooses(one)]
    unneeded = [] if chooses else _unneeded(store, found)
    if args.format == "json":
        print(json.dumps(_json(found, holdings, unneeded), indent=1))
        return 0
    if args.verbose:
        print(_lines(holdings, now))
        print()
    print(_summary(found, holdings, unneeded))
    return 0


def _unneeded(store: LocalStore, found: Account) -> list[int]:
    """The sizes of the blobs that nobody holds."""
    return [store.blobs.stat(digest) or 0 for digest in store.blobs.digests() if digest not in found.sizes]


def _summary(found: Account, holdings: Sequence[Holding], unneeded: Sequence[int]) -> str:
    rows = [
        [what, str(len(of_kind)), size(total), size(reclaimable)]
        for what, of_kind, total, reclaimable in _totals(found, holdings, unneeded)
    ]
    lines = [table(["TYPE", "COUNT", "SIZE", "RECLAIMABLE"], rows), ""]
    totals = _totals(found, holdings, unneeded)
    lines.append(f"Reclaimable: {size(sum(reclaimable for *_, reclaimable in totals))}")
    lines.append(f"Total: {size(sum(total for _, _, total, _ in totals))}")
    if found.leases:
        lines.append(f"In use by running builds: {len(found.leases)}")
    return "\n".join(lines)


def _totals(
    found: Account, holdings: Sequence[Holding], unneeded: Sequence[int]
) -> list[tuple[str, Sequence[object], int, int]]:
    """Each kind with its holders, bytes on disk (each blob once) and what a clean-up would free."""
    out: list[tuple[str, Sequence[object], int, int]] = []
    for what, kind in _KINDS:
        of_kind = [one for one in holdings if one.type == kind]
        free = [one for one in of_kind if one.is_reclaimable]
        out.append((what, of_kind, _size(of_kind, found), _size(free, found)))
    if unneeded:
        out.append(("Unneeded", unneeded, sum(unneeded), sum(unneeded)))
    return out


def _size(some: Sequence[Holding], found: Account) -> int:
    """What holders of one kind take together; cached steps only what no image needs."""
    blobs = {digest for one in some for digest in one.blobs}
    if some and some[0].type == STEP:
        blobs -= found.named
    return sum(found.sizes[digest] for digest in blobs) + sum(one.size for one in some if not one.blobs)


def _lines(holdings: Sequence[Holding], now: float) -> str:
    rows = [
        [
            one.id,
            one.type,
            size(one.size) + ("*" if one.is_shared else ""),
            size(one.exclusive),
            f"{ago(max(0.0, now - one.last_used))} ago" if one.last_used else "",
            "in use" if one.in_use else "" if one.is_reclaimable else "named",
            one.description.replace("\n", " ")[:60],
        ]
        for one in sorted(holdings, key=lambda one: (one.type, -one.size, one.id))
    ]
    return table(["ID", "TYPE", "SIZE", "EXCLUSIVE", "LAST USED", "HELD", "DESCRIPTION"], rows)


def _json(found: Account, holdings: Sequence[Holding], unneeded: Sequence[int]) -> dict[str, Any]:
    return {
        "holders": [
            {
                "id": one.id,
                "type": one.type,
                "description": one.description,
                "size": one.size,
                "exclusive": one.exclusive,
                "shared": one.is_shared,
                "in_use": one.in_use,
                "reclaimable": one.is_reclaimable,
                "created": one.created,
                "last_used": one.last_used,
                "layers": [str(layer.diff_id) for layer in one.layers],
            }
            for one in holdings
        ],
        "summary": [
            {"type": what, "count": len(of_kind), "size": total, "reclaimable": reclaimable}
            for what, of_kind, total, reclaimable in _totals(found, holdings, unneeded)
        ],
        "cache_size": found.cache_size,
        "running_builds": len(found.leases),
    }
