"""``pybuild import``: a root filesystem's archive becomes an image of one layer."""

from __future__ import annotations

from oci_image.platform import Platform, local_platform
from oci_image.reference import Reference

from ...importers.rootfs import import_rootfs
from ...local import LocalStore
from ...request import DEFAULT_EPOCH
from ..archives import naming, open_input
from ..options import verb
from ..requests import parse_epoch
from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb(
        "import",
        "Make an image from the archive of a root filesystem.",
        usage="[OPTIONS] FILE|- [NAME[:TAG]]",
    )
    p.add_argument("archive", metavar="FILE|-", help="the archive, in any compression")
    p.add_argument("name", nargs="?", metavar="NAME[:TAG]", help="name of the image")
    p.add_argument(
        "-c", "--change", action="append", default=[], metavar="INSTRUCTION", help="CMD, ENV, … to apply"
    )
    p.add_argument("-m", "--message", default="", metavar="TEXT", help="comment for the history")
    p.add_argument("--platform", metavar="OS/ARCH", help="what its programs run on (default this machine's)")
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    reference = Reference.parse(args.name) if args.name else None
    store = LocalStore(settings.root)
    epoch = parse_epoch(settings.source_date_epoch)
    with open_input(args.archive) as stream, naming(args.archive):
        image = import_rootfs(
            stream,
            store.blobs,
            platform=Platform.parse(args.platform) if args.platform else local_platform(),
            changes=tuple(args.change),
            message=args.message,
            epoch=DEFAULT_EPOCH if epoch is None else epoch,
        )
    if reference is not None:
        store.tags.set(str(reference), image.manifest.descriptor)
    print(image.id)
    return 0
