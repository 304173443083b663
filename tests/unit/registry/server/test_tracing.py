"""Traces: what a receiver of OTLP gets, and that nobody waits for it."""

import asyncio
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from registry.server.config import RegistryConfig
from registry.server.embedded import Registry

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
ROOT = Path(__file__).parents[4]
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.server.got.append((self.path, trace_service.ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def spans(receiver):
    """Every span by its name, with its attributes."""
    return {
        span.name: (span, {item.key: item.value for item in span.attributes})
        for _, request in receiver.got
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def ask(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code


def test_requests_become_spans(receiver):
    """With the name of the route, the trace of the client, and nothing that is secret."""
    endpoint = f"http://127.0.0.1:{receiver.server_port}/v1/traces"
    config = RegistryConfig(port=0, drain_seconds=0.2, traces=True, traces_endpoint=endpoint)
    with Registry(config) as url:
        sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "Authorization": "Basic c2VjcmV0"}
        assert ask(f"{url}/v2/team/app/tags/list?token=secret", **sent) == 404
        assert ask(f"{url}/livez") == 200
        assert ask(f"{url}/v2/") == 200
        assert ask(f"{url}/nowhere") == 404
    found = spans(receiver)
    assert set(found) == {"GET /v2/{name}/tags/list", "GET /v2/", "GET"}
    span, attributes = found["GET /v2/{name}/tags/list"]
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert attributes["http.response.status_code"].int_value == 404
    assert attributes["url.path"].string_value == "/v2/team/app/tags/list"
    assert attributes["pybuild.repository"].string_value == "team/app"
    assert found["GET /v2/"][0].trace_id.hex() != TRACE
    everything = b"".join(request.SerializeToString() for _, request in receiver.got)
    assert b"secret" not in everything
    assert b"c2VjcmV0" not in everything
    assert b"pybuild-registry" in everything


def test_a_receiver_that_is_gone_holds_up_nobody():
    """Neither requests nor the end of the server wait for it for long."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/traces"
        config = RegistryConfig(port=0, drain_seconds=0.2, traces=True, traces_endpoint=endpoint)
        started = time.monotonic()
        with Registry(config) as url:
            assert [ask(f"{url}/v2/") for _ in range(20)] == [200] * 20
        assert time.monotonic() - started < 15


@pytest.mark.parametrize(("more", "traced"), [({}, True), ({"OTEL_SDK_DISABLED": "true"}, False)])
def test_the_variables_of_opentelemetry(receiver, more, traced):
    """The command needs no other setting."""
    environment = os.environ | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_port}",
        "OTEL_SERVICE_NAME": "my-registry",
        **more,
    }
    command = [sys.executable, "-m", "builder", "registry", "--memory", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as child:
        url = child.stderr.readline().rsplit(" ", 1)[1].strip()
        assert ask(f"{url}/v2/") == 200
        child.terminate()
        child.wait(timeout=30)
    assert [path for path, _ in receiver.got] == (["/v1/traces"] if traced else [])
    assert any(b"my-registry" in request.SerializeToString() for _, request in receiver.got) == traced


async def test_a_trace_is_named_in_the_log(receiver, caplog):
    """So that a line leads to its trace."""
    import logging

    endpoint = f"http://127.0.0.1:{receiver.server_port}/v1/traces"
    config = RegistryConfig(port=0, drain_seconds=0.2, traces=True, traces_endpoint=endpoint)
    with caplog.at_level(logging.INFO, logger="registry.access"):
        async with Registry(config) as url:
            assert await asyncio.to_thread(ask, f"{url}/v2/", traceparent=f"00-{TRACE}-{PARENT}-01") == 200
    assert [record.fields["trace"] for record in caplog.records if record.name == "registry.access"] == [
        TRACE
    ]
