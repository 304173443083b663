"""``pybuild tag``: give an image another name."""

from __future__ import annotations

from ...images import tag
from ...local import LocalStore
from ..options import verb
from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("tag", "Give an image another name.", usage="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]")
    p.add_argument("source", metavar="SOURCE_IMAGE", help="name or ID of the image")
    p.add_argument("target", metavar="TARGET_IMAGE", help="the new name")
    args = p.parse_args(arguments)
    tag(LocalStore(Settings.read(args.root).root), args.source, args.target)
    return 0
