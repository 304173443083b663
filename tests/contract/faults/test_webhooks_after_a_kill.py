"""Events of changes that were acknowledged arrive, whenever the server is killed (a part of gate 1)."""

import http.server
import json
import threading
import time

import pytest

from tests.contract.faults.serving import Session, image, served

ROUNDS = 5
PUSHES = 12


class Receiver(http.server.ThreadingHTTPServer):
    """Takes events, some of them only when they come again."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.events = []
        self.refuses = True
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Answers(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.refuses:
            self.server.events.append(json.loads(body))
        self.send_response(503 if self.server.refuses else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args):
        pass


@pytest.fixture
def receiver():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_events_survive_kills(tmp_path, receiver):
    """None is lost, and those of one repository keep their order, however often they are sent."""
    receive = (
        f"from registry.server.config import Webhook\nsettings['webhooks'] = (Webhook(url={receiver.url!r}),)"
    )
    acknowledged = []
    for number in range(ROUNDS):
        receiver.refuses = number % 2 == 0
        with served(tmp_path / "root", before=receive) as server:
            session = Session(server.url)
            for push in range(PUSHES):
                config = f"{number} {push}".encode()
                assert session.push("a", config) == 201
                tag = f"t{number}-{push}"
                assert session.put("a", tag, image(config)) == 201
                acknowledged.append(tag)
            session.close()
            server.kill()
    receiver.refuses = False
    with served(tmp_path / "root", before=receive) as server:
        end = time.monotonic() + 60
        while {event["data"]["tag"] for event in receiver.events} != {*acknowledged}:
            assert time.monotonic() < end, "events are missing"
            time.sleep(0.05)
        server.stop()
    first = {}
    for event in receiver.events:
        first.setdefault(event["id"], event["data"]["tag"])
    assert [*first.values()] == acknowledged
