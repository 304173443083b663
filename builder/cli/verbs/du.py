"""``pybuild du``: what takes how much space."""

from __future__ import annotations

from ...cleanup import usage
from ...local import LocalStore
from ..options import verb
from ..reentry import Entry
from ..settings import Settings
from ..words import size, table


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("du", "Show what takes how much space in the store.", usage="[OPTIONS]")
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    Entry(settings).enter()  # unpacked layers have files of other users
    store = LocalStore(settings.root)
    rows = usage(store)
    lines = [
        [row.what, str(row.count), size(row.size), size(row.reclaimable) if row.size else "0B"]
        for row in rows
    ]
    print(table(["TYPE", "COUNT", "SIZE", "RECLAIMABLE"], lines))
    print(f"\nTotal: {size(sum(row.size for row in rows))}")
    return 0
