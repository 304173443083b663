"""``pybuild push``: an image of the local store into a registry."""

from __future__ import annotations

import asyncio
import sys

from oci_image.errors import NotFound
from oci_image.reference import Reference

from ...local import LocalStore
from ..options import add_progress, verb
from ..progress.open import open_progress
from ..settings import Settings
from ..transfers import push_image


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("push", "Push an image to a registry.", usage="[OPTIONS] NAME[:TAG]")
    p.add_argument("image", metavar="NAME[:TAG]", help="what to push; the name says where to")
    add_progress(p)
    p.add_argument(
        "--compression",
        default="gzip",
        metavar="KIND",
        help="of layers that we made: gzip (same bytes everywhere), gzip-fast, zstd, uncompressed",
    )
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    reference = Reference.parse(args.image)
    store = LocalStore(settings.root)
    found = store.named(reference)
    if found is None:
        raise NotFound(
            f"no image named {reference.familiar} here",
            hint=f"name one first: pybuild tag IMAGE {reference.familiar}",
        )
    with open_progress(args.progress, sys.stderr, color=settings.color) as progress:
        pushed = asyncio.run(
            push_image(settings, store, found.descriptor, reference, progress, compression=args.compression)
        )
    print(f"{reference.familiar_name}@{pushed.digest}")
    return 0
