"""A server of two processes behaves as one of one: what happens in one of them holds in the other."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from registry.errors import InvalidConfiguration
from registry.server.config import RegistryConfig
from registry.server.housekeeping.maintenance import administration
from registry.server.workers.leader import serve_workers
from registry.server.workers.region import Region
from registry.server.workers.sharing import SharedRateLimit

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, pickle, sys
from registry.server.serve import serve
config = pickle.loads(bytes.fromhex(sys.argv[1]))
asyncio.run(serve(config, ready=lambda url: print(url, flush=True)))
"""
GRACE = 0.3
KIND = "application/vnd.oci.image.manifest.v1+json"


@contextlib.contextmanager
def process(root, stderr=None, **settings):
    """A server with two workers, and its URL."""
    import pickle

    fields = {"root": str(root), "port": 0, "workers": 2, "drain_seconds": 5.0} | settings
    config = pickle.dumps(RegistryConfig(**fields)).hex()
    command = [sys.executable, "-c", PROGRAM, config]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        yield child, child.stdout.readline().strip()
    finally:
        child.terminate()
        child.wait(timeout=30)
        child.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for the tests that leave it as it was."""
    root = tmp_path_factory.mktemp("workers") / "root"
    with process(root, metrics=True, metrics_public=True, gc_grace=1.0, verify_references=False) as (
        _child,
        url,
    ):
        yield url, str(root)


def inodes(pid):
    """The sockets of a process."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{name}")


def worker_of(connection, pids):
    """Which process has the other end of a connection; it sent an answer before."""
    local = connection.sock.getsockname()[1]
    remote = connection.sock.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        ports = [int(part.partition(":")[2], 16) for part in parts[1:3]]
        if ports == [remote, local]:
            return next(pid for pid in pids if f"socket:[{parts[9]}]" in set(inodes(pid)))
    raise AssertionError("no such connection")


def pids_of(root):
    with administration(root) as ask:
        return [worker["pid"] for worker in ask("status")["workers"]]


class Client:
    """A connection that stays with one worker."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url.partition("//")[2], timeout=20)

    def __call__(self, method, path, body=None, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body=body, headers=sent)
        answer = self.connection.getresponse()
        content = answer.read()
        return answer.status, answer.headers, content


@contextlib.contextmanager
def one_for_each(url, root):
    """A client of each worker."""
    found = {}
    clients = []
    pids = pids_of(root)
    try:
        for _ in range(200):
            client = Client(url)
            clients.append(client)
            assert client("GET", "/v2/")[0] == 200
            found.setdefault(worker_of(client.connection, pids), client)
            if len(found) == 2:
                break
        one, other = found.values()
        yield one, other
    finally:
        for client in clients:
            client.connection.close()


@pytest.fixture
def pair(server):
    with one_for_each(*server) as clients:
        yield clients


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest(text):
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": KIND,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": digest_of(b"{}"),
                "size": 2,
            },
            "layers": [],
            "annotations": {"text": str(text)},
        }
    ).encode()


def put(client, name, tag, text, **headers):
    return client("PUT", f"/v2/{name}/manifests/{tag}", manifest(text), Content_Type=KIND, **headers)


def push(client, name, data):
    status, _, _ = client("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(data)}", data)
    assert status == 201


def test_an_upload_moves_between_workers(pair):
    """Started here, continued there, finished here; the offset is right everywhere."""
    one, other = pair
    data = os.urandom(300_000)
    status, headers, _ = one("POST", "/v2/moving/blobs/uploads/")
    assert status == 202
    place = headers["Location"]
    parts = [data[:100_000], data[100_000:200_000], data[200_000:]]
    for client, start, part in ((one, 0, parts[0]), (other, 100_000, parts[1]), (one, 200_000, parts[2])):
        span = f"{start}-{start + len(part) - 1}"
        status, headers, _ = client("PATCH", place, part, Content_Range=span)
        assert (status, headers["Range"]) == (202, f"0-{start + len(part) - 1}")
        for reader in pair:
            assert reader("GET", place)[1]["Range"] == headers["Range"]
    assert other("PATCH", place, b"x", Content_Range="100000-100000")[0] == 416
    assert other("PUT", f"{place}?digest={digest_of(data)}")[0] == 201
    assert one("GET", f"/v2/moving/blobs/{digest_of(data)}")[2] == data
    assert one("GET", place)[0] == other("GET", place)[0] == 404


def test_an_upload_without_bytes_is_one_of_all_workers(pair, server):
    """Known to each before its first byte, without a file; ended by one it has ended for all."""
    one, other = pair
    name = "nothing/yet"
    places = [client("POST", f"/v2/{name}/blobs/uploads/")[1]["Location"] for client in (one, other) * 3]
    assert len(set(places)) == 6
    assert not os.path.exists(f"{server[1]}/uploads/nothing~yet")
    for place in places:
        assert [client("GET", place)[0] for client in pair] == [204, 204]
    for number, place in enumerate(places[:3]):
        assert pair[number % 2]("DELETE", place)[0] == 204
        assert [client("GET", place)[0] for client in pair] == [404, 404]
        assert [client("PATCH", place, b"x")[0] for client in pair] == [404, 404]
    again = one("POST", f"/v2/{name}/blobs/uploads/")[1]["Location"]
    assert again not in places
    assert other("PUT", f"{again}?digest={digest_of(b'1')}", b"1")[0] == 201
    assert other("PUT", f"{places[3]}?digest={digest_of(b'')}")[0] == 201
    assert other("PATCH", places[4], b"12")[0] == 202
    assert one("PUT", f"{places[4]}?digest={digest_of(b'123')}", b"3")[0] == 201
    for place in (again, *places[3:5]):
        assert [client("GET", place)[0] for client in pair] == [404, 404]
    assert one("DELETE", places[5])[0] == 204


def test_one_request_of_all_workers_works_on_an_upload(pair):
    """The other one is told to wait, and nothing is mixed."""
    one, other = pair
    _, headers, _ = one("POST", "/v2/busy/blobs/uploads/")
    place = headers["Location"]
    one.connection.putrequest("PATCH", place)
    one.connection.putheader("Content-Length", "10")
    one.connection.endheaders(b"01234")
    time.sleep(0.3)
    assert other("PATCH", place, b"xxxxx")[0] == 416
    assert other("DELETE", place)[0] == 416
    one.connection.send(b"56789")
    answer = one.connection.getresponse()
    answer.read()
    assert answer.status == 202
    assert other("PUT", f"{place}?digest={digest_of(b'0123456789')}")[0] == 201


def test_a_tag_that_moved_is_never_read_as_it_was(pair):
    """Whoever has an answer sees the change everywhere, also where the old one was in memory."""
    one, other = pair
    for number in range(60):
        writer, reader = (one, other) if number % 2 else (other, one)
        assert put(writer, "cached", "latest", number)[0] == 201
        for client in (reader, writer):
            assert client("GET", "/v2/cached/manifests/latest")[2] == manifest(number)
    digest = digest_of(manifest(59))
    assert one("DELETE", f"/v2/cached/manifests/{digest}")[0] == 202
    assert other("GET", "/v2/cached/manifests/latest")[0] == 404
    assert other("GET", f"/v2/cached/manifests/{digest}")[0] == 404
    assert json.loads(other("GET", "/v2/cached/tags/list")[2])["tags"] == []


def test_a_deleted_blob_is_gone_everywhere(pair):
    """Its size was in the memory of both."""
    one, other = pair
    push(one, "sizes", b"gone")
    path = f"/v2/sizes/blobs/{digest_of(b'gone')}"
    assert one("HEAD", path)[0] == other("HEAD", path)[0] == 200
    assert one("DELETE", path)[0] == 202
    assert other("HEAD", path)[0] == 404


def test_compare_and_swap_over_workers(server, pair):
    """Writers on both of them append to one list, and no entry is lost."""
    url, _ = server
    assert put(pair[0], "cas", "list", "")[0] == 201
    problems = []

    def append(number):
        client = Client(url)
        try:
            for _ in range(500):
                _, headers, body = client("GET", "/v2/cas/manifests/list")
                text = json.loads(body)["annotations"]["text"]
                status, _, _ = put(client, "cas", "list", f"{text} {number}", If_Match=headers["ETag"])
                if status == 201:
                    return
                assert status == 412
            problems.append(number)
        finally:
            client.connection.close()

    threads = [threading.Thread(target=append, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    text = json.loads(pair[1]("GET", "/v2/cas/manifests/list")[2])["annotations"]["text"]
    assert sorted(map(int, text.split())) == list(range(24))


def test_figures_are_those_of_all_workers(pair):
    """Whoever is asked; a scrape counts itself only later."""
    one, other = pair
    for _ in range(3):
        one("GET", "/v2/counted/tags/list")
        other("GET", "/v2/counted/tags/list")

    def count(client):
        text = client("GET", "/metrics")[2].decode()
        pattern = r'pybuild_registry_requests_total\{method="GET",resource="tags",status="404"\} (\d+)'
        assert "pybuild_registry_running_requests" in text
        return int(re.search(pattern, text)[1])

    assert count(one) == count(other) >= 6


def test_the_switch_reaches_all_workers(server, pair):
    """Read-only means every process."""
    with administration(server[1]) as ask:
        ask("readonly", value=True)
        assert [client("POST", "/v2/a/blobs/uploads/")[0] for client in pair] == [405, 405]
        ask("readonly", value=False)
        assert [client("POST", "/v2/a/blobs/uploads/")[0] for client in pair] == [202, 202]
        assert ask("status")["state"] == "serving"


def test_a_collection_spares_what_a_worker_was_told_of(server, pair):
    """Clients ask whether a blob is there and build on it, while garbage is collected all the time."""
    url, root = server
    stop = threading.Event()
    problems = []

    def collect():
        with administration(root) as ask:
            while not stop.is_set():
                ask("gc", grace=GRACE, undelete=0.0)

    def work(number):
        client = Client(url)
        try:
            for turn in range(40):
                data = f"{number} {turn // 4}".encode()
                path = f"/v2/live/blobs/{digest_of(data)}"
                told = time.monotonic()
                if client("HEAD", path)[0] != 200:
                    push(client, "live", data)
                time.sleep(0.02)
                status = client("GET", path)[0]
                if status != 200 and time.monotonic() - told < GRACE:
                    problems.append((number, turn))
        finally:
            client.connection.close()

    collector = threading.Thread(target=collect)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in (collector, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    collector.join()
    assert problems == []
    time.sleep(0.2)
    with administration(root) as ask:
        ask("gc", grace=0.1, undelete=0.0)
        ask("gc", grace=0.0, undelete=0.0)
    path = f"/v2/live/blobs/{digest_of(b'0 0')}"
    assert [client("HEAD", path)[0] for client in pair] == [404, 404]


def test_a_worker_that_dies_is_replaced(tmp_path):
    """What it did stays done, its upload goes on, and its figures are not forgotten."""
    root = str(tmp_path / "root")
    settings = {"metrics": True, "metrics_public": True, "verify_references": False}
    with process(root, **settings) as (_child, url), one_for_each(url, root) as (one, other):
        pid = worker_of(one.connection, pids_of(root))
        for _ in range(5):
            assert one("GET", "/v2/x/tags/list")[0] == 404
        assert put(one, "kept", "1", "x")[0] == 201
        _, headers, _ = one("POST", "/v2/kept/blobs/uploads/")
        place = headers["Location"]
        assert one("PATCH", place, b"01234")[0] == 202
        empty = one("POST", "/v2/kept/blobs/uploads/")[1]["Location"]
        other("GET", "/metrics")
        one.connection.putrequest("PATCH", place)
        one.connection.putheader("Content-Length", "10")
        one.connection.endheaders(b"56")
        time.sleep(0.2)
        with administration(root) as ask:
            ask("readonly", value=True)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while pid in pids_of(root) or len(pids_of(root)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with administration(root) as ask:
            ask("readonly", value=False)
        size = int(other("GET", place)[1]["Range"].partition("-")[2]) + 1
        assert size >= 5
        rest = b"0123456789"[size:]
        assert other("PUT", f"{place}?digest={digest_of(b'0123456789')}", rest)[0] == 201
        assert other("PUT", f"{empty}?digest={digest_of(b'0')}", b"0")[0] == 201
        assert other("GET", "/v2/kept/manifests/1")[2] == manifest("x")
        text = other("GET", "/metrics")[2].decode()
        assert re.search(r'requests_total\{method="GET",resource="tags",status="404"\} (\d+)', text)[1] == "5"


def test_the_end_of_a_server(tmp_path):
    """SIGTERM: the request that runs is answered, everybody is gone, the status is 0."""
    root = str(tmp_path / "root")
    with process(root) as (child, url), one_for_each(url, root) as (one, _other):
        pids = pids_of(root)
        one.connection.putrequest("POST", f"/v2/a/blobs/uploads/?digest={digest_of(b'0123456789')}")
        one.connection.putheader("Content-Length", "10")
        one.connection.endheaders(b"01234")
        time.sleep(0.3)
        child.terminate()
        time.sleep(0.3)
        with administration(root) as ask:
            assert ask("status")["state"] == "draining"
        one.connection.send(b"56789")
        answer = one.connection.getresponse()
        answer.read()
        assert answer.status == 201
        assert child.wait(timeout=20) == 0
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    with administration(root) as ask:
        assert ask("status")["blobs"] == 1


def test_the_workers_of_a_leader_that_was_killed(tmp_path):
    """They end at once, and the next server starts with everything that was acknowledged."""
    root = str(tmp_path / "root")
    with process(root) as (child, url):
        with one_for_each(url, root) as (one, _other):
            push(one, "a", b"kept")
            pids = pids_of(root)
            child.kill()
            child.wait()
        deadline = time.monotonic() + 5
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with process(root) as (_child, url), one_for_each(url, root) as (one, other):
        path = f"/v2/a/blobs/{digest_of(b'kept')}"
        assert one("HEAD", path)[0] == other("HEAD", path)[0] == 200


def test_tokens_and_allowances_count_everywhere(tmp_path):
    """A token of one worker opens the other, and callers have one allowance for both."""
    from registry.server.config import TokenAuth

    settings = {"auth": TokenAuth(anonymous_pull=True), "requests_per_second": 0.01, "burst": 40}
    root = str(tmp_path / "root")
    with process(root, **settings) as (_child, url):
        pids = pids_of(root)
        client = Client(url)
        token = json.loads(client("GET", "/token?service=registry&scope=repository:a:pull")[2])["token"]
        seen = []
        clients = [client]
        for _ in range(60):
            clients.append(Client(url))
            status, _, _ = clients[-1]("GET", "/v2/a/tags/list", Authorization=f"Bearer {token}")
            seen.append((worker_of(clients[-1].connection, pids), status))
        for one in clients:
            one.connection.close()
    assert {status for _, status in seen} == {404, 429}
    assert {pid for pid, status in seen if status == 404} == set(pids)
    assert sum(status == 404 for _, status in seen) == 39


def test_events_of_all_workers_are_delivered(tmp_path):
    """One outbox, whoever made the change, also the owner of the directory."""
    import http.server

    from registry.server.config import Webhook

    told = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"].get("tag"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    hooks = (Webhook(url=f"http://127.0.0.1:{receiver.server_port}/"),)
    root = str(tmp_path / "root")
    with (
        process(root, webhooks=hooks, verify_references=False) as (_child, url),
        one_for_each(url, root) as (one, other),
    ):
        assert put(one, "a", "one", "x")[0] == put(other, "a", "other", "x")[0] == 201
        with administration(root) as ask:
            ask("rm", repository="a")
        deadline = time.monotonic() + 10
        while len(told) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    receiver.shutdown()
    receiver.server_close()
    assert told == ["one", "other", None]


def test_a_quota_is_one_for_all_workers(tmp_path):
    """Uploads to both of them together do not take more than there is."""
    from registry.server.policies import Policy

    root = str(tmp_path / "root")
    policies = (Policy(repositories="small/**", quota=150),)
    with process(root, policies=policies) as (_child, url), one_for_each(url, root) as (one, other):
        push(one, "small/a", bytes(100))
        path = f"/v2/small/b/blobs/uploads/?digest={digest_of(bytes(99))}"
        assert other("POST", path, bytes(99))[0] == 403
        push(other, "small/b", bytes(50))


async def test_what_several_workers_cannot_do(tmp_path):
    """Each refusal says what to do."""
    with pytest.raises(InvalidConfiguration, match="need content in a directory"):
        await serve_workers(RegistryConfig(workers=2), ready=print)
    with pytest.raises(InvalidConfiguration, match="1 to 255 workers"):
        await serve_workers(RegistryConfig(workers=1000, root=str(tmp_path)), ready=print)


def test_a_port_that_is_taken(server, tmp_path):
    """Somebody who does not share it keeps it."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with process(tmp_path / "root", port=port) as (child, url):
            assert url == ""
            assert child.wait(timeout=30) == 1


def test_an_allowance_is_the_same_in_every_table():
    """Two objects over one table spend together; a third caller has its own."""
    from registry.errors import ApiError

    descriptor = SharedRateLimit.create()
    one, other = SharedRateLimit(0.001, 3, descriptor), SharedRateLimit(0.001, 3, descriptor)
    one.spend("ann", "")
    other.spend("ann", "")
    one.spend("ann", "")
    with pytest.raises(ApiError):
        other.spend("ann", "")
    other.spend("bob", "")
    os.close(descriptor)


def test_words_of_the_shared_memory():
    """Two maps of one region see the same."""
    one = Region.create()
    other = Region(one.descriptor)
    one.advance("a")
    assert other.generation("a") == 1
    one.count_upload(3, 2)
    other.count_upload(1, -1)
    assert other.uploads() == 1
    other.correct_uploads(5)
    assert one.uploads() == 5
    assert one.use(7, 5.0)
    other.condemn(7, 1)
    assert not one.use(7, 3.0)
    assert other.used(7) == 5.0
    os.close(one.descriptor)


def test_passwords_and_the_log_of_all_workers(tmp_path):
    """A password that is added counts in both, and both write lines of JSON."""
    import base64

    import bcrypt

    from registry.server.config import BasicAuth

    def write(*names):
        lines = [f"{name}:{bcrypt.hashpw(b'pw', bcrypt.gensalt(4)).decode()}" for name in names]
        (tmp_path / "new").write_text("\n".join(lines))
        (tmp_path / "new").rename(tmp_path / "users")

    def status(client, name):
        code = base64.b64encode(f"{name}:pw".encode()).decode()
        return client("GET", "/v2/", Authorization=f"Basic {code}")[0]

    write("ann")
    root = str(tmp_path / "root")
    auth = BasicAuth(htpasswd=str(tmp_path / "users"))
    with (
        (tmp_path / "log").open("w") as log,
        process(root, stderr=log, auth=auth, access_log="json") as (_child, url),
    ):
        pids = pids_of(root)
        clients = {}
        while len(clients) < 2:
            client = Client(url)
            assert status(client, "ann") == 200
            if clients.setdefault(worker_of(client.connection, pids), client) is not client:
                client.connection.close()
        assert [status(client, "bob") for client in clients.values()] == [401, 401]
        write("ann", "bob")
        deadline = time.monotonic() + 20
        while [status(client, "bob") for client in clients.values()] != [200, 200]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for client in clients.values():
            client.connection.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {(line["user"], line["status"]) for line in lines} >= {("ann", 200), ("bob", 200), ("", 401)}
