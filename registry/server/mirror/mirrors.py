"""
The mirrors of a server: what they consist of, and the time in which they work.

Invariants: nothing of them works before `running` or after it; what was fetched completely is kept before it
ends.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from aiohttp import web

from oci_image.digest import Digest

from ...errors import InvalidConfiguration
from ..config import RegistryConfig
from ..state import STATE, ServerState
from ..store.filesystem import FilesystemStore
from ..store.indexed import IndexedStore
from .answers import Answers
from .blobs import Blobs
from .errands import Errands
from .figures import Figures
from .flights import Flights
from .lists import Lists
from .manifests import Manifests
from .names import Names, is_allowed, place_of
from .patience import Patience
from .records import Records
from .settings import Mirror
from .site import Site
from .upstream import OpenUpstream, Upstream

_LOG = logging.getLogger(__name__)


class Mirrors:
    """
    All mirrors of one server; `running` surrounds the time in which they work.

    Attributes:
        errands: finds what requests mean.
        answers: answers them.

    Args:
        config: the settings.
        open_upstream: leads to the registry behind a mirror.

    Raises:
        InvalidConfiguration: there are mirrors and no way to their upstreams.
    """

    errands: Errands
    answers: Answers

    def __init__(self, config: RegistryConfig, open_upstream: OpenUpstream | None) -> None:
        if open_upstream is None:
            raise InvalidConfiguration(
                "mirrors need a client for their upstreams", hint="pass upstreams, or use pybuild registry"
            )
        self._mirrors = config.mirrors
        self._open_upstream = open_upstream
        self._names = Names(config.mirrors)

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """A cleanup context of the application."""
        state = app[STATE]
        directory, temporary = _directory(state)
        records = Records(_records_path(state.config), time.time)
        manifests, blobs, lists = Manifests(state, records), Blobs(state, directory), Lists(state)
        figures = Figures(state.metrics)
        repairs: Flights[bool] = Flights()

        async with AsyncExitStack() as stack:
            sites = {
                mirror.prefix: _site(
                    mirror, await stack.enter_async_context(self._open_upstream(mirror)), figures
                )
                for mirror in self._mirrors
            }

            def repair(digest: Digest) -> None:
                repairs.begin(digest, lambda: self._repair(state, blobs, sites, digest))

            self.errands = Errands(state, self._names, sites)
            self.answers = Answers(manifests, blobs, lists)
            state.on_damage.append(repair)
            yield
            state.on_damage.remove(repair)
            for part in (repairs, manifests, lists, blobs):
                await part.close()
        records.close()
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)

    async def _repair(self, state: ServerState, blobs: Blobs, sites: dict[str, Site], digest: Digest) -> bool:
        """Get something that was put aside from an upstream again; False if none has it."""
        if not isinstance(state.store, IndexedStore):
            return False
        for repository in await state.in_thread(state.store.index.holders, digest):
            found = self._names.of_prefix(repository)
            if found is None or not is_allowed(place := place_of(*found)):
                continue
            if await blobs.repair(sites[place.mirror.prefix], place, digest):
                _LOG.info("%s was repaired from the upstream of %s", digest, place.mirror.prefix)
                return True
        return False

    def origin_of(self, repository: str) -> str:
        """Where the content of a repository comes from, for people; empty for one that is only here."""
        found = self._names.of_prefix(repository)
        return "" if found is None else f"{found[0].origin}/{place_of(*found).remote}"


def _site(mirror: Mirror, upstream: Upstream, figures: Figures) -> Site:
    patience = Patience(mirror.prefix, offline=mirror.offline, missing_ttl=mirror.missing_ttl)
    return Site(mirror=mirror, upstream=upstream, patience=patience, figures=figures)


def _directory(state: ServerState) -> tuple[str, str]:
    """Where blobs arrive, and what is to be removed at the end."""
    if isinstance(state.store, FilesystemStore):
        return state.store.layout.temporary, ""
    if not state.config.directory:
        directory = tempfile.mkdtemp(prefix="pybuild-mirror-")
    else:  # beside a bucket: there may be little room elsewhere
        directory = f"{state.config.directory}/mirror-arriving"
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
    return directory, directory


def _records_path(config: RegistryConfig) -> str:
    return f"{config.directory}/mirror.db" if config.directory else ":memory:"
