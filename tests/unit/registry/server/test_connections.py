"""What connections answer on their own."""

import asyncio
import json
import logging

import pytest
from aiohttp import web

from registry.server.connections import Runner


async def fail(_request):
    raise RuntimeError("a bug with /a/path")


async def fail_later(request):
    answer = web.StreamResponse(headers={"Content-Length": "100"})
    await answer.prepare(request)
    await answer.write(b"part")
    raise RuntimeError("a bug")


@pytest.fixture
async def port():
    app = web.Application()
    app.router.add_get("/fail", fail)
    app.router.add_get("/later", fail_later)
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def exchange(port, sent):
    """Everything that is answered until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_what_is_no_http(port, caplog):
    """An error of the registry without a byte of the sender; nothing is logged but that it came."""
    caplog.set_level(logging.DEBUG)
    answer = await exchange(port, b"s3cr3t words\r\n\r\n" * 3)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head
    assert b"nosniff" in head
    assert json.loads(body)["errors"] == [{"code": "UNSUPPORTED", "message": "this cannot be read as HTTP"}]
    assert b"s3cr3t" not in answer
    assert "s3cr3t" not in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_a_bug_outside_of_the_handlers(port, caplog):
    """Is logged, and answered in JSON without a word of it."""
    answer = await exchange(port, b"GET /fail HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "UNKNOWN"
    assert b"/a/path" not in answer
    assert "a bug with /a/path" in caplog.text


async def test_nothing_follows_a_part_of_an_answer(port):
    """The connection ends, so that nobody takes the error for content."""
    answer = await exchange(port, b"GET /later HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.endswith(b"\r\n\r\npart")
