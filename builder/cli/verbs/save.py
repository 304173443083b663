"""``pybuild save``: images into an archive that ``docker load`` and OCI tools read."""

from __future__ import annotations

import asyncio
import sys

from oci_image.platform import Platform, local_platform
from oci_image.reference import Reference

from ...exporters.archive import NamedSet, write_archive
from ...exporters.target import output_file
from ...host import Host
from ...images import image_set
from ...local import Found, LocalStore
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
    p.add_argument(
        "--platform",
        metavar="OS/ARCH",
        help="which image of an index (default: all in an OCI archive, this machine's in one for docker)",
    )
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    store = LocalStore(settings.root)
    platform = Platform.parse(args.platform) if args.platform else None
    if platform is None and args.format == "docker":
        platform = local_platform()  # docker's own archives hold no index
    sets: list[NamedSet] = []
    for text in args.images:
        found = store.find(text)
        sets.append((image_set(store, found, platform), _names(found)))
    with open_host(settings, store) as host:
        asyncio.run(_ensure(host, sets))
        compression = args.compression or ("uncompressed" if args.format == "docker" else "gzip")
        with output_file(args.output) as out:
            write_archive(
                out,
                sets,
                store.blobs,
                docker=args.format == "docker",
                compression=compression,
                scratch=store.state,
            )
    if args.output != "-":
        print(f"saved {len(sets)} image(s) to {args.output}", file=sys.stderr)
    return 0


def _names(found: Found) -> tuple[Reference, ...]:
    return (found.name,) if found.name and found.name.tag else ()


async def _ensure(host: Host, sets: list[NamedSet]) -> None:
    for made, _ in sets:
        for image in made.images:
            await host.layers.ensure(image.layers)
