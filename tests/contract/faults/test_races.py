"""Many clients that want the same thing at once (gates 5 to 8)."""

import asyncio
import contextlib
import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import aiohttp
import pytest

from oci_image.digest import Digest
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.store.filesystem import FilesystemStore
from tests.contract.faults.serving import MANIFEST, Session, image, push, send, start
from tests.contract.faults.stores import assert_sound, findings, manifest
from tests.contract.faults.stores import push as push_to_store


def disk_usage(root):
    seen = {}
    for path, _names, files in os.walk(root):
        for name in files:
            try:
                status = os.stat(f"{path}/{name}")
            except FileNotFoundError:
                continue
            seen[status.st_ino] = status.st_size
    return sum(seen.values())


def test_many_writers_of_one_blob(tmp_path, figure):
    """Sixty-four pushes: all succeed, one file, a link for each repository, bounded space (gate 5)."""
    store = FilesystemStore(str(tmp_path / "root"))
    data = os.urandom(1_000_000)
    peaks = [0]
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            peaks.append(disk_usage(store.layout.uploads) + disk_usage(f"{store.layout.root}/blobs"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(64) as pool:
        digests = set(pool.map(lambda number: push_to_store(store, f"r{number % 8}", data), range(64)))
    stop.set()
    watcher.join()
    (digest,) = digests
    assert os.stat(store.layout.blob(digest)).st_nlink == 9
    assert sorted(store.index.holders(digest)) == [f"r{number}" for number in range(8)]
    assert os.listdir(store.layout.temporary) == []
    assert max(peaks) <= 64 * len(data)
    assert disk_usage(store.layout.uploads) + disk_usage(f"{store.layout.root}/blobs") == len(data)
    store.close()
    figure(5, f"64 of 64 succeeded, one file with 9 names, peak {max(peaks) / len(data):.0f} times the size")


def write_tag(url, number, stop, log):
    session = Session(url)
    turn = 0
    while not stop.is_set():
        turn += 1
        raw = image(b"{}", n=[number, turn])
        started = time.monotonic()
        status = session.put("a", "t", raw)
        log.append((started, time.monotonic(), raw, status))
    session.close()


def read_tag(url, stop, seen, statuses):
    session = Session(url)
    while not stop.is_set():
        status, headers, body = session("GET", "/v2/a/manifests/t")
        statuses.add(status)
        seen.add(body)
        assert headers["Docker-Content-Digest"] == str(Digest.of(body))
    session.close()


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.long)])
def test_many_writers_of_one_tag(tmp_path, seconds, figure):
    """Every read is a whole manifest of some writer, the last acknowledged one stays, no 5xx (gate 6)."""
    with Registry(RegistryConfig(port=0, root=str(tmp_path / "root"), drain_seconds=0.5)) as url:
        assert push(url, "a", b"{}") == 201
        first = image(b"{}")
        with contextlib.closing(Session(url)) as session:
            assert session.put("a", "t", first) == 201
        stop = threading.Event()
        log, seen, statuses = [], set(), set()
        threads = [threading.Thread(target=write_tag, args=(url, n, stop, log)) for n in range(32)]
        threads += [threading.Thread(target=read_tag, args=(url, stop, seen, statuses)) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        final = send("GET", f"{url}/v2/a/manifests/t")[2]
    assert {status for _, _, _, status in log} == {201}
    assert statuses == {200}
    assert seen <= {first, *(raw for _, _, raw, _ in log)}
    answered = next(end for _, end, raw, _ in log if raw == final)
    assert all(begun < answered for begun, _, _, _ in log), "an older manifest took the place of a newer one"
    figure(6, f"{seconds} s: {len(log)} writes, {len(seen)} of them seen by readers, 0 answers of 5xx")


@pytest.mark.parametrize("rounds", [150, pytest.param(10_000, marks=pytest.mark.long)])
def test_deleting_and_tagging_again(tmp_path, rounds, figure):
    """No tag dangles, and the index agrees with the files, whoever comes first (gate 7)."""
    store = FilesystemStore(str(tmp_path / "root"))
    made = manifest(b"{}")
    chance = random.Random(rounds)
    kept = 0
    with ThreadPoolExecutor(3) as pool:
        for _ in range(rounds):
            changes = [
                partial(store.manifests.put, "a", made, ["t"]),
                partial(store.manifests.delete, "a", made.digest),
                partial(store.tags.names, "a"),
            ]
            chance.shuffle(changes)
            for future in [pool.submit(change) for change in changes]:
                future.result()
            names = store.tags.names("a") or []
            here = store.manifests.get("a", made.digest) is not None
            assert list(names) == (["t"] if here else [])
            assert (store.tags.get("a", "t") is not None) == here
            kept += here
    assert findings(store) == []
    store.close()
    figure(7, f"{rounds} rounds, 0 dangling tags; the push came last in {kept}")


async def race_chunks(url, location, offset, turn):
    """Twenty-five chunks for one offset; the winner's bytes."""
    size = 10_000
    bodies = [bytes([turn, number]) * (size // 2) for number in range(25)]
    where = {"Content-Range": f"{offset}-{offset + size - 1}"}

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def chunk(body):
            async with session.patch(url + location, data=body, headers=where) as answer:
                if answer.status == 416:
                    assert answer.headers["Location"] == location
                    assert answer.headers["Range"]
                return answer.status

        statuses = await asyncio.gather(*map(chunk, bodies))
    assert sorted(statuses) == [202] + [416] * 24
    return bodies[statuses.index(202)]


async def test_racing_chunks_have_one_winner_for_each_offset(tmp_path, figure):
    """A hundred chunks in four rounds: the blob is the winners' bytes, one after the other (gate 8)."""
    with Registry(RegistryConfig(port=0, root=str(tmp_path / "root"), drain_seconds=0.5)) as url:
        location = await asyncio.to_thread(start, url)
        data = b""
        for turn in range(4):
            data += await race_chunks(url, location, len(data), turn)
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{url}{location}?digest={Digest.of(data)}") as answer:
                assert answer.status == 201
            async with session.get(f"{url}/v2/a/blobs/{Digest.of(data)}") as answer:
                assert await answer.read() == data
    figure(8, "100 racing chunks, 4 offsets, 4 winners, the rest 416 with what is needed to resume")


async def test_appends_without_an_offset_do_not_mix(tmp_path):
    """Streams on one upload: the winners' bytes are whole and in the order of their answers (gate 8)."""
    with Registry(RegistryConfig(port=0, root=str(tmp_path / "root"), drain_seconds=0.5)) as url:
        location = await asyncio.to_thread(start, url)
        order = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def stream(number):
                async def parts():
                    for _ in range(4):
                        yield bytes([number]) * 20_000
                        await asyncio.sleep(0)

                async with session.patch(url + location, data=parts()) as answer:
                    if answer.status == 202:
                        end = int(answer.headers["Range"].partition("-")[2])
                        order.append((end, number))
                    else:
                        assert answer.status == 416

            await asyncio.gather(*(stream(number) for number in range(40)))
            data = b"".join(bytes([number]) * 80_000 for _, number in sorted(order))
            assert data
            async with session.put(f"{url}{location}?digest={Digest.of(data)}") as answer:
                assert answer.status == 201


def test_the_directory_is_sound_after_races(tmp_path):
    """Pushes, mounts and deletions of the same content at once leave files, links and index in agreement."""
    root = str(tmp_path / "root")
    with Registry(RegistryConfig(port=0, root=root, drain_seconds=0.5)) as url:

        def work(number):
            session = Session(url)
            for turn in range(8):
                data = f"shared {turn % 3}".encode()
                assert session.push(f"r{number % 3}", data) == 201
                digest = Digest.of(data)
                mount = f"/v2/r{number % 2}/blobs/uploads/?mount={digest}&from=r{number % 3}"
                assert session("POST", mount)[0] in (201, 202)
                raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "n": number}).encode()
                assert session.put(f"r{number % 3}", "t", raw) in (201, 400)
                assert session("DELETE", f"/v2/r{number % 3}/blobs/{digest}")[0] in (202, 404)
            session.close()

        with ThreadPoolExecutor(9) as pool:
            list(pool.map(work, range(9)))
    store = FilesystemStore(root)
    assert_sound(store)
    store.close()
