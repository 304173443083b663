"""The caches of ``--cache-from`` and ``--cache-to``, with the user's settings for registries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import InvalidOption
from ..local import LocalStore
from ..request import BuildRequest
from .settings import Settings

if TYPE_CHECKING:
    from oci_image.reference import Reference

    from ..cachetransfer.options import CacheExport, CacheImport
    from ..cachetransfer.places import CacheDestination, CacheSource
    from ..cachetransfer.registry import Connect
    from ..cachetransfer.transfer import CacheTransfer, Needed


def open_caches(request: BuildRequest, settings: Settings, store: LocalStore) -> CacheTransfer | None:
    """
    What imports and exports the caches of a build; None for one without any.

    Raises:
        InvalidOption: a cache is to be exported into the store itself.
    """
    if not request.cache_from and not request.cache_to:
        return None
    if any(one.path == store.root for one in request.cache_to):
        raise InvalidOption(f"--cache-to: {store.root} is the local store", hint="name another directory")
    from ..cachetransfer.transfer import CacheTransfer

    return CacheTransfer(
        needed=_needed(request),
        sources=[_source(one, settings, store) for one in request.cache_from],
        exports=[(one, _destination(one, settings, store)) for one in request.cache_to if not one.is_inline],
        inline=any(one.is_inline for one in request.cache_to),
    )


def _needed(request: BuildRequest) -> Needed:
    from ..cachetransfer.transfer import Needed
    from .outputs import read_outputs

    outputs = read_outputs(request)
    images = [one for one in outputs if one.type in ("image", "registry")]
    names = [(one, name) for one in images for name in (one.names or request.tags)]
    return Needed(
        bytes=request.squash
        or any(one.recompress or one.clamp for one in outputs)
        or len(images) < len(outputs),
        image=bool(request.tags) or any(one.store for one, _ in names),
        pushed_to=frozenset(name.registry for one, name in names if one.push),
    )


def _source(option: CacheImport, settings: Settings, store: LocalStore) -> CacheSource:
    if option.reference is None:
        from ..cachetransfer.local import DirectorySource

        return DirectorySource(option)
    from ..cachetransfer.registry import RegistrySource

    connect = _connect(option.reference, settings, insecure=option.insecure)
    return RegistrySource(option.reference, connect, store.notes)


def _destination(option: CacheExport, settings: Settings, store: LocalStore) -> CacheDestination:
    if option.reference is None:
        from ..cachetransfer.local import DirectoryDestination

        return DirectoryDestination(option, store.notes)
    from ..cachetransfer.registry import RegistryDestination

    connect = _connect(option.reference, settings, insecure=option.insecure)
    return RegistryDestination(option.reference, option.encoder, connect, store.notes)


def _connect(reference: Reference, settings: Settings, *, insecure: bool) -> Connect:
    from .transfers import open_transport

    if insecure:
        registries = (*settings.insecure_registries, reference.registry)
        settings = replace(settings, insecure_registries=registries)
    return lambda: open_transport(settings)
