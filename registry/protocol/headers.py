"""
Headers whose grammar both ends must agree on: ranges, links and upload offsets.

Invariants: parsers are total (a value or `MalformedMessage`, or None where a header is to be ignored);
numbers are bounded before they are converted. Governing sources: RFC 9110 section 14 (ranges), RFC 8288
(links), OCI distribution-spec "Pushing a blob in chunks" (its ``Range`` and ``Content-Range`` have no unit).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import MalformedMessage, RegistryError

VERSION_HEADER = "Docker-Distribution-Api-Version"
VERSION_VALUE = "registry/2.0"
DIGEST_HEADER = "Docker-Content-Digest"
UPLOAD_HEADER = "Docker-Upload-UUID"
SUBJECT_HEADER = "OCI-Subject"
TAG_HEADER = "OCI-Tag"
FILTERS_HEADER = "OCI-Filters-Applied"
NAMESPACE_HEADER = "OCI-Namespace"

RANGES_LIMIT = 32
"""A request for more ranges than this is answered with the whole content (RFC 9110 section 14.2)."""

_NUMBER = r"[0-9]{1,18}"
_CHUNK = re.compile(rf"({_NUMBER})-({_NUMBER})")
_CONTENT_RANGE = re.compile(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)")
_RANGE_SPEC = re.compile(rf"({_NUMBER})?-({_NUMBER})?")
_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s=;,]+\s*=\s*(?:\"[^\"]*\"|[^\s;,\"]+))*)")


class UnsatisfiableRange(RegistryError):
    """No requested range overlaps the content: the answer is 416."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes it covers."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class ContentRange:
    """The RFC form of Content-Range, as answers to range requests carry it."""

    range: ByteRange
    total: int | None


def parse_range(header: str, size: int) -> tuple[ByteRange, ...] | None:
    """
    The ranges that a request asks for, cut to the content; None when the header is to be ignored.

    Raises:
        UnsatisfiableRange: the header is well-formed but nothing of it lies within the content.
    """
    unit, equals, specs = header.partition("=")
    parts = [part.strip() for part in specs.split(",") if part.strip()]
    if unit.strip().lower() != "bytes" or not equals or not parts or len(parts) > RANGES_LIMIT:
        return None
    found: list[ByteRange] = []
    for part in parts:
        matched = _RANGE_SPEC.fullmatch(part)
        if matched is None or matched.group(1) is matched.group(2) is None:
            return None
        found.extend(_cut(matched.group(1), matched.group(2), size))
    if not found:
        raise UnsatisfiableRange("no requested range lies within the content")
    if sum(part.length for part in found) > size:
        return None  # ranges that overlap so much would make the answer larger than the content
    return tuple(found)


def _cut(first: str | None, last: str | None, size: int) -> list[ByteRange]:
    if first is None:
        suffix = int(last or 0)
        return [ByteRange(max(0, size - suffix), size)] if suffix and size else []
    start = int(first)
    stop = size if last is None else min(int(last) + 1, size)
    return [ByteRange(start, stop)] if start < stop else []


def format_range(start: int, stop: int | None = None) -> str:
    """The Range of a request, from `start` up to, not including, `stop` or to the end."""
    return f"bytes={start}-{'' if stop is None else stop - 1}"


def format_content_range(part: ByteRange, size: int) -> str:
    """The Content-Range of a partial answer."""
    return f"bytes {part.start}-{part.stop - 1}/{size}"


def format_unsatisfied(size: int) -> str:
    """The Content-Range of a 416 answer to a range request."""
    return f"bytes */{size}"


def parse_content_range(header: str) -> ContentRange:
    """
    The RFC form, ``bytes 0-9/100``, of a partial answer.

    Raises:
        MalformedMessage: it has another form or makes no sense.
    """
    matched = _CONTENT_RANGE.fullmatch(header.strip())
    if matched is None or int(matched.group(2)) < int(matched.group(1)):
        raise MalformedMessage(f"invalid Content-Range {header[:100]!r}")
    total = None if matched.group(3) == "*" else int(matched.group(3))
    return ContentRange(ByteRange(int(matched.group(1)), int(matched.group(2)) + 1), total)


def parse_chunk_range(header: str) -> ByteRange:
    """
    The Content-Range of an uploaded chunk, ``0-9``: no unit and no total.

    Raises:
        MalformedMessage: it has another form, or ends before it starts.
    """
    matched = _CHUNK.fullmatch(header.strip())
    if matched is None or int(matched.group(2)) < int(matched.group(1)):
        raise MalformedMessage(f"invalid Content-Range {header[:100]!r} of a chunk: expected <start>-<end>")
    return ByteRange(int(matched.group(1)), int(matched.group(2)) + 1)


def format_chunk_range(start: int, length: int) -> str:
    """The Content-Range of an uploaded chunk; `length` is at least 1."""
    return f"{start}-{start + length - 1}"


def format_upload_range(size: int) -> str:
    """
    The Range of an upload that holds `size` bytes: ``0-<last>`` without a unit.

    The docker client scans it with ``%d-%d`` and gives up when the end is before the start, so an empty
    upload is ``0-0`` like one of a single byte.
    """
    return f"0-{max(0, size - 1)}"


def parse_upload_range(header: str) -> int:
    """
    How many bytes an upload holds; ``0-0`` is read as empty, ``bytes=`` is tolerated.

    Raises:
        MalformedMessage: it has another form.
    """
    matched = _CHUNK.fullmatch(header.strip().removeprefix("bytes="))
    if matched is None or int(matched.group(1)) != 0:
        raise MalformedMessage(f"invalid Range {header[:100]!r} of an upload: expected 0-<last>")
    last = int(matched.group(2))
    return last + 1 if last else 0


def format_next_link(target: str) -> str:
    """The Link to the next page."""
    return f'<{target}>; rel="next"'


def parse_next_link(header: str) -> str | None:
    """The target of the link with the relation ``next`` as it stands, perhaps relative; None without one."""
    for target, parameters in _LINK.findall(header):
        for parameter in parameters.split(";"):
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "rel" and "next" in value.strip().strip('"').lower().split():
                return str(target)
    return None
