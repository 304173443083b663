"""
The doors at which bytes from elsewhere are bounded and verified, and the oracle for whole images.

Invariant: nothing here trusts a size or a digest that it did not compute. Governing sources: OCI image-spec
descriptor.md ("Verification"), config.md (diff_ids, history).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from . import mediatypes
from .descriptor import Descriptor
from .digest import Digest, Hasher
from .documents import Index, Manifest, read_config, read_manifest
from .errors import ImageError, NotFound, VerificationFailed
from .jsonbytes import DOCUMENT_LIMIT
from .store.base import BlobStore, BlobWriter

_PIECE = 1024 * 1024


class VerifyingReader(io.RawIOBase):
    """
    Passes a stream on and verifies that it is what the descriptor promises.

    The last bytes are handed out only after all of them were verified, so that who has read `descriptor.size`
    bytes holds verified content. Never reads more than one byte beyond that size. Closes the stream with
    itself.
    """

    def __init__(self, stream: BinaryIO, descriptor: Descriptor) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._hasher = Hasher(descriptor.digest.algorithm)
        self._verified = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # typeshed: any buffer
        """
        Fill the buffer with what comes next; 0 at the end.

        Raises:
            VerificationFailed: there are fewer, more or other bytes than promised.
        """
        if not len(buffer) or self._verified:
            return 0
        left = self._descriptor.size - self._hasher.size
        data = self._stream.read(min(len(buffer), left)) if left else b""
        self._hasher.update(data)
        if not data and left:
            raise VerificationFailed(
                f"{self._descriptor.digest}: the content ends after {self._hasher.size} of "
                f"{self._descriptor.size} bytes"
            )
        if len(data) == left:
            self._verify()
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the stream too."""
        self._stream.close()
        super().close()

    def _verify(self) -> None:
        wanted, got = self._descriptor.digest, self._hasher.digest()
        if self._stream.read(1):
            raise VerificationFailed(f"{wanted}: there is more content than {self._descriptor.size} bytes")
        if got != wanted:
            raise VerificationFailed(f"expected {wanted}, but the content is {got}")
        self._verified = True


def copy_verified(stream: BinaryIO, writer: BlobWriter, descriptor: Descriptor) -> Digest:
    """
    Copy a stream into a writer and commit it when it is what the descriptor promises.

    Reads at most one byte beyond the promised size; closes neither end.

    Raises:
        VerificationFailed: fewer, more or other bytes; nothing is published.
        StoreProblem: they cannot be written; nothing is published.
    """
    while writer.size < descriptor.size:
        data = stream.read(min(_PIECE, descriptor.size - writer.size))
        if not data:
            raise VerificationFailed(
                f"{descriptor.digest}: the content ends after {writer.size} of {descriptor.size} bytes"
            )
        writer.write(data)
    if stream.read(1):
        raise VerificationFailed(f"{descriptor.digest}: there is more content than {descriptor.size} bytes")
    return writer.commit(descriptor.digest)


def read_document(store: BlobStore, descriptor: Descriptor, limit: int = DOCUMENT_LIMIT) -> bytes:
    """
    The verified bytes of a manifest, index or configuration in a store.

    Raises:
        NotFound: the store does not hold it.
        VerificationFailed: it is larger than `limit`, or what is stored is not what the descriptor promises.
    """
    if descriptor.size > limit:
        raise VerificationFailed(
            f"{descriptor.digest}: the document has {descriptor.size} bytes, at most {limit} are read"
        )
    with VerifyingReader(store.open(descriptor.digest), descriptor) as reader:
        return reader.read()


def check_image(blobs: BlobStore, descriptor: Descriptor, *, partial: bool = False) -> list[str]:
    """
    Recompute everything that an image claims; gives one sentence for each thing that is wrong.

    Checked, through indexes: digests and sizes of all documents and layers, media types against the
    compression found, diff_ids of the decompressed layers, the numbers of layers, diff_ids and history
    entries, platforms.

    Args:
        blobs: where the image is.
        descriptor: its manifest or index.
        partial: accept layers, and images of other platforms in an index, that are not here.
    """
    return list(_Check(blobs, partial).document(descriptor, set()))


class _Check:
    def __init__(self, blobs: BlobStore, partial: bool) -> None:
        self._blobs = blobs
        self._partial = partial
        self._layers: dict[Descriptor, tuple[list[str], Digest | None]] = {}

    def document(self, descriptor: Descriptor, seen: set[Digest]) -> Iterator[str]:
        if descriptor.digest in seen:
            return
        seen.add(descriptor.digest)
        where = f"manifest {descriptor.digest}"
        try:
            raw = read_document(self._blobs, descriptor)
            document = read_manifest(raw, descriptor.media_type, where)
        except ImageError as problem:
            yield f"{where}: {problem.message}"
            return
        value = document.value
        if isinstance(value, Manifest):
            yield from self._manifest(value, descriptor, where)
            return
        yield from self._index(value, seen, where)

    def _index(self, index: Index, seen: set[Digest], where: str) -> Iterator[str]:
        for child in index.manifests:
            if self._partial and self._blobs.stat(child.digest) is None:
                continue
            if child.media_type in mediatypes.ALL_MANIFESTS:
                yield from self.document(child, seen)
            else:
                yield from self._blob(child, f"{where}: entry")

    def _manifest(self, manifest: Manifest, descriptor: Descriptor, where: str) -> Iterator[str]:
        if manifest.config.media_type not in mediatypes.CONFIGS:
            # An artifact: its parts are opaque.
            for part in (manifest.config, *manifest.layers):
                yield from self._blob(part, where)
            return
        try:
            raw = read_document(self._blobs, manifest.config)
            config = read_config(raw, manifest.config, f"{where}: config").value
        except ImageError as problem:
            yield f"{where}: config: {problem.message}"
            return
        wanted = descriptor.platform
        if wanted and (wanted.os, wanted.architecture) != (config.platform.os, config.platform.architecture):
            yield f"{where}: the index says {wanted}, the configuration {config.platform}"
        if len(config.diff_ids) != len(manifest.layers):
            yield f"{where}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diff_ids"
        filled = sum(not entry.empty_layer for entry in config.history)
        if config.history and filled != len(config.diff_ids):
            yield f"{where}: {len(config.diff_ids)} layers, but {filled} non-empty history entries"
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=False):
            yield from self._layer(layer, diff_id, where)

    def _layer(self, layer: Descriptor, diff_id: Digest, where: str) -> Iterator[str]:
        if self._blobs.stat(layer.digest) is None and (
            self._partial or mediatypes.is_foreign(layer.media_type)
        ):
            return
        if layer not in self._layers:
            self._layers[layer] = self._unpacked(layer, diff_id.algorithm)
        problems, found = self._layers[layer]
        yield from (f"{where}: {problem}" for problem in problems)
        if found is not None and found != diff_id:
            yield f"{where}: layer {layer.digest} has the diff_id {found}, not {diff_id}"

    def _unpacked(self, layer: Descriptor, algorithm: str) -> tuple[list[str], Digest | None]:
        from .layer.compression import open_decompressed, sniff

        problems: list[str] = []
        hasher = Hasher(algorithm)
        try:
            with self._blobs.open(layer.digest) as stream:
                found = sniff(stream.read(6))
            promised = mediatypes.layer_compression(layer.media_type)
            if layer.media_type and found != promised:
                problems.append(f"layer {layer.digest} is said to be {layer.media_type}, but is {found}")
            verified = io.BufferedReader(VerifyingReader(self._blobs.open(layer.digest), layer))
            with open_decompressed(verified, found) as content:
                while data := content.read(_PIECE):
                    hasher.update(data)
        except ImageError as problem:
            return [*problems, f"layer {layer.digest}: {problem.message}"], None
        return problems, hasher.digest()

    def _blob(self, descriptor: Descriptor, where: str) -> Iterator[str]:
        if self._partial and self._blobs.stat(descriptor.digest) is None:
            return
        try:
            with VerifyingReader(self._blobs.open(descriptor.digest), descriptor) as reader:
                while reader.read(_PIECE):
                    pass
        except (NotFound, VerificationFailed) as problem:
            yield f"{where}: {problem.message}"
