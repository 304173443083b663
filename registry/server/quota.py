"""
How many bytes still fit into the repositories of a policy.

Invariants: what several repositories of the policy have counts once; uploads count while they grow, so nobody
sends gigabytes that are refused at the end; two uploads that end at once do not both take the last bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard

from oci_image.digest import Digest

from ..errors import Denied, InvalidConfiguration
from .policies import Policy, policy_of
from .rights import matches
from .store.base import RegistryStore

if TYPE_CHECKING:
    from .store.indexed import IndexedStore

_BLOBS = "SELECT repository, digest, size FROM blobs WHERE repository >= ? AND repository < ?"
_MANIFESTS = "SELECT repository, digest, size FROM manifests WHERE repository >= ? AND repository < ?"


def check_store(store: RegistryStore, policies: Sequence[Policy]) -> None:
    """
    Refuse policies that a store in memory cannot keep.

    Raises:
        InvalidConfiguration: one of them has a quota or lets tags go.
    """
    if policies and not _is_directory(store):
        check_policies_of_memory(policies)


def check_policies_of_memory(policies: Sequence[Policy]) -> None:
    """
    The same before there is a store.

    Raises:
        InvalidConfiguration: one of them has a quota or lets tags go.
    """
    if any(p.quota or p.has_retention for p in policies):
        raise InvalidConfiguration(
            "quotas and retention need content that outlives the server",
            hint="choose a root, or leave them out of the policies",
        )


def _is_directory(store: RegistryStore) -> TypeGuard[IndexedStore]:
    from .store.indexed import IndexedStore  # loads SQLite

    return isinstance(store, IndexedStore)


def usage(store: IndexedStore, policy: Policy) -> int:
    """The bytes of all repositories of the policy."""
    return sum(_contents(store, policy).values())


def _contents(store: IndexedStore, policy: Policy) -> dict[str, int]:
    prefix = policy.repositories.partition("*")[0]
    # No name has a character that sorts as high as the one that ends the range.
    bounds = (prefix, prefix + ("\x7f" if prefix != policy.repositories else "\0"))
    return {
        digest: size
        for statement in (_BLOBS, _MANIFESTS)
        for repository, digest, size in store.index.rows(statement, *bounds)
        if matches(policy.repositories, repository)
    }


def room(
    store: RegistryStore, policies: Sequence[Policy], repository: str, *, besides: str = ""
) -> int | None:
    """
    How many bytes an upload may add; None for any number.

    Args:
        store: where it goes.
        policies: what holds for which repositories.
        repository: where it goes.
        besides: identifier of an upload that does not count.
    """
    policy = policy_of(policies, repository)
    if policy is None or not policy.quota or not _is_directory(store):
        return None
    growing = sum(
        size
        for name, identifier, size in store.uploads.sizes()
        if identifier != besides and matches(policy.repositories, name)
    )
    return max(0, policy.quota - usage(store, policy) - growing)


def exceeded(policies: Sequence[Policy], repository: str) -> Denied:
    """The answer to somebody who wants more."""
    policy = policy_of(policies, repository)
    quota = policy.quota if policy is not None else 0
    pattern = policy.repositories if policy is not None else repository
    return Denied(
        {"repositories": pattern, "quota": quota},
        message=f"the quota of {quota} bytes for {pattern} would be exceeded",
    )


@contextmanager
def taking(
    store: RegistryStore, policies: Sequence[Policy], repository: str, digest: Digest, size: int
) -> Iterator[None]:
    """
    Surround the moment when content becomes a repository's.

    Raises:
        Denied: it does not fit.
    """
    policy = policy_of(policies, repository)
    if policy is None or not policy.quota or not _is_directory(store):
        yield
        return
    with store.quota_lock:
        contents = _contents(store, policy)
        if str(digest) not in contents and sum(contents.values()) + size > policy.quota:
            raise exceeded(policies, repository)
        yield
