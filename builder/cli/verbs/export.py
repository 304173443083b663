"""``pybuild export``: an image's merged filesystem as one archive."""

from __future__ import annotations

import asyncio

from ...events import discard
from ...exporters.rootfs import LocalExporter, TarExporter
from ...images import find_image
from ...local import LocalStore
from ...request import single
from ..options import verb
from ..settings import Settings
from ..wiring import open_host


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("export", "Write an image's filesystem as an archive.", usage="[OPTIONS] IMAGE")
    p.add_argument("image", metavar="IMAGE", help="name or ID")
    place = p.add_mutually_exclusive_group()
    place.add_argument("-o", "--output", default="-", metavar="FILE", help="file to write (default stdout)")
    place.add_argument("--directory", metavar="DIR", help="write the files into a directory instead")
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    store = LocalStore(settings.root)
    found, image = find_image(store, args.image)
    exporter = LocalExporter(dest=args.directory) if args.directory else TarExporter(dest=args.output)
    with open_host(settings, store) as host:
        asyncio.run(exporter.export(single(image), (found.name,) if found.name else (), host, discard))
    return 0
