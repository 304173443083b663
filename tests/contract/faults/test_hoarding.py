"""Uploads that nobody finishes (gate 19)."""

import http.client
import os
import time

import pytest

from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from tests.contract.faults.serving import Session, push, start


def files(root):
    return sum(len(names) for _path, _names, names in os.walk(root))


def upload_files(root):
    return [f"{path}/{name}" for path, _names, files in os.walk(f"{root}/uploads") for name in files]


@pytest.mark.parametrize(
    ("asked", "limit"), [(300, 100), pytest.param(100_000, 10_000, marks=pytest.mark.long)]
)
def test_empty_uploads_are_bounded(tmp_path, asked, limit, figure):
    """They cost no file; beyond the limit come 429 and the time to wait; what nobody uses is gone soon."""
    root = str(tmp_path / "root")
    idle = 1.0 if asked < 1000 else 300.0
    limits = {"max_uploads": limit, "max_uploads_per_caller": limit}
    config = RegistryConfig(port=0, root=root, upload_idle_seconds=idle, drain_seconds=0.5, **limits)
    with Registry(config) as url:
        session = Session(url)
        counts = {202: 0, 429: 0}
        before = files(root)
        most = 0
        for number in range(asked):
            status, headers, _ = session("POST", "/v2/a/blobs/uploads/")
            counts[status] += 1
            if status == 429:
                assert int(headers["Retry-After"]) > 0
            if number % (asked // 20) == 0:
                most = max(most, files(root) - before)
        assert counts[429] > 0
        assert most == 0
        assert upload_files(root) == []
        record = os.path.getsize(f"{root}/uploads.empty")
        assert record <= 288 * limit
        assert push(url, "a", b"x") in (201, 429)
        if idle < 10:
            end = time.monotonic() + 8
            while (status := session("POST", "/v2/a/blobs/uploads/")[0]) == 429 and time.monotonic() < end:
                time.sleep(0.1)
            assert status == 202
        session.close()
    figure(
        19,
        f"{asked} empty uploads: {counts[202]} opened, {counts[429]} refused, {most} more files, "
        f"{record} bytes of records",
    )


def test_one_hoarder_leaves_room_for_others(tmp_path, figure):
    """An address that has enough uploads is refused, another one is not, until some of the first end."""
    config = RegistryConfig(port=0, root=str(tmp_path / "root"), max_uploads_per_caller=20, drain_seconds=0.5)
    with Registry(config) as url:

        def ask(source, method="POST", path="/v2/a/blobs/uploads/"):
            connection = http.client.HTTPConnection(
                url.removeprefix("http://"), timeout=10, source_address=(source, 0)
            )
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer

        answers = [ask("127.0.0.1") for _ in range(30)]
        assert [answer.status for answer in answers] == [202] * 20 + [429] * 10
        assert {int(answer.headers["Retry-After"]) for answer in answers[20:]} == {60}
        assert ask("127.0.0.2").status == 202
        assert ask("127.0.0.1", "DELETE", answers[0].headers["Location"]).status == 204
        assert ask("127.0.0.1").status == 202
        assert ask("127.0.0.1").status == 429
    figure(19, "20 uploads for each caller: the 21st is 429, another address goes on")


@pytest.mark.parametrize(
    ("count", "size"), [(60, 100_000), pytest.param(1000, 10_000_000, marks=pytest.mark.long)]
)
def test_abandoned_uploads_give_their_space_back(tmp_path, count, size, figure):
    """When nobody used them for the configured time."""
    root = str(tmp_path / "root")
    config = RegistryConfig(port=0, root=root, upload_idle_seconds=2.0, drain_seconds=0.5)
    with Registry(config) as url:
        session = Session(url)
        most = 0
        for number in range(count):
            assert session("PATCH", start(url), bytes([number % 256]) * size)[0] == 202
            if number % (count // 10) == 0:
                most = max(most, sum(map(os.path.getsize, upload_files(root))))
        begun = time.monotonic()
        while upload_files(root) and time.monotonic() - begun < 20:
            time.sleep(0.1)
        assert upload_files(root) == []
        session.close()
    figure(
        19,
        f"{count} abandoned uploads of {size} bytes: gone {time.monotonic() - begun:.1f} s after the last",
    )
