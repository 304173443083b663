"""
The build context: a directory, seen through its ignore rules, from which COPY, ADD and bind mounts select.

Nothing is read before it is selected. A pattern means the same wherever it is asked again: `select` with the
same arguments returns the same object for as long as the context is open, so that what is copied is what the
plan was made of. Governing text: "COPY" in the Dockerfile reference.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from dockerfile_grammar.errors import InvalidPattern
from dockerfile_grammar.ignorefile import IgnoreMatcher, read_patterns
from dockerfile_grammar.spans import Span

from ..completion import completed
from ..errors import InvalidContext, MissingSource
from ..opening import OpenDirectories
from .filedigests import check_unchanged, each_unchanged, open_unchanged
from .finding import Finder, has_magic, normalised, refuse_links, unescaped
from .listing import Listing, Looked
from .missing import IgnoreFile, explain_missing
from .parts import Entry, Part
from .partstore import Parts, PartStore
from .selection import Selected, Selection
from .statcache import StatCache

_ROOT_MODE = 0o755
"""The mode of the context root itself does not count: it is the checkout's, not the project's."""


class _Source(NamedTuple):
    """One source that matched, and its parts, most of which are not made yet."""

    path: str
    name: str
    is_dir: bool
    parts: Iterable[Part]


class ContextFiles:
    """Opens what was selected, as long as it has not changed; for one thread, closed by its user."""

    def __init__(self, root: str) -> None:
        self._directories = OpenDirectories(root)

    def open(self, entry: Entry) -> int:
        """
        A descriptor of a selected file, which the caller closes.

        Raises:
            InvalidContext: the file is not the one that was digested.
        """
        return open_unchanged(self._directories, entry.path, entry.stamp)

    def each(self, directory: str, names: Sequence[bytes], stamps: bytes) -> Iterator[bytes]:
        """
        The contents of small files of a directory.

        Raises:
            InvalidContext: a file is not the one that was digested.
        """
        return each_unchanged(self._directories, directory, names, stamps)

    def check(self, descriptor: int, entry: Entry) -> None:
        """
        Make sure, after reading, that the file did not change meanwhile.

        Raises:
            InvalidContext: it did.
        """
        check_unchanged(descriptor, entry.path, entry.stamp)

    def close(self) -> None:
        """Close everything; idempotent."""
        self._directories.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()


class BuildContext:
    """
    One directory to build from; for one thread at a time, closed by its user.

    Args:
        root: the directory.
        matcher: what is left out; None for nothing.
        stats: where digests of unchanged files are found.
        ignore_file: where the patterns come from, for messages.
    """

    def __init__(
        self,
        root: str,
        matcher: IgnoreMatcher | None,
        stats: StatCache,
        *,
        ignore_file: IgnoreFile | None = None,
    ) -> None:
        self.root = root
        self._matcher = matcher
        self._stats = stats
        self._ignore_file = ignore_file
        self._directories: OpenDirectories | None = None
        self._opened: Finder | None = None
        self._selections: dict[tuple[str, tuple[str, ...], bool], Selection] = {}

    @property
    def matcher(self) -> IgnoreMatcher | None:
        """What is left out; None for nothing."""
        return self._matcher

    def select(self, pattern: str, *, exclude: tuple[str, ...] = (), parents: bool = False) -> Selection:
        """
        Everything that a source path selects, in order, with its digest (blocking).

        A link that is named is followed inside the context; ``..`` stops at the root; a pattern with
        wildcards may match nothing; a directory stands for its content.

        Args:
            pattern: a path from the context root; wildcards match one component each, and ``**`` any number
                of them with `parents`.
            exclude: ignore patterns, relative to the source.
            parents: keep the directories above what is selected, from a ``/./`` in the pattern on.

        Raises:
            MissingSource: a path without wildcards that is not there.
            InvalidContext: something cannot be read, or changes meanwhile.
            InvalidPattern: a pattern is malformed.
        """
        key = (pattern, exclude, parents)
        known = self._selections.get(key)
        if known is None:
            sources = self._with_parents(pattern, exclude) if parents else self._plain(pattern, exclude)
            known = self._selections[key] = Selection(pattern, self._completed(sources))
        return known

    @property
    def looked(self) -> Looked:
        """What the selections depend on, beside the ignore file."""
        return self._opened.listing.looked if self._opened is not None else Looked({}, {})

    def files(self) -> ContextFiles:
        """What opens selected files; each thread takes its own."""
        return ContextFiles(self.root)

    def save(self) -> None:
        """Remember the digests that were computed (blocking); never an error."""
        if self._opened is not None:
            self._opened.table.save(self._opened.listing.listed)

    def close(self) -> None:
        """Close everything; idempotent."""
        if self._directories is not None:
            self._directories.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()

    @property
    def _finder(self) -> Finder:
        if self._opened is None:
            self._directories = OpenDirectories(self.root)
            table = self._stats.load(self.root)
            self._opened = Finder(Listing(self._directories, self._matcher, table.spool), table)
        return self._opened

    def _completed(self, sources: Iterable[_Source]) -> tuple[Selected, ...]:
        """What the sources come to, with the digests of all files."""
        finder = self._finder
        store = PartStore(finder.listing.spool, finder.table.folders.pages)
        starts: list[tuple[_Source, int]] = []
        pairs = ((source, part) for source in sources for part in source.parts)
        for source, part in completed(pairs, finder, self.root):
            if not starts or starts[-1][0] is not source:
                starts.append((source, len(store)))
            store.append(part)
        ends = [*(start for _, start in starts[1:]), len(store)]
        return tuple(
            Selected(source.path, source.name, Parts(store, start, end), is_dir=source.is_dir)
            for (source, start), end in zip(starts, ends, strict=bool(starts))
        )

    def _plain(self, pattern: str, exclude: tuple[str, ...]) -> Iterator[_Source]:
        excluded = IgnoreMatcher(exclude) if exclude else None
        sources = (self._selected(path, excluded) for path in self._named(pattern))
        return (source for source in sources if source is not None)

    def _named(self, pattern: str) -> list[str]:
        path = normalised(pattern)
        if has_magic(path):
            return self._finder.matches(path)
        if self._finder.followed(path) is None:
            meant = unescaped(path)
            if meant == path or self._finder.followed(meant) is None:
                raise self._missing(path, pattern)
            path = meant
        return [path]

    def _selected(self, path: str, excluded: IgnoreMatcher | None) -> _Source | None:
        finder, name = self._finder, posixpath.basename(path)
        real = finder.followed(path)
        if real is None:
            # A wildcard matched a link that leads nowhere; there is no content to copy.
            raise self._missing(path, path)
        node = finder.listing.node(real) if real else None
        if node is None or stat.S_ISDIR(node.mode):
            mode = _ROOT_MODE if node is None else node.mode
            return _Source(path, name, True, finder.below(real, mode, excluded))
        if excluded is not None and excluded.is_ignored(name):
            return None
        return _Source(path, name, False, (finder.single(real, node),))

    def _with_parents(self, pattern: str, exclude: tuple[str, ...]) -> Iterator[_Source]:
        above, pivot, rest = pattern.partition("/./")
        if not pivot:
            above, rest = "", pattern
        rest = normalised(rest)
        if not has_magic(pattern) and self._finder.followed(normalised(f"{above}/{rest}")) is None:
            raise self._missing(normalised(f"{above}/{rest}"), pattern)
        if not has_magic(pattern):
            start = self._finder.followed(normalised(above)) or ""
            refuse_links(normalised(f"{start}/{rest}"), self._finder.followed)
        # Everything is left out but what matches and the directories above it.
        excluded = IgnoreMatcher(("**", f"!{rest or '**'}", *exclude))
        for path in self._named(above):
            real = self._finder.followed(path)
            node = self._finder.listing.node(real) if real else None
            if real is not None and (node is None or stat.S_ISDIR(node.mode)):
                yield _Source(path, "", True, self._finder.below(real, _ROOT_MODE, excluded))

    def _missing(self, path: str, written: str) -> MissingSource:
        return explain_missing(
            self._finder, path, written, root=self.root, matcher=self._matcher, ignore_file=self._ignore_file
        )


def open_context(root: str, stats: StatCache, *, dockerfile: str | None = None) -> BuildContext:
    """
    A build context with the ignore rules that belong to it (blocking).

    Args:
        root: the directory.
        stats: the stat cache.
        dockerfile: path of the Dockerfile, whose own ``<Dockerfile>.dockerignore`` replaces the general one.

    Raises:
        InvalidContext: the directory or the ignore file cannot be read.
        InvalidPattern: a line of the ignore file is malformed.
    """
    if not os.path.isdir(root):
        raise InvalidContext(
            f"the build context {root} is not a directory",
            hint="give a directory to build from, as in: pybuild -t app:1 .",
        )
    ignore_file = _read_ignore_file(root, dockerfile)
    if ignore_file is None:
        return BuildContext(root, None, stats)
    patterns = read_patterns(ignore_file.text)
    try:
        matcher = IgnoreMatcher(patterns)
    except InvalidPattern as problem:
        problem.message = f"{ignore_file.name}: {problem.message}"
        line = _malformed_line(ignore_file)
        raise problem.located(Span(ignore_file.name, line, line)) from None
    return BuildContext(root, matcher, stats, ignore_file=ignore_file)


def _malformed_line(ignore_file: IgnoreFile) -> int:
    """The first line of an ignore file that is no pattern."""
    for number, line in enumerate(ignore_file.text.split("\n"), 1):
        try:
            IgnoreMatcher(read_patterns(line))
        except InvalidPattern:
            return number
    return 1


def _read_ignore_file(root: str, dockerfile: str | None) -> IgnoreFile | None:
    names = [f"{dockerfile}.dockerignore"] if dockerfile else []
    for path in [*names, os.path.join(root, ".dockerignore")]:
        try:
            with open(path, "rb") as file:
                return IgnoreFile(os.path.basename(path), file.read().decode("utf-8", "surrogateescape"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as problem:
            raise InvalidContext(f"cannot read {path}: {problem.strerror}") from problem
    return None
