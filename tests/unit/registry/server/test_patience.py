"""Clients that send nothing do not hold anything for ever."""

import asyncio
import logging

from oci_image.digest import Digest
from registry.protocol import headers
from registry.server.config import RegistryConfig
from registry.server.listening import listening
from registry.server.store.memory import MemoryStore


async def connect(url):
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def ask(url, text):
    reader, writer = await connect(url)
    writer.write(text.encode())
    data = await reader.read()
    writer.close()
    return data


async def test_half_sent_headers_are_dropped():
    """A connection without a whole request is closed after the time; one that made a request is not."""
    config = RegistryConfig(port=0, header_seconds=0.4, drain_seconds=0.1)
    async with listening(config, MemoryStore()) as url, asyncio.timeout(10):
        silent, half, used = await connect(url), await connect(url), await connect(url)
        half[1].write(b"GET /v2/ HTTP/1.1\r\nHost:")
        used[1].write(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await used[0].readuntil(b"{}")).startswith(b"HTTP/1.1 200")
        assert await silent[0].read() == b""
        assert b"200" not in await half[0].read()
        used[1].write(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await used[0].readuntil(b"{}")).startswith(b"HTTP/1.1 200")
        for _, writer in (silent, half, used):
            writer.close()


async def test_a_stalled_body_gives_its_upload_back():
    """408; what came is kept, and the upload can go on from there."""
    config = RegistryConfig(port=0, stall_seconds=0.3, drain_seconds=0.1)
    async with listening(config, MemoryStore()) as url, asyncio.timeout(10):
        closing = "Host: h\r\nConnection: close\r\n"
        answer = await ask(url, f"POST /v2/a/blobs/uploads/ HTTP/1.1\r\n{closing}Content-Length: 0\r\n\r\n")
        location = next(line for line in answer.decode().split("\r\n") if line.startswith("Location: "))[10:]
        reader, writer = await connect(url)
        writer.write(f"PATCH {location} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n12345".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        answer = await ask(url, f"GET {location} HTTP/1.1\r\n{closing}\r\n")
        assert f"Range: {headers.format_upload_range(5)}\r\n".encode() in answer
        digest = Digest.of(b"1234567")
        answer = await ask(
            url, f"PUT {location}?digest={digest} HTTP/1.1\r\n{closing}Content-Length: 2\r\n\r\n67"
        )
        assert answer.startswith(b"HTTP/1.1 201 ")


async def test_requests_are_logged_when_that_is_wanted(caplog):
    """One line with method, path and status on the logger of accesses."""
    caplog.set_level(logging.INFO, "registry.access")
    async with listening(RegistryConfig(port=0, drain_seconds=0.1), MemoryStore()) as url:
        await ask(url, "GET /v2/a/tags/list HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    (record,) = [record for record in caplog.records if record.name == "registry.access"]
    assert "127.0.0.1 - GET /v2/a/tags/list 404 " in record.getMessage()
