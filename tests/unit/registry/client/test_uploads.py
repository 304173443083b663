"""Pushing one blob to registries that break, forget and refuse."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.client.bodies import MadeBody, OnceBody, body_of_bytes, body_of_file
from registry.client.scripted import Reply
from registry.errors import ApiError, MalformedMessage, TransportProblem, UploadProblem
from registry.protocol.errors import ErrorCode, encode, entry

DATA = bytes(range(256)) * 12_000
BLOB = Descriptor(media_type="application/octet-stream", digest=Digest.of(DATA), size=len(DATA))
START = "/v2/app/blobs/uploads/"
ONE, TWO = START + "1?_state=a%2Fb", START + "2?_state=c"
FINAL_ONE, FINAL_TWO = f"{ONE}&digest={BLOB.digest}", f"{TWO}&digest={BLOB.digest}"


def started(location: str = ONE) -> Reply:
    return Reply(status=202, headers={"Location": location, "Range": "0-0"})


def known() -> object:
    return body_of_bytes(DATA, BLOB)


def made() -> MadeBody:
    @contextlib.contextmanager
    def pieces() -> Iterator[Iterator[bytes]]:
        yield (DATA[i : i + 100_000] for i in range(0, len(DATA), 100_000))

    return MadeBody(pieces)


async def test_known_blob_is_one_post_and_one_put(scripted, client):
    """Size and digest are known, so no PATCH is needed; the Location is used as it was given."""
    scripted.on("POST", START, started())
    scripted.on("PUT", FINAL_ONE, Reply(status=201))
    steps: list[int] = []
    assert await client.push_blob("app", known(), on_progress=steps.append) == BLOB
    put = scripted.requests[-1]
    assert put.body == DATA
    assert put.headers["content-length"] == str(len(DATA))
    assert "transfer-encoding" not in put.headers
    assert steps[-1] == len(DATA)


async def test_file_is_pushed(scripted, client, tmp_path):
    """A file is a body too."""
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    scripted.on("POST", START, started())
    scripted.on("PUT", FINAL_ONE, Reply(status=201))
    await client.push_blob("app", body_of_file(str(path), BLOB))
    assert scripted.requests[-1].body == DATA


async def test_empty_blob_is_pushed(scripted, client):
    """Nothing is also something."""
    empty = Descriptor(media_type="x", digest=Digest.of(b""), size=0)
    scripted.on("POST", START, started())
    scripted.on("PUT", f"{ONE}&digest={empty.digest}", Reply(status=201))
    await client.push_blob("app", body_of_bytes(b"", empty))


async def test_made_blob_is_streamed_and_digested(scripted, client):
    """Size and digest are known at the end: PATCH without a length, then an empty PUT."""
    scripted.on("POST", START, started())
    scripted.on("PATCH", ONE, Reply(status=202, headers={"Location": TWO}))
    scripted.on("PUT", FINAL_TWO, Reply(status=201))
    assert await client.push_blob("app", made()) == BLOB
    patch, put = scripted.requests[-2:]
    assert patch.body == DATA
    assert patch.headers["transfer-encoding"] == "chunked"
    assert "content-range" not in patch.headers
    assert (put.body, put.headers["content-length"]) == (b"", "0")


async def test_interrupted_put_goes_on_where_the_registry_is(scripted, client):
    """After a broken PUT the rest follows in a PATCH with its range."""
    scripted.on("POST", START, started())
    scripted.on("PUT", FINAL_ONE, Reply(take=1_500_000))
    scripted.on("GET", ONE, Reply(status=204, headers={"Location": TWO, "Range": "0-1499999"}))
    scripted.on("PATCH", TWO, Reply(status=202, headers={"Location": TWO}))
    scripted.on("PUT", FINAL_TWO, Reply(status=201))
    assert await client.push_blob("app", known()) == BLOB
    patch = scripted.asked("PATCH")[0]
    assert patch.headers["content-range"] == f"1500000-{len(DATA) - 1}"
    assert patch.body == DATA[1_500_000:]


async def test_interrupted_stream_is_made_again_and_goes_on(scripted, client):
    """Bytes that were made before are made again for the digest, but not sent again."""
    scripted.on("POST", START, started())
    scripted.on("PATCH", ONE, Reply(take=1_200_000))
    scripted.on("GET", ONE, Reply(status=204, headers={"Range": "0-1199999", "Location": TWO}))
    scripted.on("PATCH", TWO, Reply(status=202, headers={"Location": TWO}))
    scripted.on("PUT", FINAL_TWO, Reply(status=201))
    assert await client.push_blob("app", made()) == BLOB
    assert scripted.asked("PATCH", TWO)[0].body == DATA[1_200_000:]


@pytest.mark.parametrize(
    "status", [Reply(status=404), Reply(status=204, headers={"Range": "0-0"}), Reply(status=204)]
)
async def test_lost_upload_starts_anew(scripted, client, status):
    """A registry that forgot the upload, or holds nothing, gets a new one."""
    scripted.on("POST", START, started(), started(TWO))
    scripted.on("PUT", FINAL_ONE, Reply(take=1000))
    scripted.on("GET", ONE, status)
    scripted.on("DELETE", ONE, Reply(status=204))
    scripted.on("PUT", FINAL_TWO, Reply(status=201))
    assert await client.push_blob("app", known()) == BLOB
    assert len(scripted.asked("POST")) == 2


async def test_broken_part_of_the_registry_is_sent_again(scripted, client):
    """When a resumed upload has the wrong digest, the registry's part may be to blame: once more from 0."""
    scripted.on("POST", START, started(), started(TWO))
    scripted.on(
        "PUT", FINAL_ONE, Reply(take=1000), Reply(status=400, body=encode([entry(ErrorCode.DIGEST_INVALID)]))
    )
    scripted.on("GET", ONE, Reply(status=204, headers={"Range": f"0-{len(DATA) - 1}"}), Reply(status=404))
    scripted.on("DELETE", ONE, Reply(status=204))
    scripted.on("PUT", FINAL_TWO, Reply(status=201))
    assert await client.push_blob("app", known()) == BLOB
    assert scripted.asked("PUT", TWO)[0].body == DATA


async def test_refused_upload_is_cancelled(scripted, client):
    """A final answer is told at once, and the registry need not keep the rest."""
    scripted.on("POST", START, started())
    scripted.on("PUT", FINAL_ONE, Reply(status=400, body=encode([entry(ErrorCode.DIGEST_INVALID)])))
    scripted.on("DELETE", ONE, Reply(status=204))
    with pytest.raises(ApiError, match="did not match"):
        await client.push_blob("app", known())
    assert [seen.method for seen in scripted.requests] == ["GET", "POST", "PUT", "DELETE"]


async def test_denied_push_is_told_before_any_byte(scripted, client):
    """403 at the start ends it."""
    scripted.on("POST", START, Reply(status=403))
    with pytest.raises(ApiError, match=f"{scripted.name}/app: upload: requested access"):
        await client.push_blob("app", known())


async def test_upload_attempts_are_bounded(scripted, client):
    """A registry that always breaks is given up."""
    scripted.on("POST", START, started())
    scripted.on("PUT", FINAL_ONE, Reply(take=0))
    scripted.on("GET", ONE, Reply(status=404))
    scripted.on("DELETE", ONE, Reply(status=204))
    with pytest.raises(TransportProblem):
        await client.push_blob("app", known())
    assert len(scripted.asked("PUT")) == 4


async def test_registry_that_takes_nothing_is_given_up(scripted, client):
    """A connection that does not take our bytes is a stall like any other."""
    big = bytes(32 << 20)
    blob = Descriptor(media_type="x", digest=Digest.of(big), size=len(big))
    scripted.on("POST", START, started())
    stuck = f"{ONE}&digest={blob.digest}"
    scripted.on("PUT", stuck, Reply(take=100, stall=True))
    scripted.on("GET", ONE, Reply(status=404))
    scripted.on("DELETE", ONE, Reply(status=204))
    with pytest.raises(TransportProblem, match="timed out"):
        await client.push_blob("app", body_of_bytes(big, blob))


async def test_stream_that_cannot_be_read_again_is_not_repeated(scripted, client):
    """Half of a one-time stream is gone: the error says so."""

    async def chunks() -> AsyncIterator[bytes]:
        yield DATA

    scripted.on("POST", START, started())
    scripted.on("PATCH", ONE, Reply(take=1000))
    with pytest.raises(UploadProblem, match="cannot be read again"):
        await client.push_blob("app", OnceBody(chunks()))


async def test_stream_is_pushed_once(scripted, client):
    """A one-time stream works when nothing breaks."""

    async def chunks() -> AsyncIterator[bytes]:
        yield DATA[:10]
        yield DATA[10:]

    scripted.on("POST", START, started())
    scripted.on("PATCH", ONE, Reply(status=202))
    scripted.on("PUT", FINAL_ONE, Reply(status=201))
    assert await client.push_blob("app", OnceBody(chunks())) == BLOB


async def test_fault_of_the_source_is_not_mistaken_for_the_network(scripted, client):
    """A file that cannot be read is that error, at once, and not a broken connection."""

    @contextlib.contextmanager
    def pieces() -> Iterator[Iterator[bytes]]:
        def fail() -> Iterator[bytes]:
            yield DATA[: 1 << 20]
            raise ZeroDivisionError("disk on fire")

        yield fail()

    scripted.on("POST", START, started())
    scripted.on("PATCH", ONE, Reply(status=202))
    scripted.on("DELETE", ONE, Reply(status=204))
    with pytest.raises(ZeroDivisionError, match="disk on fire"):
        await client.push_blob("app", MadeBody(pieces))
    assert len(scripted.asked("POST")) == 1


async def test_missing_location_is_reported(scripted, client):
    """Without a Location there is nowhere to send the blob."""
    scripted.on("POST", START, Reply(status=202))
    with pytest.raises(MalformedMessage, match="no Location"):
        await client.push_blob("app", known())


async def test_stored_under_another_digest_is_reported(scripted, client):
    """A registry that says it stored something else did."""
    scripted.on("POST", START, started())
    scripted.on("PUT", FINAL_ONE, Reply(status=201, headers={"Docker-Content-Digest": str(Digest.of(b"?"))}))
    with pytest.raises(UploadProblem, match="stored it as"):
        await client.push_blob("app", known())


MOUNT = f"{START}?mount={BLOB.digest}&from=base"


async def test_mounted_blob_is_not_sent(scripted, client):
    """201 to a mount is all there is to do."""
    scripted.on("POST", MOUNT, Reply(status=201))
    assert await client.push_blob("app", known(), sources=[(BLOB.digest, "base")]) == BLOB
    assert await client.mount_blob("app", BLOB.digest, "base")
    assert scripted.asked("PUT") == []


async def test_upload_that_a_mount_started_is_used(scripted, client):
    """202 to a mount is an upload already."""
    scripted.on("POST", MOUNT, started())
    scripted.on("PUT", FINAL_ONE, Reply(status=201))
    assert await client.push_blob("app", known(), sources=[(BLOB.digest, "base")]) == BLOB
    assert len(scripted.asked("POST")) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_refused_mount_is_followed_by_an_upload(scripted, client, status):
    """The source may be somebody else's; that does not stop the push."""
    scripted.on("POST", MOUNT, Reply(status=status))
    scripted.on("POST", START, started())
    scripted.on("PUT", FINAL_ONE, Reply(status=201))
    assert await client.push_blob("app", known(), sources=[(BLOB.digest, "base")]) == BLOB


async def test_unneeded_upload_of_a_mount_is_cancelled(scripted, client):
    """Asking for a mount only leaves nothing behind."""
    scripted.on("POST", MOUNT, started())
    scripted.on("DELETE", ONE, Reply(status=204))
    assert not await client.mount_blob("app", BLOB.digest, "base")
