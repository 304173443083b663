"""
Where things are below the root of a registry on disk, and the lock that makes one process its only writer.

    ROOT/lock                                                 held while a registry uses the directory
    ROOT/blobs/<algorithm>/<2 hex digits>/<hex>               content, once for all repositories
    ROOT/quarantine/<algorithm>-<hex>-<random>                content that was found to be damaged
    ROOT/trash/                                               what was collected, for a while, and why
    ROOT/index.db                                             what can be read again from all the rest
    ROOT/format                                               version of this tree
    ROOT/repositories/<repository>/oci-layout, index.json     make the directory an OCI image layout
    ROOT/repositories/<repository>/blobs/<algorithm>/<hex>    link to the content: the repository has it;
                                                              or the bytes of a manifest, for the image layout
    ROOT/repositories/<repository>/manifests/<algorithm>/<hex>  a line of JSON, then the manifest's bytes
    ROOT/repositories/<repository>/referrers/<subject>/<digest> empty: the manifest has the subject
    ROOT/repositories/<repository>/tags/<tag>                 a digest
    ROOT/uploads/<repository>/<identifier>.<algorithm>        bytes received so far
    ROOT/uploads.empty                                        uploads without bytes
    ROOT/incoming/                                            emptied at the start

Invariants: a repository is *one* directory whose name has ``~`` for ``/``. A name of the specification has
neither ``~`` nor a leading dot, so no repository can meet another one's files or leave the root, and names of
full length still fit a file name.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.store.lock import sync_directory

from ...errors import InvalidConfiguration
from .durable import storage_errors


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below a root."""

    root: str

    @property
    def temporary(self) -> str:
        """Where files are written before they get their name."""
        return f"{self.root}/incoming"

    @property
    def index(self) -> str:
        """The index of everything."""
        return f"{self.root}/index.db"

    @property
    def trash(self) -> str:
        """Where collected files rest until nobody can want them back."""
        return f"{self.root}/trash"

    @property
    def repositories(self) -> str:
        """The parent of all repositories."""
        return f"{self.root}/repositories"

    @property
    def uploads(self) -> str:
        """The parent of all uploads."""
        return f"{self.root}/uploads"

    def blob_directory(self, digest: Digest) -> str:
        """Relative: the directory of a blob's content."""
        return f"blobs/{digest.algorithm}/{digest.hex[:2]}"

    def blob(self, digest: Digest) -> str:
        """A blob's content."""
        return f"{self.root}/{self.blob_directory(digest)}/{digest.hex}"

    def member_directory(self, repository: str, kind: str, algorithm: str) -> str:
        """Relative: the directory of a repository's ``blobs`` or ``manifests``."""
        return f"repositories/{flatten(repository)}/{kind}/{algorithm}"

    def member(self, repository: str, kind: str, digest: Digest) -> str:
        """The file that says that a repository has a blob or a manifest."""
        return f"{self.root}/{self.member_directory(repository, kind, digest.algorithm)}/{digest.hex}"

    def tag_directory(self, repository: str) -> str:
        """Relative: the directory of a repository's tags."""
        return f"repositories/{flatten(repository)}/tags"

    def referrer_directory(self, repository: str, subject: Digest) -> str:
        """Relative: the directory of the referrers of a subject."""
        return f"repositories/{flatten(repository)}/referrers/{subject.algorithm}-{subject.hex}"


def flatten(repository: str) -> str:
    """The name of the directory of a repository."""
    return repository.replace("/", "~")


def unflatten(name: str) -> str:
    """The repository of a directory."""
    return name.replace("~", "/")


def claim(root: str) -> tuple[str, int]:
    """
    Make a directory and lock it; returns its absolute path and the descriptor that holds the lock.

    Raises:
        InvalidConfiguration: another registry uses the directory, or it cannot be written.
    """
    root = os.path.abspath(root)
    try:
        os.makedirs(root, mode=0o755, exist_ok=True)
        descriptor = os.open(f"{root}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as problem:
        raise InvalidConfiguration(
            f"cannot use {root} as the root of a registry: {problem.strerror}",
            hint="choose a directory that this user can write",
        ) from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        os.close(descriptor)
        raise InvalidConfiguration(
            f"another registry uses {root}", hint="stop it, or choose another directory"
        ) from problem
    return root, descriptor


def take(root: str) -> tuple[Layout, int]:
    """
    Prepare a root and lock it; returns the layout and the descriptor that holds the lock.

    Raises:
        InvalidConfiguration: another registry uses the directory, or it cannot be written.
    """
    root, descriptor = claim(root)
    layout = Layout(root)
    with storage_errors():
        shutil.rmtree(layout.temporary, ignore_errors=True)
        for name in ("incoming", "blobs", "repositories", "uploads", "quarantine", "trash"):
            os.makedirs(f"{root}/{name}", mode=0o755, exist_ok=True)
        for name in os.listdir(layout.uploads):
            with suppress(OSError):  # it has uploads
                os.rmdir(f"{layout.uploads}/{name}")
        sync_directory(root)
    return layout, descriptor
