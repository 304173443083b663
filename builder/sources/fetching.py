"""
What a build fetches while it is planned: each file and each repository once.

What fetches is loaded when the first thing has to be fetched.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from oci_image.digest import Digest

from ..contexts.context import BuildContext, open_context
from ..contexts.statcache import StatCache
from ..errors import InvalidContext
from ..events import EventSink, TaskDone, TaskProblem, TaskProgress, TaskStarted
from ..host import Host
from ..loop import needs_loop
from .base import NotFetched
from .remote import GitSource, UrlSource, parse_git, without_credentials

if TYPE_CHECKING:
    from ..scratch import Scratch
    from .http import FetchedFile

_T = TypeVar("_T")
_REPORT_EVERY = 0.1


class Fetcher:
    """
    The `Remotes` of one build; closed by its user.

    Args:
        host: the effects.
        sink: is told of transfers.
        contexts: where the contexts that repositories become are added.
        fetches: whether sources of ADD are fetched; named contexts always are.
    """

    def __init__(
        self,
        host: Host,
        sink: EventSink,
        contexts: MutableMapping[str, BuildContext],
        *,
        fetches: bool = True,
    ) -> None:
        self.fetches = fetches
        self._host = host
        self._sink = sink
        self._contexts = contexts
        self._opened: Scratch | None = None
        self._files: dict[UrlSource, FetchedFile] = {}
        self._directories: dict[GitSource, str] = {}
        self._commits: dict[GitSource, int] = {}

    @property
    def was_used(self) -> bool:
        """Whether something was fetched, which an equal build would have to ask for again."""
        return bool(self._files or self._directories)

    def file(self, source: UrlSource) -> FetchedFile:
        """The file behind a URL."""
        if source not in self._files:
            raise NotFetched(source)
        return self._files[source]

    def directory(self, source: GitSource) -> str:
        """The name of the build context that a git repository became."""
        if source not in self._directories:
            raise NotFetched(source)
        return self._directories[source]

    async def fetch(self, source: UrlSource | GitSource) -> None:
        """Get a file or a directory."""
        if isinstance(source, UrlSource):
            await self.fetch_file(source)
            return
        root = await self.check_out(source)
        name = self._directories[source] = f"git:{len(self._directories)}"
        self._contexts[name] = self.open(root)

    async def fetch_file(self, source: UrlSource) -> FetchedFile:
        """
        The file behind a URL, in the blob store.

        Raises:
            BuildError: it is not to be had.
        """
        await needs_loop()
        from .http import fetch_url

        host, task = self._host, f"fetching {source.shown}"
        self._files[source] = await self._task(
            task, lambda report: fetch_url(source, host.blobs, host.state, host.network, report)
        )
        return self._files[source]

    async def directory_of(self, address: str, *, keep_git_dir: bool = False) -> str:
        """
        The path of a directory with what is at an address: a git repository, or an archive behind a URL.

        Raises:
            BuildError: it is not to be had, or no archive.
        """
        git = parse_git(address, context=True)
        if git is not None:
            if keep_git_dir and git.keep_git_dir is None:
                git = replace(git, keep_git_dir=True)
            return await self.check_out(git)
        file = await self.fetch_file(UrlSource(url=address))
        from ..perform.base import in_thread
        from .archives import is_archive

        def unpack() -> str:
            with self.open_blob(file.digest) as stream:
                start = stream.read(512)
            if not is_archive(start):
                raise InvalidContext(f"{without_credentials(address)} is not an archive")
            with self.open_blob(file.digest) as stream:
                return self.unpacked(stream)

        return await in_thread(unpack)

    async def time_of(self, source: UrlSource | GitSource) -> int | None:
        """
        The time of what was fetched, in Unix seconds: of the commit, or by the server, or within an archive.

        Raises:
            ImageError: an archive is broken.
        """
        if isinstance(source, GitSource):
            return self._commits.get(replace(source, keep_git_dir=None))
        file = self._files[source]
        if file.mtime is not None:
            return file.mtime
        from ..perform.base import in_thread

        return await in_thread(self._newest, file.digest)

    def _newest(self, digest: Digest) -> int | None:
        from .archives import is_archive, newest_entry

        with self.open_blob(digest) as stream:
            if not is_archive(stream.read(512)):
                return None
        with self.open_blob(digest) as stream:
            return newest_entry(stream)

    def open_blob(self, digest: Digest) -> BinaryIO:
        """The content of a file that was fetched; the caller closes it."""
        return self._host.blobs.open(digest)

    def unpacked(self, stream: BinaryIO) -> str:
        """
        The path of a new directory with what an archive holds (blocking).

        Raises:
            UnsafeLayer: the archive is broken, or breaks a rule.
        """
        from .archives import unpack_context

        directory = self._scratch.new_directory("context")
        unpack_context(stream, directory, user_namespace=self._host.user_namespace)
        return directory

    def open(self, directory: str) -> BuildContext:
        """A build context in a directory that goes with the build."""
        return open_scratch_context(directory, self._scratch)

    async def check_out(self, source: GitSource) -> str:
        """
        The path of the directory that is meant of a repository, checked out.

        Raises:
            BuildError: it is not to be had.
        """
        await needs_loop()
        from ..perform.base import checkpoint
        from .git import check_out, inside

        place = self._scratch.new_path("git")

        def work(_: Callable[[int, int], None]) -> str:
            commit = check_out(
                source,
                place,
                self._host.state,
                keep_git_dir=source.keep_git_dir is True,
                network=self._host.network,
                checkpoint=checkpoint,
            )
            self._commits[replace(source, keep_git_dir=None)] = commit.time
            return inside(place, source)

        return await self._task(f"fetching {source.shown}", work)

    @property
    def _scratch(self) -> Scratch:
        if self._opened is None:
            from ..scratch import Scratch

            self._opened = Scratch(self._host.state)
        return self._opened

    def new_directory(self, name: str) -> str:
        """A new directory that goes with the build."""
        return self._scratch.new_directory(name)

    def close(self) -> None:
        """Remove everything that was checked out; idempotent."""
        if self._opened is not None:
            self._opened.close()

    async def _task(self, task: str, work: Callable[[Callable[[int, int], None]], _T]) -> _T:
        from ..perform.base import checkpoint, in_thread

        clock, told = self._host.clock, 0.0
        self._sink(TaskStarted(task, clock()))

        def report(done: int, total: int) -> None:
            nonlocal told
            checkpoint()
            if clock() - told > _REPORT_EVERY:
                told = clock()
                self._sink(TaskProgress(task, "", done, total))

        try:
            result = await in_thread(work, report)
        except Exception as problem:
            message = getattr(problem, "message", None) or str(problem)
            self._sink(TaskProblem(task, clock(), message))
            raise
        self._sink(TaskDone(task, clock()))
        return result


def open_scratch_context(root: str, scratch: Scratch) -> BuildContext:
    """A build context in a directory that goes with the build: what is known of its files is not kept."""
    return open_context(root, StatCache(scratch.new_path("stats")))
