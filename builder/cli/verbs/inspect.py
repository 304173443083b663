"""``pybuild inspect``: an image's details as JSON."""

from __future__ import annotations

import json

from oci_image.platform import Platform

from ...images import describe
from ...local import LocalStore
from ..options import verb
from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("inspect", "Show the details of images as JSON.", usage="[OPTIONS] IMAGE [IMAGE...]")
    p.add_argument("images", nargs="+", metavar="IMAGE", help="name or ID")
    p.add_argument("--raw", action="store_true", help="print the manifest's bytes as they are stored")
    p.add_argument("--platform", metavar="OS/ARCH", help="which image of an index")
    args = p.parse_args(arguments)
    platform = Platform.parse(args.platform) if args.platform else None
    store = LocalStore(Settings.read(args.root).root)
    if args.raw:
        for text in args.images:
            print(store.document(store.find(text).descriptor).raw.decode())
        return 0
    shown = [describe(store, store.find(text), platform) for text in args.images]
    print(json.dumps(shown, indent=4, ensure_ascii=False))
    return 0
