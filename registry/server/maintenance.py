"""A registry's directory for those who look after it without a server."""

from __future__ import annotations

from .store.filesystem import FilesystemStore
from .store.rebuilding import rebuild

Directory = FilesystemStore


def open_directory(root: str) -> Directory:
    """
    The directory, of which the caller is the only user until it is closed.

    Raises:
        InvalidConfiguration: a registry uses it, or it cannot be written.
    """
    return FilesystemStore(root)


def rebuild_index(directory: Directory) -> None:
    """Make the index again from the files."""
    rebuild(directory.layout, directory.index)


def remove_repository(directory: Directory, repository: str) -> bool:
    """Remove the manifests, tags and blobs of a repository; False when there is none of that name."""
    return directory.remove_repository(repository)
