"""``pybuild history``: how an image was made."""

from __future__ import annotations

from ...images import find_image, history
from ...local import LocalStore
from ..options import verb
from ..settings import Settings
from ..words import since, size, table

_WIDTH = 45


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("history", "Show the history of an image, newest first.", usage="[OPTIONS] IMAGE")
    p.add_argument("image", metavar="IMAGE", help="name or ID")
    p.add_argument("--no-trunc", action="store_true", help="show instructions in full")
    args = p.parse_args(arguments)
    store = LocalStore(Settings.read(args.root).root)
    _, image = find_image(store, args.image)
    lines = []
    for number, row in enumerate(history(image)):
        text = row.entry.created_by.replace("\t", " ").replace("\n", " ")
        if not args.no_trunc and len(text) > _WIDTH:
            text = text[: _WIDTH - 1] + "…"
        identity = "<missing>" if number else str(image.id) if args.no_trunc else image.id.short
        lines.append([identity, since(row.entry.created), text, size(row.size), row.entry.comment])
    print(table(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], lines))
    return 0
