"""
The client's end of the distribution protocol: one method for each operation on one registry.

Invariants: content is verified before anyone sees it; every list is followed to its end within a bound; what
is about one repository asks for a token of that repository only. Governing source: OCI distribution-spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Index, Manifest, read_manifest
from oci_image.errors import VerificationFailed
from oci_image.jsonbytes import DOCUMENT_LIMIT
from oci_image.store.base import BlobWriter

from ..protocol import headers, routes
from ..protocol.challenges import Scope, repository_scope
from ..protocol.errors import BODY_LIMIT
from .bodies import Body
from .downloads import Download
from .messages import Fetched, Request
from .pages import Pages
from .referring import subject_of, with_referrer
from .statements import media_type, stated_digest, stated_size, verify
from .transport import Transport
from .uploads import Upload

PAGE = 1000
_CATALOG = Scope("registry", "catalog", ("*",))


def _ignore(_done: int) -> None:
    pass


class RegistryClient:
    """
    One registry, reached through a transport that may serve several.

    Args:
        transport: where requests go.
        registry: the registry's name as in a reference.
    """

    def __init__(self, transport: Transport, registry: str) -> None:
        self.transport = transport
        self.registry = registry

    async def ping(self) -> None:
        """
        Check that there is a registry and that it accepts us.

        Raises:
            Unauthorized: credentials are missing or were not accepted.
            ApiError: the host answers but is no registry.
        """
        await self._fetch("GET", routes.base(), self.registry)

    async def head_manifest(
        self, repository: str, reference: str | Digest, accept: Iterable[str] = mediatypes.ALL_MANIFESTS
    ) -> Descriptor | None:
        """
        What a tag or digest stands for, without fetching it where the registry tells; None if absent.

        Raises:
            ApiError: the registry refused to tell.
        """
        what = self._what(repository, f"manifest {reference}")
        answer = await self._fetch(
            "HEAD",
            routes.manifest(repository, reference),
            what,
            fields={"Accept": ", ".join(accept)},
            scopes=_pull(repository),
            accepted=(200, 404),
        )
        if answer.status == 404:
            return None
        digest = reference if isinstance(reference, Digest) else stated_digest(answer)
        size = stated_size(answer)
        if digest is None or size is None:
            # Some registries and proxies leave these out; then only the content can tell.
            return (await self.get_manifest(repository, reference, accept)).descriptor
        return Descriptor(media_type=media_type(answer), digest=digest, size=size)

    async def get_manifest(
        self, repository: str, reference: str | Digest, accept: Iterable[str] = mediatypes.ALL_MANIFESTS
    ) -> Document[Manifest | Index]:
        """
        A manifest or an index, verified against the digest that was asked for or that the registry states.

        Raises:
            VerificationFailed: the content has another digest.
            InvalidDocument: it is no manifest that we can read.
            ApiError: it is not there, or the registry refused.
        """
        what = self._what(repository, f"manifest {reference}")
        answer = await self._fetch(
            "GET",
            routes.manifest(repository, reference),
            what,
            fields={"Accept": ", ".join(accept)},
            scopes=_pull(repository),
            limit=DOCUMENT_LIMIT,
        )
        expected = reference if isinstance(reference, Digest) else stated_digest(answer)
        if expected is not None:
            verify(answer.body, expected, what)
        document = read_manifest(answer.body, media_type(answer), what)
        if expected is not None and expected.algorithm != document.digest.algorithm:
            document = replace(document, descriptor=replace(document.descriptor, digest=expected))
        return document

    async def put_manifest(
        self, repository: str, reference: str | Digest, document: Document[Any]
    ) -> Descriptor:
        """
        Push the document's bytes as they are; `reference` is a tag or the document's own digest.

        A manifest with a subject is listed under the subject's tag as well if the registry keeps no list.

        Raises:
            ApiError: the registry refused it.
            VerificationFailed: the registry says that it stored something else.
        """
        what = self._what(repository, f"manifest {reference}")
        answer = await self._fetch(
            "PUT",
            routes.manifest(repository, reference),
            what,
            fields={"Content-Type": document.descriptor.media_type},
            body=document.raw,
            scopes=_push(repository),
            accepted=(201,),
        )
        stated = stated_digest(answer)
        if stated is not None:
            verify(document.raw, stated, what)
        subject = subject_of(document)
        if subject is not None and headers.SUBJECT_HEADER not in answer.headers:
            tag = routes.referrers_tag(subject.digest)
            index = with_referrer(await self._tagged_index(repository, tag), document)
            if index is not None:
                await self.put_manifest(repository, tag, index)
        return document.descriptor

    async def delete_manifest(self, repository: str, reference: str | Digest) -> bool:
        """Delete a tag, or a manifest with all its tags; False if it is not there."""
        answer = await self._fetch(
            "DELETE",
            routes.manifest(repository, reference),
            self._what(repository, f"manifest {reference}"),
            scopes=(repository_scope(repository, "pull", "delete"),),
            accepted=(200, 202, 204, 404),
        )
        return answer.status != 404

    async def has_blob(self, repository: str, descriptor: Descriptor) -> bool:
        """
        Whether the repository has the blob.

        Raises:
            VerificationFailed: it claims to have it with another size.
        """
        what = self._what(repository, f"blob {descriptor.digest}")
        answer = await self._fetch(
            "HEAD",
            routes.blob(repository, descriptor.digest),
            what,
            scopes=_pull(repository),
            accepted=(200, 404),
        )
        size = stated_size(answer)
        if answer.status == 200 and size is not None and size != descriptor.size:
            raise VerificationFailed(f"{what}: the registry has {size} bytes, not {descriptor.size}")
        return answer.status == 200

    async def get_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        sink: BlobWriter,
        on_progress: Callable[[int], None] = _ignore,
    ) -> None:
        """
        Stream a blob into `sink`, verify and commit it; on failure nothing is committed.

        A broken connection is continued where it broke. The caller keeps `sink` open (``with``) meanwhile.

        Raises:
            VerificationFailed: the bytes are not the promised ones.
            ApiError: neither the registry nor the descriptor's URLs have it.
            TransportProblem: the connection broke again and again.
        """
        await Download(self.transport, self.registry, repository, descriptor, on_progress).into(sink)

    async def mount_blob(self, repository: str, digest: Digest, source: str) -> bool:
        """Let a blob of the repository `source` be in `repository` too; False if the registry does not."""
        upload = Upload(self.transport, self.registry, repository, _ignore)
        mounted = await upload.mount(digest, source)
        await upload.cancel()
        return mounted

    async def push_blob(
        self,
        repository: str,
        body: Body,
        *,
        media_type: str = "application/octet-stream",
        sources: Sequence[tuple[Digest, str]] = (),
        on_progress: Callable[[int], None] = _ignore,
    ) -> Descriptor:
        """
        Push a blob whose digest and size are known, or computed while it is sent; resumed when interrupted.

        Args:
            repository: where to.
            body: the bytes (see `bodies`).
            media_type: of the descriptor that is returned.
            sources: (digest, repository) to try to mount from first; only for bodies with a descriptor.
            on_progress: told the number of bytes handed to the network; may go back after an interruption.

        Raises:
            ApiError: the registry refused it.
            TransportProblem, UploadProblem: it could not be brought to an end.
        """
        upload = Upload(self.transport, self.registry, repository, on_progress)
        for digest, source in sources:
            if await upload.mount(digest, source) and body.descriptor is not None:
                return replace(body.descriptor, media_type=media_type)
        return await upload.push(body, media_type)

    async def tags(self, repository: str) -> tuple[str, ...]:
        """Every tag of the repository, in the registry's order."""
        what = self._what(repository, "tags")
        pages = Pages(self.transport, self.registry, what, _pull(repository))
        return await pages.names(routes.tags(repository, n=PAGE), "tags")

    async def catalog(self) -> tuple[str, ...]:
        """Every repository that the registry shows to us."""
        pages = Pages(self.transport, self.registry, f"{self.registry}: catalog", (_CATALOG,))
        return await pages.names(routes.catalog(n=PAGE), "repositories")

    async def referrers(
        self, repository: str, digest: Digest, artifact_type: str = ""
    ) -> tuple[Descriptor, ...]:
        """
        The manifests whose subject is the digest, also from registries that keep them under a tag.

        Raises:
            InvalidDocument: the registry's list is not an index.
        """
        pages = Pages(
            self.transport, self.registry, self._what(repository, f"referrers of {digest}"), _pull(repository)
        )
        found = await pages.entries(routes.referrers(repository, digest, artifact_type=artifact_type))
        if found is None:
            document = await self._tagged_index(repository, routes.referrers_tag(digest))
            found = document.value.manifests if document and isinstance(document.value, Index) else ()
        return tuple(item for item in found if artifact_type in ("", item.artifact_type))

    async def _tagged_index(self, repository: str, tag: str) -> Document[Manifest | Index] | None:
        head = await self.head_manifest(repository, tag, (mediatypes.OCI_INDEX,))
        if head is None:
            return None
        return await self.get_manifest(repository, head.digest, (mediatypes.OCI_INDEX,))

    async def _fetch(
        self,
        method: str,
        target: str,
        what: str,
        *,
        fields: dict[str, str] | None = None,
        body: bytes | None = None,
        scopes: tuple[Scope, ...] = (),
        accepted: tuple[int, ...] = (200,),
        limit: int = BODY_LIMIT,
    ) -> Fetched:
        request = Request(
            method=method,
            target=target,
            what=what,
            headers=fields or {},
            body=body,
            scopes=scopes,
            accepted=accepted,
        )
        return await self.transport.fetch(self.registry, request, limit=limit)

    def _what(self, repository: str, part: str) -> str:
        return f"{self.registry}/{repository}: {part}"


def _pull(repository: str) -> tuple[Scope, ...]:
    return (repository_scope(repository, "pull"),)


def _push(repository: str) -> tuple[Scope, ...]:
    return (repository_scope(repository, "pull", "push"),)
