"""``pybuild save``: images into an archive that ``docker load`` and OCI tools read."""

from __future__ import annotations

import asyncio
import sys

from ...exporters.archive import NamedImage, write_archive
from ...exporters.target import output_file
from ...host import Host
from ...images import find_image
from ...local import LocalStore
from ..options import verb
from ..settings import Settings
from ..wiring import open_host


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("save", "Save images to an archive.", usage="[OPTIONS] IMAGE [IMAGE...]")
    p.add_argument("images", nargs="+", metavar="IMAGE", help="name or ID")
    p.add_argument(
        "-o", "--output", default="-", metavar="FILE", help="file to write (default standard output)"
    )
    p.add_argument("--format", choices=("docker", "oci"), default="docker", help="kind of archive")
    p.add_argument(
        "--compression",
        default=None,
        metavar="KIND",
        help="gzip, gzip-fast, zstd or uncompressed (docker's default)",
    )
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    store = LocalStore(settings.root)
    images: list[NamedImage] = []
    for text in args.images:
        found, image = find_image(store, text)
        images.append((image, (found.name,) if found.name and found.name.tag else ()))
    with open_host(settings, store) as host:
        asyncio.run(_ensure(host, images))
        compression = args.compression or ("uncompressed" if args.format == "docker" else "gzip")
        with output_file(args.output) as out:
            write_archive(
                out,
                images,
                store.blobs,
                docker=args.format == "docker",
                compression=compression,
                scratch=store.state,
            )
    if args.output != "-":
        print(f"saved {len(images)} image(s) to {args.output}", file=sys.stderr)
    return 0


async def _ensure(host: Host, images: list[NamedImage]) -> None:
    for image, _ in images:
        await host.layers.ensure(image.layers)
