"""Names that a layer can hold, and those that would have a meaning of their own in it."""

from __future__ import annotations

from oci_image.layer.pathsafe import MAX_COMPONENT, MAX_PATH, shown
from oci_image.layer.whiteouts import PREFIX

from ..contexts.parts import Part
from ..errors import BuildError

SURELY_SHORT = MAX_COMPONENT // 4
"""Characters of a path that has no part of too many bytes."""
LONGEST_OF_GROUP = (MAX_PATH - MAX_COMPONENT) // 4 - 1
"""Characters of a directory in which no path has too many bytes."""

_MARK = PREFIX.encode()


def check_name(name: str, path: str) -> None:
    """
    Make sure that a layer can hold a path, of which `name` is the last part.

    Raises:
        BuildError: it cannot.
    """
    if name.startswith(PREFIX):
        raise BuildError(
            f"/{path}: a layer cannot hold a name that starts with {PREFIX!r}, it would remove a file",
            hint="rename it, or leave it out with .dockerignore or --exclude",
        )
    for text, most in ((name, MAX_COMPONENT), (path, MAX_PATH)):
        if len(text) > most // 4 and len(text.encode("utf-8", "surrogateescape")) > most:
            what = "a path" if most == MAX_PATH else "a part of a path"
            raise BuildError(f"/{shown(path)}: {what} cannot have more than {most} bytes")


def has_marks(part: Part) -> bool:
    """Whether a name of a file in a part of a selection may have a meaning of its own."""
    names = part.names.read()
    return names.startswith(_MARK) or b"\0" + _MARK in names
