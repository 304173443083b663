"""``pybuild logout``: forget the credentials of a registry."""

from __future__ import annotations

import sys

from oci_image.reference import DEFAULT_REGISTRY

from ..options import verb
from ..settings import Settings
from ..transfers import credential_store


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("logout", "Log out of a registry.", usage="[SERVER]", root=False)
    p.add_argument(
        "server", nargs="?", default=DEFAULT_REGISTRY, metavar="SERVER", help="default: Docker Hub"
    )
    args = p.parse_args(arguments)
    if credential_store(Settings.read()).erase(args.server):
        print(f"Removed the login credentials for {args.server}", file=sys.stderr)
    else:
        print(f"Not logged in to {args.server}", file=sys.stderr)
    return 0
