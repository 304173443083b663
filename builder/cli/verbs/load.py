"""``pybuild load``: images out of an archive."""

from __future__ import annotations

from ...importers.archive import load_archive
from ...local import LocalStore
from ..archives import naming, open_input
from ..options import verb
from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("load", "Load images from an archive of docker save, pybuild save, skopeo, …", usage="[OPTIONS]")
    p.add_argument("-i", "--input", default="-", metavar="FILE", help="file to read (default standard input)")
    p.add_argument("-q", "--quiet", action="store_true", help="print nothing")
    args = p.parse_args(arguments)
    store = LocalStore(Settings.read(args.root).root)
    with open_input(args.input) as stream, naming(args.input):
        loaded = load_archive(stream, store.blobs, scratch=store.state)
    for one in loaded:
        for name in one.names:
            store.tags.set(str(name), one.descriptor)
            if not args.quiet:
                print(f"Loaded image: {name.familiar}")
        if not one.names and not args.quiet:
            print(f"Loaded image ID: {store.image(one.descriptor).id}")
    return 0
