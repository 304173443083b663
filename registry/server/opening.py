"""
Opening what the settings name as the root of a registry: memory, a directory or a bucket.

Invariant: the state of a bucket for which the settings name no directory is gone when the storage is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import RegistryConfig
from .store.base import RegistryStore
from .store.memory import MemoryStore

if TYPE_CHECKING:
    from .store.bucket_opening import BucketSettings
    from .store.indexed import IndexedStore


def open_store(config: RegistryConfig) -> RegistryStore:
    """
    The store that the settings ask for.

    Raises:
        InvalidConfiguration: the directory cannot be used, or another registry uses it.
    """
    if not config.root:
        return MemoryStore()
    return open_indexed(config)


def bucket_settings(config: RegistryConfig) -> BucketSettings:
    """How the settings say that the bucket is reached."""
    from .store.bucket_opening import BucketSettings

    return BucketSettings(
        endpoint=config.bucket_endpoint,
        region=config.bucket_region,
        credentials=config.bucket_credentials,
        profile=config.bucket_profile,
    )


def open_indexed(config: RegistryConfig) -> IndexedStore:
    """
    The storage at the root, of which the caller is the only user here until it is closed.

    Raises:
        InvalidConfiguration: it cannot be used.
    """
    if not config.is_bucket:
        from .store.filesystem import FilesystemStore

        return FilesystemStore(config.root)
    from .store.bucket_opening import open_bucket
    from .store.bucket_store import BucketStore

    bucket = open_bucket(config.root, bucket_settings(config))
    if config.state:
        return BucketStore(bucket, config.root, config.state, refresh=config.bucket_refresh)
    import tempfile  # none of the others needs it

    fleeting = tempfile.TemporaryDirectory(prefix="pybuild-registry-")
    return BucketStore(
        bucket, config.root, fleeting.name, refresh=config.bucket_refresh, closed=fleeting.cleanup
    )
