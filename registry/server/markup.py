"""
HTML as values that are escaped unless they are HTML already.

Invariant: only `element` and `join` make `Markup`, and both escape every other string, in text and in
attributes; so what clients sent cannot become markup. Governing source: HTML Living Standard, "Serializing".
"""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = ("meta", "link", "br", "hr", "rect", "img", "input")


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Anything as HTML; control characters become visible."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)
    return Markup(html.escape(text, quote=True))


def join(parts: Iterable[object]) -> Markup:
    """The parts one after the other."""
    return Markup("".join(escape(part) for part in parts))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """
    An element.

    Args:
        name: of the element; never from outside.
        children: text, which is escaped, or markup; None is left out.
        attributes: a final underscore is dropped, others become ``-``; None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>" if name != "rect" else f"<{name}{written}/>")
    content = join(child for child in children if child is not None)
    return Markup(f"<{name}{written}>{content}</{name}>")
