"""
What of a server can be changed while it runs, without its settings.

Invariant: a switch counts from the next request on; requests that are running end as they began.
"""

from __future__ import annotations

from typing import Protocol


class Switches(Protocol):
    """The switches of one server, all of its processes included."""

    @property
    def is_read_only(self) -> bool:
        """Whether pushes and deletions are refused."""
        ...

    def set_read_only(self, value: bool) -> None:
        """Refuse pushes and deletions, or take them again; may be called in any thread."""
        ...


class LocalSwitches:
    """
    Implements `Switches` for one process.

    Args:
        read_only: how the server starts.
    """

    def __init__(self, *, read_only: bool) -> None:
        self._read_only = read_only

    @property
    def is_read_only(self) -> bool:
        """Whether pushes and deletions are refused."""
        return self._read_only

    def set_read_only(self, value: bool) -> None:
        """Refuse pushes and deletions, or take them again."""
        self._read_only = value
