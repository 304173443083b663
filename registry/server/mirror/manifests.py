"""
Manifests of upstreams: tags are checked again after a while, digests never.

Invariants: bytes are verified before they are kept, and are kept and served as they came; one question at a
time is asked about a tag or a digest, and its answer is everybody's; when the upstream fails, what is here is
served. A tag that was pushed here is not taken for one of the upstream.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass

from oci_image.digest import Digest

from ...errors import ApiError
from ...protocol.errors import ErrorCode
from .. import manifest_bodies
from ..manifest_bodies import PushedManifest
from ..policies import policy_of
from ..state import ServerState
from .flights import Flights
from .names import Place
from .records import Record, Records
from .site import Site, error_of
from .upstream import UNCHANGED, Failure, Received, UpstreamFailed

_LOG = logging.getLogger(__name__)
_REMEMBERED = 100_000
_KIND = "manifests"


@dataclass(frozen=True, slots=True)
class Freshness:
    """How sure it is that the upstream has the same; with a problem, since how many seconds it is not."""

    problem: UpstreamFailed | None = None
    age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What is here of a tag: what it stands for, what is known of the last check, whose it is."""

    record: Record | None
    digest: Digest | None
    is_local: bool

    @property
    def etag(self) -> str:
        return self.record.etag if self.record is not None and self.record.digest == self.digest else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the upstream has: the manifest comes along unless it is here."""

    digest: Digest
    etag: str
    fresh: PushedManifest | None = None


class Manifests:
    """
    The manifests of all mirrors of one server.

    Args:
        state: the server.
        records: what upstreams said about tags.
    """

    def __init__(self, state: ServerState, records: Records) -> None:
        self._state = state
        self._records = records
        self._flights: Flights[Freshness] = Flights()
        self._known: OrderedDict[tuple[str, str], Record] = OrderedDict()
        self._sizes: OrderedDict[tuple[str, Digest], int] = OrderedDict()

    async def close(self) -> None:
        """End what goes on."""
        await self._flights.close()

    def size_of(self, repository: str, digest: Digest) -> int | None:
        """The size of a blob, if a manifest that came lately says it."""
        return self._sizes.get((repository, digest))

    def forget(self, repository: str, tag: str) -> None:
        """Check a tag before it is served again."""
        self._known.pop((repository, tag), None)

    async def check_tag(self, site: Site, place: Place, tag: str) -> Freshness:
        """
        See to it that a tag here stands for what it stands for at the upstream, as far as possible.

        Raises:
            ApiError: it is neither here nor there, or cannot be had.
        """
        known = self._known.get((place.repository, tag))
        if known is not None and self._records.age(known) < site.mirror.tag_ttl:
            site.answered("hit")
            return Freshness()
        return await self._flights.join((place.repository, tag), lambda: self._check(site, place, tag))

    async def fetch(self, site: Site, place: Place, digest: Digest) -> None:
        """
        Get a manifest by its digest.

        Raises:
            ApiError: it is not to be had.
        """
        await self._flights.join((place.repository, digest), lambda: self._fetch(site, place, digest))

    async def _check(self, site: Site, place: Place, tag: str) -> Freshness:
        state, mirror, repository = self._state, site.mirror, place.repository
        held = await state.in_thread(self._look, site, place, tag)
        if held.digest is not None and self._needs_no_question(site, place, tag, held):
            site.answered("hit")
            return Freshness()
        try:
            found = await site.ask(_KIND, (repository, tag), lambda: self._question(site, place, tag, held))
            if found is None:
                return await self._gone(site, place, tag, held)
        except UpstreamFailed as problem:
            age = None if held.record is None else self._records.age(held.record)
            too_old = age is not None and 0 < mirror.stale_for < age
            if held.digest is None or too_old:
                site.answered("failed")
                raise error_of(problem, missing=ErrorCode.MANIFEST_UNKNOWN) from problem
            site.answered("stale")
            return Freshness(problem, age)
        site.answered("hit" if found.digest == held.digest else "miss")
        await self._keep(place, tag, held, found)
        return Freshness()

    def _look(self, site: Site, place: Place, tag: str) -> _Held:
        store, repository = self._state.store, place.repository
        record = self._records.get(repository, tag)
        digest = store.tags.get(repository, tag)
        if digest is not None and store.manifests.get(repository, digest) is None:
            digest = None  # it was damaged
        foreign = record is None or record.digest != digest
        return _Held(
            record=record, digest=digest, is_local=digest is not None and site.mirror.push and foreign
        )

    def _needs_no_question(self, site: Site, place: Place, tag: str, held: _Held) -> bool:
        if held.is_local:
            return site.mirror.prefer == "local"
        policy = policy_of(self._state.config.policies, place.repository)
        if policy is not None and policy.is_immutable(tag):
            return True
        record = held.record
        if record is None or record.digest != held.digest:
            return False
        if self._records.age(record) < site.mirror.tag_ttl:
            self._remember(place, tag, record)
            return True
        return False

    async def _question(self, site: Site, place: Place, tag: str, held: _Held) -> _Found | None:
        upstream, limit = site.upstream, self._state.config.manifest_limit
        if held.digest is not None:
            head = await upstream.head_manifest(place.remote, tag)
            if head is None:
                return None
            if head.digest is not None:
                if head.digest == held.digest:
                    return _Found(digest=held.digest, etag=head.etag)
                return await self._moved(site, place, head.digest, head.etag)
        got = await upstream.get_manifest(place.remote, tag, limit=limit, etag=held.etag)
        if got is None:
            return None
        if got is UNCHANGED:
            if held.digest is None:
                raise UpstreamFailed(Failure.BROKEN, f"{tag}: the upstream says 304 without being asked")
            return _Found(digest=held.digest, etag=held.etag)
        fresh = await self._read(got, None)
        return _Found(digest=fresh.stored.digest, etag=got.etag, fresh=fresh)

    async def _moved(self, site: Site, place: Place, digest: Digest, etag: str) -> _Found:
        """The tag stands for something else now, which may be here."""
        state = self._state
        if await state.in_thread(state.store.manifests.get, place.repository, digest) is not None:
            return _Found(digest=digest, etag=etag)
        got = await site.upstream.get_manifest(place.remote, str(digest), limit=state.config.manifest_limit)
        if not isinstance(got, Received):
            raise UpstreamFailed(Failure.BROKEN, f"{digest}: the upstream names it but does not have it")
        return _Found(digest=digest, etag=etag, fresh=await self._read(got, digest))

    async def _read(self, got: Received, wanted: Digest | None) -> PushedManifest:
        def read() -> PushedManifest:
            expected = wanted or got.digest
            digest = Digest.of(got.raw, "sha256" if expected is None else expected.algorithm)
            if expected not in (None, digest):
                raise UpstreamFailed(Failure.LIED, f"{expected}: the upstream delivered {digest}")
            return manifest_bodies.read(got.raw, got.media_type, digest)

        try:
            return await self._state.in_thread(read)
        except ApiError as problem:
            raise UpstreamFailed(
                Failure.BROKEN, f"the upstream delivered no manifest: {problem.message}"
            ) from problem

    async def _keep(self, place: Place, tag: str, held: _Held, found: _Found) -> None:
        state, repository = self._state, place.repository

        def keep() -> Record:
            manifest = (
                found.fresh.stored if found.fresh else state.store.manifests.get(repository, found.digest)
            )
            if manifest is not None:
                state.store.manifests.put(repository, manifest, [tag])
            return self._records.put(repository, tag, found.digest, found.etag)

        if found.digest == held.digest:
            record = await state.in_thread(self._records.put, repository, tag, found.digest, found.etag)
        else:
            with state.metadata.change(repository):
                record = await state.in_thread(keep)
            _LOG.info("%s:%s stands for %s now", repository, tag, found.digest)
        if found.fresh is not None:
            self._note_sizes(repository, found.fresh)
        self._remember(place, tag, record)

    async def _gone(self, site: Site, place: Place, tag: str, held: _Held) -> Freshness:
        """The upstream does not have the tag; what it once said goes as well, but nothing else."""
        state, repository = self._state, place.repository
        said = held.record is not None and held.record.digest == held.digest
        if held.digest is not None and not said:
            site.answered("hit")
            return Freshness()
        site.answered("missing")
        self.forget(repository, tag)
        if held.digest is not None:

            def remove() -> None:
                state.store.tags.delete(repository, tag)
                self._records.remove(repository, tag)

            with state.metadata.change(repository):
                await state.in_thread(remove)
            _LOG.info("%s:%s is gone from the upstream", repository, tag)
        raise ApiError(ErrorCode.MANIFEST_UNKNOWN, {"name": repository, "reference": tag})

    async def _fetch(self, site: Site, place: Place, digest: Digest) -> Freshness:
        state, repository = self._state, place.repository

        async def question() -> PushedManifest | None:
            limit = state.config.manifest_limit
            got = await site.upstream.get_manifest(place.remote, str(digest), limit=limit)
            return await self._read(got, digest) if isinstance(got, Received) else None

        try:
            pushed = await site.ask(_KIND, (repository, digest), question)
        except UpstreamFailed as problem:
            site.answered("failed")
            raise error_of(problem, missing=ErrorCode.MANIFEST_UNKNOWN) from problem
        if pushed is None:
            site.answered("missing")
            raise ApiError(ErrorCode.MANIFEST_UNKNOWN, {"name": repository, "reference": str(digest)})
        site.answered("miss")
        with state.metadata.change(repository):
            await state.in_thread(state.store.manifests.put, repository, pushed.stored)
        self._note_sizes(repository, pushed)
        return Freshness()

    def _remember(self, place: Place, tag: str, record: Record) -> None:
        self._known[place.repository, tag] = record
        self._known.move_to_end((place.repository, tag))
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _note_sizes(self, repository: str, pushed: PushedManifest) -> None:
        for item in pushed.blobs:
            self._sizes[repository, item.digest] = item.size
            self._sizes.move_to_end((repository, item.digest))
        while len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)
