"""Chooses how a build is shown; a renderer is an event sink and a context manager."""

from __future__ import annotations

from typing import Protocol, Self, TextIO

from ...events import Event


class Progress(Protocol):
    """Shows events; leaving the ``with`` block finishes the picture, on every path."""

    def __call__(self, event: Event) -> None:
        """Show the event."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


def open_progress(kind: str, out: TextIO, *, color: bool) -> Progress:
    """
    The renderer for ``--progress``: auto, plain, tty, json, rawjson or quiet.

    "auto" is tty on a terminal that can show it, otherwise plain.
    """
    if kind == "quiet":
        from .quiet import QuietProgress

        return QuietProgress(out)
    if kind == "json":
        from .jsonlines import JsonProgress

        return JsonProgress(out)
    if kind == "rawjson":
        from .rawjson import RawJsonProgress

        return RawJsonProgress(out)
    if kind == "tty" or (kind == "auto" and out.isatty() and color):
        from .tty import TtyProgress

        return TtyProgress(out, color=color)
    from .plain import PlainProgress

    return PlainProgress(out)
