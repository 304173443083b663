"""
Files behind URLs: fetched into the blob store, and asked for again only when they have changed.

What a server said of a file (entity tag, time) is remembered under ``state/fetched`` by a digest of the URL,
so that neither names nor credentials are kept. Blocking; the caller's checkpoints end a transfer.
Governing text: RFC 9110 sections 8.8 and 13 (conditional requests), "ADD" in the Dockerfile reference.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import json
import os
import posixpath
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from oci_image import jsonbytes
from oci_image.digest import Digest
from oci_image.errors import InvalidDigest
from oci_image.store.base import BlobStore
from oci_image.store.lock import replace_file

from ..errors import BuildError, InvalidOption
from .options import NetworkOptions
from .remote import UrlSource, without_credentials

_BLOCK = 1 << 18
_UNNAMED = "__unnamed__"

Report = Callable[[int, int], None]
"""Called with the bytes so far and their total (0 when unknown); may raise to end the transfer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A file in the blob store: its name by the URL, and its time by the server (Unix seconds)."""

    name: str
    digest: Digest
    mtime: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was remembered of a URL."""

    digest: Digest
    etag: str
    modified: str

    @property
    def mtime(self) -> int | None:
        parsed = email.utils.parsedate_tz(self.modified) if self.modified else None
        return None if parsed is None else int(email.utils.mktime_tz(parsed))


def fetch_url(
    source: UrlSource, blobs: BlobStore, state: str, options: NetworkOptions, report: Report
) -> FetchedFile:
    """
    Let the file be in the blob store.

    Raises:
        InvalidOption: the checksum is no digest.
        BuildError: the server does not give the file, or its digest is another one.
        StoreProblem: it cannot be stored.
    """
    wanted = _wanted(source)
    path = os.path.join(state, "fetched", Digest.of(source.url.encode()).hex)
    known = _read(path)
    if known is not None and blobs.stat(known.digest) is None:
        known = None
    if known is None or wanted is None or known.digest != wanted:
        try:
            known = _asked(source, known, blobs, options, report)
        except urllib.error.HTTPError as problem:
            problem.close()
            raise _refused(source, f"{problem.code} {problem.reason}") from None
        except urllib.error.URLError as problem:
            raise _refused(source, _reason(problem.reason)) from None
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise _refused(source, _reason(problem)) from None
        _write(path, known)
    if wanted is not None and known.digest != wanted:
        raise BuildError(f"digest mismatch for {source.shown}: got {known.digest}, expected {wanted}")
    name = posixpath.basename(unquote(urlsplit(source.url).path)) or _UNNAMED
    return FetchedFile(name=name, digest=known.digest, mtime=known.mtime)


def _wanted(source: UrlSource) -> Digest | None:
    if not source.checksum:
        return None
    try:
        return Digest.parse(source.checksum)
    except InvalidDigest as problem:
        raise InvalidOption(
            f"invalid checksum {source.checksum!r} of {source.shown}", hint="as in --checksum=sha256:…"
        ) from problem


def _asked(
    source: UrlSource, known: _Known | None, blobs: BlobStore, options: NetworkOptions, report: Report
) -> _Known:
    try:
        with _opened(source, known, options) as answer:
            return _stored(answer, blobs, report)
    except urllib.error.HTTPError as problem:
        if problem.code != http.HTTPStatus.NOT_MODIFIED or known is None:
            raise
        problem.close()
        return known


@contextmanager
def _opened(source: UrlSource, known: _Known | None, options: NetworkOptions) -> Iterator[Any]:
    url, credentials = _split_credentials(source.url)
    headers = {"User-Agent": options.user_agent, "Accept-Encoding": "identity"}
    if known is not None and known.etag:
        headers["If-None-Match"] = known.etag
    elif known is not None and known.modified:
        headers["If-Modified-Since"] = known.modified
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - only HTTP handlers are installed
    if credentials:
        # Not a header of `headers`: those would follow a redirect to another host.
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    with _opener(options).open(request, timeout=options.timeout) as answer:
        yield answer


def _opener(options: NetworkOptions) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    if options.tls_ca:
        context.load_verify_locations(options.tls_ca)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(dict(options.proxies)),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _split_credentials(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    plain = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return plain, base64.b64encode(unquote(user).encode()).decode()


def _stored(answer: http.client.HTTPResponse, blobs: BlobStore, report: Report) -> _Known:
    length = answer.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else 0
    done = 0
    with blobs.writer() as writer:
        while data := answer.read(_BLOCK):
            writer.write(data)
            done += len(data)
            report(done, total)
        if total and done != total:
            raise http.client.IncompleteRead(b"", total - done)
        digest = writer.commit()
    return _Known(
        digest=digest,
        etag=answer.headers.get("ETag", ""),
        modified=answer.headers.get("Last-Modified", ""),
    )


def _refused(source: UrlSource, reason: str) -> BuildError:
    return BuildError(f"cannot fetch {source.shown}: {reason}")


def _reason(problem: object) -> str:
    if isinstance(problem, http.client.IncompleteRead):
        return "the connection broke off before the end"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    text = str(problem)
    return without_credentials(text) if "://" in text else text or type(problem).__name__


def _read(path: str) -> _Known | None:
    try:
        with open(path, "rb") as stream:
            value = json.load(stream)
        return _Known(digest=Digest.parse(value["digest"]), etag=value["etag"], modified=value["modified"])
    except (OSError, ValueError, KeyError, TypeError, InvalidDigest):
        return None  # absent or damaged: it is fetched again


def _write(path: str, known: _Known) -> None:
    value = {"digest": str(known.digest), "etag": known.etag, "modified": known.modified}
    os.makedirs(os.path.dirname(path), exist_ok=True)
    replace_file(path, jsonbytes.encode_sorted(value), temporary=f"{path}.{os.getpid()}.tmp", durable=False)
