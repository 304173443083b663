"""``pybuild inspect``: an image's details as JSON."""

from __future__ import annotations

import json

from ...images import describe
from ...local import LocalStore
from ..options import verb
from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("inspect", "Show the details of images as JSON.", usage="[OPTIONS] IMAGE [IMAGE...]")
    p.add_argument("images", nargs="+", metavar="IMAGE", help="name or ID")
    p.add_argument("--raw", action="store_true", help="print the manifest's bytes as they are stored")
    args = p.parse_args(arguments)
    store = LocalStore(Settings.read(args.root).root)
    if args.raw:
        for text in args.images:
            print(store.document(store.find(text).descriptor).raw.decode())
        return 0
    print(
        json.dumps([describe(store, store.find(text)) for text in args.images], indent=4, ensure_ascii=False)
    )
    return 0
