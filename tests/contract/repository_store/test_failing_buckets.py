"""A bucket that fails: 503, nothing half visible, and everything goes on when it is back."""

import logging

import aiohttp
import pytest

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration, StorageUnavailable
from registry.server.config import RegistryConfig
from registry.server.listening import listening
from registry.server.opening import open_indexed
from registry.server.store.bucket_opening import BucketSettings, open_bucket
from tests.contract.repository_store.gate import Gate
from tests.contract.repository_store.storing import DATA, D, manifest, push, read
from tests.contract.storages import new_bucket, place

MIB = 1024 * 1024


@pytest.fixture
def gate(bucket_service):
    host, _, port = bucket_service().removeprefix("http://").partition(":")
    made = Gate((host, int(port)))
    yield made
    made.close()


@pytest.fixture
def config(gate, bucket_service, tmp_path):
    url, settings = new_bucket(bucket_service(), tmp_path)
    return RegistryConfig(
        port=0,
        root=url,
        state=str(tmp_path / "state"),
        bucket_endpoint=gate.url,
        bucket_region=settings.region,
        bucket_credentials=settings.credentials,
        drain_seconds=0.1,
    )


@pytest.fixture
def store(config):
    made = open_indexed(config)
    yield made
    made.close()


async def test_a_failing_bucket_is_503_and_not_ready(config, store, gate, caplog):
    """With Retry-After, a word in the log and no credential there; the upload that was under way goes on."""
    async with listening(config, store) as url, aiohttp.ClientSession(url) as client:
        async with client.post("/v2/a/blobs/uploads/", data=b"") as answer:
            location = answer.headers["Location"]
        async with client.get("/readyz") as answer:
            assert answer.status == 200
        gate.shut()
        async with client.put(location, params={"digest": str(D)}, data=DATA) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            body = await answer.text()
            assert "not available" in body
            assert "127.0.0.1" not in body
        async with client.get(f"/v2/a/blobs/{D}") as answer:
            assert answer.status == 404  # nobody was told that it is here
        async with client.get("/livez") as answer:
            assert answer.status == 200
        patience = aiohttp.ClientTimeout(total=30)
        with caplog.at_level(logging.INFO):
            store_problem = store.problem(read_only=False)
        assert store_problem == "the bucket cannot be written"
        assert store.problem(read_only=True) == "the bucket cannot be reached"
        gate.open()
        async with client.put(location, params={"digest": str(D)}, timeout=patience) as answer:
            assert answer.status == 201
        async with client.get(f"/v2/a/blobs/{D}") as answer:
            assert await answer.read() == DATA
    assert "not available" in caplog.text
    assert "hidden" not in caplog.text


def test_a_large_blob_that_breaks_off_is_not_visible(store, gate):
    """Its parts were sent in part; the upload is still there and is sent again as a whole."""
    data = bytes(range(256)) * (20 * 4096)
    digest = Digest.of(data)
    upload = store.uploads.create("a")
    upload.write([data])
    gate.shut_after(12 * MIB)
    with pytest.raises(StorageUnavailable):
        upload.commit(digest)
    gate.open()
    assert store.blobs.stat("a", digest) is None
    assert store.blobs.content_size(digest) is None
    upload.commit(digest)
    assert read(store, "a", digest) == data


def test_a_manifest_whose_tag_fails_is_read_again(store, gate):
    """Whatever the bucket took, the lists say so after the next look."""
    made = manifest(b'{"a": 1}')
    store.manifests.put("a", made, ["one"])
    gate.shut()
    with pytest.raises(StorageUnavailable):
        store.manifests.put("a", manifest(b'{"b": 1}'), ["two"])
    with pytest.raises(StorageUnavailable):
        store.settle()
    gate.open()
    store.settle()
    assert store.tags.names("a") == ["one"]
    assert store.tags.get("a", "one") == made.digest
    assert store.index.stale() == []


def test_reading_goes_on_where_it_broke(store, gate):
    """A connection that ends in the middle is made again, and every byte comes once."""
    data = bytes(range(256)) * (8 * 4096)
    digest = push(store, "a", data)
    with store.blobs.open("a", digest) as file:
        head = file.read(MIB)
        gate.shut()
        gate.open()
        assert head + file.read() == data


def test_reading_ends_when_the_bucket_does(store, gate):
    """After some attempts, with an error and not with fewer bytes."""
    digest = push(store, "a", bytes(8 * MIB))
    with store.blobs.open("a", digest) as file:
        gate.shut()
        with pytest.raises(StorageUnavailable):
            file.read()


def test_a_bucket_that_is_not_there_is_refused_at_the_start(bucket_service, tmp_path):
    """With what was tried and what to check, and without credentials."""
    _url, settings = new_bucket(bucket_service(), tmp_path)
    config = RegistryConfig(
        root="s3://no-such-bucket-here",
        state=str(tmp_path / "state"),
        bucket_endpoint=settings.endpoint,
        bucket_region=settings.region,
        bucket_credentials=settings.credentials,
    )
    with pytest.raises(InvalidConfiguration, match="cannot use s3://no-such-bucket-here") as caught:
        open_indexed(config)
    assert "credentials" in caught.value.hint
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("root", ["gs://bucket/prefix", "az://container/prefix"])
def test_other_providers_are_reached_in_the_same_way(root, tmp_path, monkeypatch):
    """A service that is not there is told as one, whoever provides it."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    bucket = open_bucket(root, BucketSettings(endpoint="http://127.0.0.1:9"))
    with pytest.raises(StorageUnavailable) as caught:
        bucket.head("x")
    assert "127.0.0.1:9" in caught.value.reason
    assert "c2VjcmV0" not in caught.value.reason


@pytest.mark.parametrize(
    "root", ["s3://", "s3://user:secret@bucket", "s3://bucket?x=1", "s3://bucket/a//b", "ftp://bucket"]
)
def test_what_is_no_bucket_is_refused(root):
    """Without repeating it: it may hold a password."""
    with pytest.raises(InvalidConfiguration, match="not the URL") as caught:
        open_bucket(root, BucketSettings())
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "[default]\n", "aws_access_key_id = hidden\n", "[default]\nx = hidden\n"]
)
def test_credentials_without_keys_are_refused(tmp_path, text):
    """With the file and the profile, and without its lines."""
    (tmp_path / "credentials").write_text(text)
    with pytest.raises(InvalidConfiguration, match="no keys for the profile default") as caught:
        open_bucket("s3://b", BucketSettings(credentials=str(tmp_path / "credentials")))
    assert "hidden" not in str(caught.value)


def test_a_state_belongs_to_one_bucket(tmp_path):
    """The index of another one would be wrong from the first line to the last."""
    place("bucket", tmp_path).open().close()
    (tmp_path / "state" / "bucket").write_text("s3://other")
    with pytest.raises(InvalidConfiguration, match="another bucket"):
        place("bucket", tmp_path).open()
