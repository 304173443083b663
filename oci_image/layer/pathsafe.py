"""
Names out of untrusted archives, made into paths below the root.

`clean` is the only way from a name in an archive to a path: no ``..``, no absolute path, no NUL, bounded.
"""

from __future__ import annotations

from ..errors import UnsafeLayer

MAX_PATH = 4096
MAX_COMPONENT = 255


def clean(name: str) -> str:
    """
    The path of a member: absolute names are taken relative to the root, ``.`` and empty parts vanish.

    Raises:
        UnsafeLayer: the name has a ``..`` part or a NUL, or is longer than Linux can hold.
    """
    if len(name) <= MAX_COMPONENT and name.isascii() and _is_plain(name):
        return name.rstrip("/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeLayer(f"{shown(name)}: a name in a layer may not contain '..'")
    if "\0" in name:
        raise UnsafeLayer(f"{shown(name)}: a name in a layer may not contain NUL")
    # A character takes at most four bytes, so short names need no encoding to be measured.
    if len(name) > MAX_PATH // 4 and len(name.encode("utf-8", "surrogateescape")) > MAX_PATH:
        raise UnsafeLayer(f"{shown(name)}: the name is longer than {MAX_PATH} bytes")
    for part in parts:
        if len(part) > MAX_COMPONENT // 4 and len(part.encode("utf-8", "surrogateescape")) > MAX_COMPONENT:
            raise UnsafeLayer(f"{shown(name)}: a part of the name is longer than {MAX_COMPONENT} bytes")
    return "/".join(parts)


def _is_plain(name: str) -> bool:
    """Whether a name is surely clean but for slashes at its end; most are."""
    return not (name.startswith(("/", ".")) or "/." in name or "//" in name or "\0" in name)


def parent_of(path: str) -> str:
    """The directory that holds the path; "" for the top level."""
    return path.rpartition("/")[0]


def ancestors(path: str) -> list[str]:
    """The directories above a path, the root included, the path itself not."""
    above = []
    while path:
        path = path.rpartition("/")[0]
        above.append(path)
    return above


def shown(name: str) -> str:
    """A name for a message: printable and not too long."""
    text = name if len(name) <= 200 else name[:197] + "..."
    return text if text.isprintable() else repr(text)
