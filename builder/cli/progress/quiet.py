"""Shows warnings and nothing else."""

from __future__ import annotations

from typing import Self, TextIO

from ...events import Event, Notice


class QuietProgress:
    """The renderer of ``--quiet``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        """Show a warning."""
        if isinstance(event, Notice) and event.level == "warning":
            print(f"warning: {event.text}", file=self._out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None
