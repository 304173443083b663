"""
How lowering, which does not wait, comes to what has to be fetched.

It asks for a file or a directory, and `NotFetched` is raised the first time; whoever lowers awaits `fetch`
then, and lowers the instruction again. Everything is fetched once in a build, so that all its steps see the
same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .remote import GitSource, UrlSource

if TYPE_CHECKING:
    from .http import FetchedFile


class NotFetched(Exception):
    """Lowering needs something that is not here yet."""

    def __init__(self, source: UrlSource | GitSource) -> None:
        super().__init__(source)
        self.source = source


class Remotes(Protocol):
    """
    What lowering and planning know of the network.

    Where nothing `fetches`, because the plan is only looked at, nothing else is asked for.
    """

    fetches: bool

    def file(self, source: UrlSource) -> FetchedFile:
        """
        The file behind a URL.

        Raises:
            NotFetched: it has to be fetched first.
        """
        ...

    def directory(self, source: GitSource) -> str:
        """
        The name of the build context that a git repository became.

        Raises:
            NotFetched: it has to be fetched first.
        """
        ...

    async def fetch(self, source: UrlSource | GitSource) -> None:
        """
        Get what `file` or `directory` gives from then on.

        Raises:
            BuildError: it is not to be had.
        """
        ...

    async def time_of(self, source: UrlSource | GitSource) -> int | None:
        """
        The time of something that was fetched, in Unix seconds; None where nothing tells one.

        A commit has its own, a file that of the server, and without it an archive that of its newest member.
        """
        ...
