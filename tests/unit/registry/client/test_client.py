"""Manifests, lists and referrers: what the client believes and what it does not."""

import json

import pytest

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Manifest, author_manifest
from oci_image.errors import InvalidDocument, VerificationFailed
from oci_image.reference import Reference
from registry.client.scripted import Reply
from registry.errors import ApiError, MalformedMessage, TransportProblem, Unauthorized
from registry.protocol.headers import DIGEST_HEADER

CONFIG = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=Digest.of(b"{}"), size=2)
DOCUMENT = author_manifest(Manifest(config=CONFIG, layers=()))
BY_DIGEST = f"/v2/app/manifests/{DOCUMENT.digest}"
FIELDS = {"Content-Type": mediatypes.OCI_MANIFEST, DIGEST_HEADER: str(DOCUMENT.digest)}


async def test_ping_needs_a_registry(scripted, client):
    """A host that answers otherwise is no registry."""
    await client.ping()
    scripted.on("GET", "/v2/", Reply(status=404, body=b"<html>"))
    with pytest.raises(ApiError, match="HTTP 404"):
        await client.ping()


async def test_manifest_is_fetched_with_all_types_and_verified(scripted, client):
    """The document keeps its bytes, and every known type is accepted."""
    scripted.on("GET", "/v2/app/manifests/1", Reply(body=DOCUMENT.raw, headers=FIELDS))
    document = await client.get_manifest("app", "1")
    assert (document.raw, document.digest) == (DOCUMENT.raw, DOCUMENT.digest)
    assert document.value == DOCUMENT.value
    assert set(scripted.requests[-1].headers["accept"].split(", ")) == set(mediatypes.ALL_MANIFESTS)


async def test_content_type_parameters_are_ignored(scripted, client):
    """A proxy may add a charset, or forget the type."""
    for content_type in (mediatypes.OCI_MANIFEST + "; charset=utf-8", "application/json", "text/plain", ""):
        scripted.on(
            "GET", "/v2/app/manifests/1", Reply(body=DOCUMENT.raw, headers={"Content-Type": content_type})
        )
        assert (await client.get_manifest("app", "1")).descriptor == DOCUMENT.descriptor


async def test_manifest_with_another_digest_is_refused(scripted, client):
    """Neither a wrong header nor a wrong body is believed; the message names what it was."""
    scripted.on(
        "GET", BY_DIGEST, Reply(body=DOCUMENT.raw + b" ", headers={"Content-Type": mediatypes.OCI_MANIFEST})
    )
    with pytest.raises(VerificationFailed, match=f"{scripted.name}/app: manifest {DOCUMENT.digest}"):
        await client.get_manifest("app", DOCUMENT.digest)
    lying = {**FIELDS, DIGEST_HEADER: str(Digest.of(b"other"))}
    scripted.on("GET", "/v2/app/manifests/1", Reply(body=DOCUMENT.raw, headers=lying))
    with pytest.raises(VerificationFailed, match="expected the digest"):
        await client.get_manifest("app", "1")


async def test_sha512_manifest_is_known_by_that_digest(scripted, client):
    """A reference in another algorithm is verified with it and keeps it."""
    digest = Digest.of(DOCUMENT.raw, "sha512")
    scripted.on("GET", f"/v2/app/manifests/{digest}", Reply(body=DOCUMENT.raw))
    assert (await client.get_manifest("app", digest)).digest == digest


async def test_oversized_manifest_is_refused(scripted, client):
    """More than 4 MiB is never kept."""
    scripted.on("GET", "/v2/app/manifests/1", Reply(endless=True))
    with pytest.raises(TransportProblem, match="larger than"):
        await client.get_manifest("app", "1")


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"schemaVersion": 1}', b"[" * 50000])
async def test_other_documents_are_refused(scripted, client, body):
    """What is no manifest is named as such."""
    scripted.on("GET", "/v2/app/manifests/1", Reply(body=body))
    with pytest.raises(InvalidDocument, match=f"{scripted.name}/app: manifest 1"):
        await client.get_manifest("app", "1")


async def test_head_tells_without_fetching(scripted, client):
    """Type, digest and size come from the headers."""
    fields = {**FIELDS, "Content-Length": "321"}
    scripted.on("HEAD", "/v2/app/manifests/1", Reply(headers=fields))
    found = await client.head_manifest("app", "1")
    assert found == Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=DOCUMENT.digest, size=321)


async def test_head_without_digest_falls_back_to_the_content(scripted, client):
    """Some registries and proxies leave the header out."""
    scripted.on("HEAD", "/v2/app/manifests/1", Reply(headers={"Content-Length": "5"}))
    scripted.on("GET", "/v2/app/manifests/1", Reply(body=DOCUMENT.raw))
    assert await client.head_manifest("app", "1") == DOCUMENT.descriptor


async def test_absent_manifest_is_none(scripted, client):
    """Absence is an answer; a refusal is an error."""
    scripted.on("HEAD", "/v2/app/manifests/1", Reply(status=404))
    assert await client.head_manifest("app", "1") is None
    scripted.on("HEAD", "/v2/app/manifests/1", Reply(status=401))
    with pytest.raises(Unauthorized):
        await client.head_manifest("app", "1")


async def test_manifest_is_pushed_as_it_is(scripted, client):
    """Type and bytes reach the registry unchanged; its answer is checked."""
    scripted.on("PUT", "/v2/app/manifests/1", Reply(status=201, headers=FIELDS))
    assert await client.put_manifest("app", "1", DOCUMENT) == DOCUMENT.descriptor
    seen = scripted.requests[-1]
    assert (seen.body, seen.headers["content-type"]) == (DOCUMENT.raw, mediatypes.OCI_MANIFEST)
    scripted.on(
        "PUT", "/v2/app/manifests/1", Reply(status=201, headers={DIGEST_HEADER: str(Digest.of(b"?"))})
    )
    with pytest.raises(VerificationFailed):
        await client.put_manifest("app", "1", DOCUMENT)


async def test_delete_tells_whether_it_was_there(scripted, client):
    """Deleting twice is no error; a registry without deletion says so."""
    scripted.on("DELETE", BY_DIGEST, Reply(status=202), Reply(status=404), Reply(status=405))
    assert await client.delete_manifest("app", DOCUMENT.digest)
    assert not await client.delete_manifest("app", DOCUMENT.digest)
    with pytest.raises(ApiError, match="unsupported"):
        await client.delete_manifest("app", DOCUMENT.digest)


async def test_blob_of_another_size_is_not_had(scripted, client):
    """A registry whose blob has another size has something else."""
    blob = Descriptor(media_type="x", digest=Digest.of(b"abc"), size=3)
    target = f"/v2/app/blobs/{blob.digest}"
    scripted.on(
        "HEAD",
        target,
        Reply(headers={"Content-Length": "3"}),
        Reply(status=404),
        Reply(headers={"Content-Length": "4"}),
    )
    assert await client.has_blob("app", blob)
    assert not await client.has_blob("app", blob)
    with pytest.raises(VerificationFailed, match="4 bytes, not 3"):
        await client.has_blob("app", blob)


def page(names: list[str] | None, following: str | None = None, member: str = "tags") -> Reply:
    fields = {"Link": f'<{following}>; rel="next"'} if following else {}
    return Reply(body=json.dumps({"name": "app", member: names}).encode(), headers=fields)


async def test_tags_follow_links(scripted, client):
    """Relative links are followed to the end, and null is an empty list."""
    scripted.on("GET", "/v2/app/tags/list?n=1000", page(["a", "b"], "/v2/app/tags/list?last=b&n=2"))
    scripted.on("GET", "/v2/app/tags/list?last=b&n=2", page(["c"], "list?last=c&n=2"))
    scripted.on("GET", "/v2/app/tags/list?last=c&n=2", page(None))
    assert await client.tags("app") == ("a", "b", "c")


async def test_endless_list_ends(scripted, client):
    """A registry that ignores `last` gives the same page for ever."""
    scripted.on("GET", "/v2/app/tags/list?n=1000", page(["a"], "/v2/app/tags/list?n=1000"))
    assert await client.tags("app") == ("a",)
    assert len(scripted.asked("GET", "/v2/app")) == 2


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": "x"}'])
async def test_broken_list_is_reported(scripted, client, body):
    """What is no list is not read as one."""
    scripted.on("GET", "/v2/app/tags/list?n=1000", Reply(body=body))
    with pytest.raises(MalformedMessage, match="not a list"):
        await client.tags("app")


async def test_catalog_is_listed(scripted, client):
    """All repositories, in pages."""
    scripted.on("GET", "/v2/_catalog?n=1000", page(["x", "y/z"], member="repositories"))
    assert await client.catalog() == ("x", "y/z")


def index_of(*entries: Descriptor) -> bytes:
    value = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [e.to_json() for e in entries],
    }
    return json.dumps(value).encode()


ONE = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"1"), size=1, artifact_type="a/b")
TWO = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"2"), size=1, artifact_type="c/d")
SUBJECT = Digest.of(b"subject")


async def test_referrers_are_filtered_even_if_the_registry_does_not(scripted, client):
    """The filter is a wish that a registry may ignore."""
    scripted.on("GET", f"/v2/app/referrers/{SUBJECT}?artifactType=a/b", Reply(body=index_of(ONE, TWO)))
    assert await client.referrers("app", SUBJECT, "a/b") == (ONE,)


async def test_referrers_fall_back_to_the_tag(scripted, client):
    """Registries without the API keep them in an index under a tag."""
    raw = index_of(ONE, TWO)
    tag = f"/v2/app/manifests/sha256-{SUBJECT.hex}"
    scripted.on("GET", f"/v2/app/referrers/{SUBJECT}", Reply(status=404))
    scripted.on(
        "HEAD", tag, Reply(headers={DIGEST_HEADER: str(Digest.of(raw)), "Content-Length": str(len(raw))})
    )
    scripted.on("GET", f"/v2/app/manifests/{Digest.of(raw)}", Reply(body=raw))
    assert await client.referrers("app", SUBJECT) == (ONE, TWO)
    scripted.on("HEAD", tag, Reply(status=404))
    assert await client.referrers("app", SUBJECT) == ()


async def test_hub_names_are_sent_in_full(scripted, quick_options):
    """``app`` is library/app on Docker Hub."""
    from dataclasses import replace

    from registry.client.client import RegistryClient
    from registry.client.transport import Transport

    reference = Reference.parse("app")
    scripted.on("HEAD", "/v2/library/app/manifests/latest", Reply(status=404))
    options = replace(quick_options, overrides={"docker.io": scripted.url})
    async with Transport(options) as transport:
        client = RegistryClient(transport, reference.registry)
        assert await client.head_manifest(reference.repository, reference.identifier) is None
