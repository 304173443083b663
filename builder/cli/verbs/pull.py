"""``pybuild pull``: an image out of a registry into the local store."""

from __future__ import annotations

import asyncio
import sys

from oci_image.platform import Platform, local_platform
from oci_image.reference import Reference

from ...errors import InvalidOption
from ...local import LocalStore
from ..options import add_progress, verb
from ..progress.open import open_progress
from ..settings import Settings
from ..transfers import pull_image


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("pull", "Pull an image from a registry.", usage="[OPTIONS] NAME[:TAG|@DIGEST]")
    p.add_argument("image", metavar="NAME[:TAG|@DIGEST]", help="what to pull")
    p.add_argument("--platform", metavar="OS/ARCH", help="which platform (default this machine's)")
    p.add_argument("--all-platforms", action="store_true", help="the whole index with all its images")
    add_progress(p)
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    reference = Reference.parse(args.image)
    if args.all_platforms and args.platform:
        raise InvalidOption("--all-platforms and --platform contradict each other")
    platform: Platform | None = Platform.parse(args.platform) if args.platform else local_platform()
    if args.all_platforms:
        platform = None
    store = LocalStore(settings.root)
    with open_progress(args.progress, sys.stderr, color=settings.color) as progress:
        digest = asyncio.run(pull_image(settings, store, reference, platform, progress))
    print(f"{reference.familiar_name}@{digest}")
    return 0
