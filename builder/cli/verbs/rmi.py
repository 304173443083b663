"""``pybuild rmi``: remove images."""

from __future__ import annotations

import sys

from oci_image.errors import ImageError

from ...errors import BuildError
from ...images import remove
from ...local import LocalStore
from ..options import verb
from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Run the verb; what can be removed is, also when another image is not there."""
    p = verb("rmi", "Remove images.", usage="[OPTIONS] IMAGE [IMAGE...]")
    p.add_argument("images", nargs="+", metavar="IMAGE", help="name or ID")
    p.add_argument("-f", "--force", action="store_true", help="remove an ID with all its names")
    args = p.parse_args(arguments)
    store = LocalStore(Settings.read(args.root).root)
    status = 0
    for text in args.images:
        try:
            removed = remove(store, text, force=args.force)
        except (BuildError, ImageError) as problem:
            print(f"error: {problem.message}", file=sys.stderr)
            if problem.hint:
                print(f"hint: {problem.hint}", file=sys.stderr)
            status = 1
            continue
        for name in removed.untagged:
            print(f"Untagged: {name.familiar}")
        for digest in removed.deleted:
            print(f"Deleted: {digest}")
    return status
