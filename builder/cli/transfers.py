"""Pushing, pulling and fetching for the verbs: the client with the user's settings, shown as events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import ImageError
from oci_image.image import Image, Layer
from oci_image.platform import Platform
from oci_image.reference import Reference

from ..errors import CannotResolve, InvalidOption
from ..events import EventSink, TaskDone, TaskProblem, TaskProgress, TaskStarted, discard
from ..local import LocalStore
from .settings import VERSION, Settings

if TYPE_CHECKING:
    from oci_image.layer.encoders import Encoder
    from registry.client.credentials import CredentialStore
    from registry.client.progress import BlobProgress
    from registry.client.session import TransportOptions
    from registry.client.transport import Transport


class Fetcher:
    """Gets base images and absent layers for a build; a transport for each use, since loops end."""

    def __init__(self, settings: Settings, store: LocalStore, sink: EventSink = discard) -> None:
        self._settings = settings
        self._store = store
        self.sink = sink

    async def image(self, reference: Reference, platform: Platform) -> Image:
        """
        An image's documents out of its registry; layers stay where they are.

        Raises:
            NotFound, RegistryError: it is not to be had.
        """
        from registry.client.client import RegistryClient
        from registry.client.pulling import pull

        async with open_transport(self._settings) as transport:
            client = RegistryClient(transport, reference.registry)
            pulled = await pull(
                client, reference, platform, self._store.blobs, notes=self._store.notes, layers="none"
            )
        return pulled.image

    async def layers(self, layers: tuple[Layer, ...]) -> None:
        """
        Layers from wherever they are known to be.

        Raises:
            NotFound, CannotResolve: one is not to be had.
        """
        from registry.client.fetching import fetch_layers
        from registry.errors import RegistryError

        with _task(self.sink, "fetching base layers") as report:
            async with open_transport(self._settings) as transport:
                try:
                    await fetch_layers(
                        transport,
                        [layer.descriptor for layer in layers],
                        self._store.blobs,
                        notes=self._store.notes,
                        on_progress=report,
                    )
                except RegistryError as problem:
                    message = f"cannot fetch the layers of the base: {problem.message}"
                    raise CannotResolve(message, hint=problem.hint) from problem


async def pull_image(
    settings: Settings, store: LocalStore, reference: Reference, platform: Platform | None, sink: EventSink
) -> Digest:
    """
    Pull an image with its layers and name it; returns the digest of its manifest.

    Without a platform everything under the name is pulled, and the name stands for the index.

    Raises:
        NotFound, VerificationFailed, RegistryError: it is not to be had, or not what was promised.
    """
    from registry.client.client import RegistryClient
    from registry.client.pulling import pull

    with _task(sink, f"pulling {reference.familiar}") as report:
        async with open_transport(settings) as transport:
            client = RegistryClient(transport, reference.registry)
            pulled = await pull(
                client, reference, platform, store.blobs, notes=store.notes, on_progress=report
            )
    descriptor = pulled.root.descriptor if platform is None else pulled.image.manifest.descriptor
    store.tags.set(str(reference), descriptor)
    return descriptor.digest


async def push_image(
    settings: Settings,
    store: LocalStore,
    descriptor: Descriptor,
    reference: Reference,
    sink: EventSink,
    *,
    compression: str,
) -> Descriptor:
    """
    Push an image of the store; returns the descriptor of the manifest that the registry has.

    Raises:
        InvalidOption: the compression is not known.
        NotFound, RegistryError: a part is missing, or the registry refused.
    """
    from registry.client.client import RegistryClient
    from registry.client.pushing import ImageSource, push

    encoder = read_encoder(compression)
    with _task(sink, f"pushing {reference.familiar}") as report:
        async with open_transport(settings) as transport:
            pushed = await push(
                RegistryClient(transport, reference.registry),
                ImageSource(blobs=store.blobs, root=descriptor),
                reference,
                notes=store.notes,
                encoder=encoder,
                on_progress=report,
            )
    return pushed


def read_encoder(text: str) -> Encoder:
    """
    The encoder of ``--compression``.

    Raises:
        InvalidOption: there is none of this name.
    """
    from oci_image.layer.encoders import parse_encoder

    try:
        return parse_encoder(text)
    except ImageError as problem:
        raise InvalidOption(f"--compression {text}: {problem.message}", hint=problem.hint) from problem


def credential_store(settings: Settings) -> CredentialStore:
    """Docker's own credentials, so that ``docker login`` and ours are one."""
    from registry.client.credentials import CredentialStore

    return CredentialStore(f"{settings.docker_config}/config.json", settings.environment)


def transport_options(settings: Settings) -> TransportOptions:
    """What the environment says about reaching registries."""
    from registry.client.session import TransportOptions

    return TransportOptions(
        insecure=frozenset(settings.insecure_registries),
        ca_file=settings.tls_ca,
        user_agent=f"pybuild/{VERSION}",
        proxies=settings.proxies,
        no_proxy=settings.no_proxy,
    )


def open_transport(settings: Settings) -> Transport:
    """The door to registries with the user's credentials and settings."""
    from registry.client.transport import Transport

    return Transport(transport_options(settings), credential_store(settings).get)


@contextmanager
def _task(sink: EventSink, title: str) -> Iterator[Callable[[BlobProgress], None]]:
    """Shows a transfer as a task; the yielded callback takes its progress."""
    sink(TaskStarted(title, time.monotonic()))

    def report(progress: BlobProgress) -> None:
        item = f"{progress.digest.short} {progress.what.value}"
        sink(TaskProgress(title, item, progress.done, progress.total or 0))

    try:
        yield report
    except Exception as problem:
        sink(TaskProblem(title, time.monotonic(), getattr(problem, "message", None) or str(problem)))
        raise
    except BaseException:
        sink(TaskProblem(title, time.monotonic(), "cancelled"))
        raise
    sink(TaskDone(title, time.monotonic()))
