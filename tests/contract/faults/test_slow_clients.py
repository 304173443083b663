"""Clients that hold connections and send next to nothing (gate 15)."""

import selectors
import socket
import threading
import time

import pytest

from oci_image.digest import Digest
from tests.contract.faults.serving import allowed, connect, percentile, probe, push, send, served, start


@pytest.mark.parametrize(
    ("count", "patience"), [(300, 1.0), pytest.param(2000, 10.0, marks=pytest.mark.long)]
)
def test_half_open_requests_are_dropped(tmp_path, count, patience, figure):
    """All of them soon after the time for headers, while others are answered fast."""
    with served(tmp_path / "root", header_seconds=patience) as server:
        assert push(server.url, "a", b"warm") == 201
        idle = server.descriptors()
        worst = allowed(server.url, 0.1)
        sockets = [connect(server.port) for _ in range(count)]
        begun = time.monotonic()
        stop, times = threading.Event(), []
        asking = threading.Thread(target=probe, args=(server.url, stop, times))
        asking.start()
        watched = selectors.DefaultSelector()
        for number, held in enumerate(sockets):
            held.sendall([b"", b"GET /v2/ HTTP/1.1\r\nHost: h\r\nX-", b"P"][number % 3])
            watched.register(held, selectors.EVENT_READ)
        while watched.get_map() and time.monotonic() - begun < 3 * patience + 5:
            for key, _ in watched.select(0.5):
                key.fileobj.setblocking(False)
                try:
                    ended = not key.fileobj.recv(4096)
                except ConnectionError:
                    ended = True
                if ended:
                    watched.unregister(key.fileobj)
        took = time.monotonic() - begun
        left = len(watched.get_map())
        stop.set()
        asking.join()
        for held in sockets:
            held.close()
        assert left == 0
        assert took <= 1.25 * patience + 2
        assert server.descriptors() <= idle + 3
        server.stop()
    slow = percentile(times, 0.99)
    assert slow <= worst
    figure(
        15, f"{count} half-open requests gone after {took:.1f} s, GET /v2/ p99 {1000 * slow:.0f} ms meanwhile"
    )


def test_a_trickling_body_is_given_up(tmp_path, figure):
    """Below a KiB in a second: 408, and what came stays; just above it, the body may take its time."""
    with served(tmp_path / "root", stall_seconds=1.0) as server:
        slow, steady = start(server.url), start(server.url)
        answers = {}

        def trickle(location, size, pause, kind):
            with connect(server.port) as held:
                head = f"PATCH {location} HTTP/1.1\r\nHost: h\r\nContent-Length: {size * 20}\r\n\r\n"
                held.sendall(head.encode())
                begun = time.monotonic()
                try:
                    for _ in range(20):
                        held.sendall(b"x" * size)
                        time.sleep(pause)
                except ConnectionError:
                    pass
                answers[kind] = (held.recv(12), time.monotonic() - begun)

        threads = [
            threading.Thread(target=trickle, args=(slow, 20, 0.15, "slow")),
            threading.Thread(target=trickle, args=(steady, 600, 0.15, "steady")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers["slow"][0] == b"HTTP/1.1 408"
        assert answers["steady"][0] == b"HTTP/1.1 202"
        held = int(send("GET", server.url + slow)[1]["Range"].partition("-")[2]) + 1
        assert 100 <= held < 400
        data = b"x" * held + b"the rest"
        path = f"{server.url}{slow}?digest={Digest.of(data)}"
        assert send("PUT", path, b"the rest")[0] == 201
        server.stop()
    figure(15, "130 bytes in a second: 408 and resumed; 4,000 bytes in a second: accepted")


def test_a_manifest_that_trickles_is_given_up(tmp_path):
    """Documents have no other patience than blobs."""
    with served(tmp_path / "root", stall_seconds=0.6) as server:
        with connect(server.port) as held:
            held.sendall(b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
            held.setblocking(False)
            answer = b""
            for _ in range(40):
                time.sleep(0.1)
                try:
                    held.sendall(b"{")
                    answer = held.recv(100)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    break
                if answer:
                    break
        assert answer.startswith(b"HTTP/1.1 408")
        server.stop()


def test_a_connection_that_only_listens_is_closed(tmp_path):
    """Nobody keeps a connection without a word."""
    with served(tmp_path / "root", header_seconds=0.5) as server:
        held = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        assert held.recv(1) == b""
        held.close()
        server.stop()
