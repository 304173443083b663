"""Answers that are sent again and again say what ordinary ones say."""

import base64
import http.client
import json
import logging
from contextlib import closing

import aiohttp
import pytest

from oci_image.digest import Digest
from registry.server import quick
from registry.server.config import RegistryConfig
from registry.server.listening import listening
from registry.server.policies import Policy
from registry.server.store.memory import MemoryStore
from registry.testing import make_registry

INDEX = "application/vnd.oci.image.index.v1+json"


def index(text):
    content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"text": text}}
    return json.dumps(content).encode()


class Client:
    """One kept connection."""

    def __init__(self, url, **headers):
        self._connection = http.client.HTTPConnection(url.partition("://")[2], timeout=20)
        self._headers = headers

    def close(self):
        self._connection.close()

    def ask(self, method, path, body=None, **headers):
        """Status, headers with small names but for the date, and body."""
        self._connection.request(method, path, body, {**self._headers, **headers})
        answer = self._connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        assert "date" in fields
        del fields["date"]
        return answer.status, fields, answer.read()

    def push(self, repository, reference, text):
        raw = index(text)
        assert (
            self.ask("PUT", f"/v2/{repository}/manifests/{reference}", raw, **{"Content-Type": INDEX})[0]
            == 201
        )
        return raw

    def push_blob(self, repository, data):
        digest = Digest.of(data)
        assert self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)[0] == 201
        return digest


@pytest.fixture(params=["memory", "files"])
def client(request, tmp_path):
    """A client of a new registry."""
    if request.param == "memory":
        with make_registry(str(tmp_path)) as url, closing(Client(url)) as found:
            yield found
    else:
        with make_registry(str(tmp_path), root=str(tmp_path / "root")) as url, closing(Client(url)) as found:
            yield found


def test_repeated_answers_are_those_of_the_first_time(client, monkeypatch):
    """Headers and bodies are the same as without remembering, for GET and HEAD."""
    raw = client.push("a", "v1", "one")
    blob = client.push_blob("a", b"blob")
    paths = (
        "/v2/a/manifests/v1",
        f"/v2/a/manifests/{Digest.of(raw)}",
        f"/v2/a/blobs/{blob}",
        "/v2/a/tags/list",
        "/v2/a/tags/list?n=1",
    )
    for path in paths:
        for method in ("HEAD", "GET"):
            found = [client.ask(method, path) for _ in range(3)]
            # A client that wants the connection closed gets an ordinary answer.
            ordinary = client.ask(method, path, Connection="close")
            ordinary[1].pop("connection", None)
            assert found[0] == found[1] == found[2] == ordinary
            assert found[0][0] == 200


def test_changes_are_seen_at_once(client):
    """A tag that moves, tags that come and go, blobs and manifests that are deleted."""
    first = client.push("a", "v1", "one")
    blob = client.push_blob("a", b"blob")
    for _ in range(2):
        assert client.ask("GET", "/v2/a/manifests/v1")[2] == first
        assert json.loads(client.ask("GET", "/v2/a/tags/list")[2])["tags"] == ["v1"]
        assert client.ask("HEAD", f"/v2/a/blobs/{blob}")[0] == 200
    second = client.push("a", "v1", "two")
    assert client.ask("GET", "/v2/a/manifests/v1")[2] == second
    client.push("a", "v2", "two")
    assert json.loads(client.ask("GET", "/v2/a/tags/list")[2])["tags"] == ["v1", "v2"]
    assert client.ask("DELETE", "/v2/a/manifests/v1")[0] == 202
    assert client.ask("GET", "/v2/a/manifests/v1")[0] == 404
    assert json.loads(client.ask("GET", "/v2/a/tags/list")[2])["tags"] == ["v2"]
    assert client.ask("DELETE", f"/v2/a/blobs/{blob}")[0] == 202
    assert client.ask("HEAD", f"/v2/a/blobs/{blob}")[0] == 404
    assert client.ask("DELETE", f"/v2/a/manifests/{Digest.of(second)}")[0] == 202
    assert client.ask("GET", "/v2/a/manifests/v2")[0] == 404


def test_conditions_count(client):
    """304 between repeated answers."""
    raw = client.push("a", "v1", "one")
    for _ in range(2):
        assert client.ask("GET", "/v2/a/manifests/v1")[0] == 200
        assert client.ask("GET", "/v2/a/manifests/v1", **{"If-None-Match": f'"{Digest.of(raw)}"'})[0] == 304
        assert client.ask("GET", "/v2/a/manifests/v1", **{"If-None-Match": '"other"'})[0] == 200


def test_rights_are_asked_every_time(tmp_path):
    """What one user got is no answer for others, also over the same connection."""
    with make_registry(str(tmp_path), users={"anna": "secret"}) as url, closing(Client(url)) as client:
        known = {"Authorization": "Basic " + base64.b64encode(b"anna:secret").decode()}
        client._headers = known
        client.push("a", "v1", "one")
        for _ in range(2):
            for path in ("/v2/a/manifests/v1", "/v2/a/tags/list"):
                client._headers = known
                assert client.ask("GET", path)[0] == 200
                client._headers = {}
                assert client.ask("GET", path)[0] == 401
                client._headers = {"Authorization": "Basic " + base64.b64encode(b"anna:wrong").decode()}
                assert client.ask("GET", path)[0] == 401


def test_rate_limits_count(tmp_path):
    """429 after the burst."""
    with (
        make_registry(str(tmp_path), requests_per_second=0.01, burst=5) as url,
        closing(Client(url)) as client,
    ):
        client.push("a", "v1", "one")
        answers = [client.ask("GET", "/v2/a/manifests/v1")[0] for _ in range(6)]
    assert answers == [200, 200, 200, 200, 429, 429]


def test_figures_and_logs_count(tmp_path, caplog):
    """Each answer with its bytes."""
    caplog.set_level(logging.INFO, "registry.access")
    with (
        make_registry(str(tmp_path), metrics=True, metrics_public=True) as url,
        closing(Client(url)) as client,
    ):
        raw = client.push("a", "v1", "one")
        for _ in range(3):
            client.ask("GET", "/v2/a/manifests/v1")
            client.ask("HEAD", "/v2/a/manifests/v1")
        figures = client.ask("GET", "/metrics")[2].decode()
    assert 'pybuild_registry_requests_total{method="GET",resource="manifest",status="200"} 3.0' in figures
    sent = [line for line in figures.splitlines() if line.startswith("pybuild_registry_sent_bytes_total")]
    assert float(sent[0].split()[1]) == 3 * len(raw)
    fields = [record.fields for record in caplog.records if record.fields["method"] == "GET"][:3]
    assert [(one["status"], one["sent"]) for one in fields] == [(200, len(raw))] * 3


def test_warnings_are_part_of_every_answer(tmp_path):
    """What the policy of a repository wants to be said."""
    policies = (Policy(repositories="old/*", warning="please move"),)
    with make_registry(str(tmp_path), policies=policies) as url, closing(Client(url)) as client:
        client.push("old/a", "v1", "one")
        client.push("new/a", "v1", "one")
        for _ in range(3):
            assert client.ask("GET", "/v2/old/a/manifests/v1")[1]["warning"] == '299 - "please move"'
            assert "warning" not in client.ask("GET", "/v2/new/a/manifests/v1")[1]


async def test_memory_is_bounded(monkeypatch):
    """Addresses that were not asked for lately are forgotten; long ones are not remembered at all."""
    monkeypatch.setattr(quick, "_ENTRIES_LIMIT", 3)
    states, raw = [], index("one")
    config = RegistryConfig(port=0, drain_seconds=0.1)
    async with (
        listening(config, MemoryStore(), started=states.append) as url,
        aiohttp.ClientSession() as session,
    ):
        for tag in "abcde":
            address = f"{url}/v2/a/manifests/{tag}"
            async with session.put(address, data=raw, headers={"Content-Type": INDEX}) as answer:
                assert answer.status == 201
            for suffix in ("", "?" + "x" * 600):
                async with session.get(address + suffix) as answer:
                    assert await answer.read() == raw
        kept = [address for _, address in states[0].quick._forms]
    assert kept == [f"/v2/a/manifests/{tag}" for tag in "cde"]
