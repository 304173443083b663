"""What refers to a manifest."""

from oci_image import mediatypes
from oci_image.digest import Digest
from oci_image.jsonbytes import encode
from registry.protocol import routes
from tests.contract.distribution.exchange import CONFIG, describe, image, push_blob, push_image, put


async def test_referrers_of_a_manifest(client):
    """Sorted descriptors with artifact type and annotations; the filter is named in the answer."""
    subject = await push_image(client)
    described = describe(subject, mediatypes.OCI_MANIFEST)
    artifact = image(subject=described, artifactType="application/x", annotations={"k": "v"})
    plain = image(subject=described)
    index = encode(
        {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [], "subject": described}
    )
    for raw, media_type in (
        (artifact, mediatypes.OCI_MANIFEST),
        (plain, mediatypes.OCI_MANIFEST),
        (index, mediatypes.OCI_INDEX),
    ):
        answer = await put(client, Digest.of(raw), raw, media_type=media_type)
        assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(Digest.of(subject)))
    url = f"/v2/lib/app/referrers/{Digest.of(subject)}"
    answer = await client.get(url)
    assert answer.headers["Content-Type"] == mediatypes.OCI_INDEX
    found = {row["digest"]: row for row in (await answer.json())["manifests"]}
    assert found[str(Digest.of(artifact))] == describe(
        artifact, mediatypes.OCI_MANIFEST, artifactType="application/x", annotations={"k": "v"}
    )
    assert found[str(Digest.of(plain))]["artifactType"] == mediatypes.OCI_CONFIG
    assert "artifactType" not in found[str(Digest.of(index))]
    assert "OCI-Filters-Applied" not in answer.headers
    answer = await client.get(f"{url}?artifactType=application/x")
    assert [row["digest"] for row in (await answer.json())["manifests"]] == [str(Digest.of(artifact))]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    await client.delete(f"/v2/lib/app/manifests/{Digest.of(artifact)}")
    assert len((await (await client.get(url)).json())["manifests"]) == 2
    elsewhere = await client.get(f"/v2/other/referrers/{Digest.of(subject)}")
    assert (await elsewhere.json())["manifests"] == []


async def test_referrers_of_the_fallback_tag_are_listed(client):
    """What clients kept under ``sha256-<hex>`` before is part of the answer, once."""
    subject = Digest.of(b"subject")
    await push_blob(client, CONFIG)
    raw = image(subject=describe(b"subject"))
    await put(client, "x", raw)
    old = await push_image(client, "old")
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX}
    index["manifests"] = [describe(old, mediatypes.OCI_MANIFEST), describe(raw, mediatypes.OCI_MANIFEST)]
    await put(client, routes.referrers_tag(subject), encode(index), media_type=mediatypes.OCI_INDEX)
    answer = await client.get(f"/v2/lib/app/referrers/{subject}")
    digests = [row["digest"] for row in (await answer.json())["manifests"]]
    assert sorted(digests) == sorted([str(Digest.of(old)), str(Digest.of(raw))])
