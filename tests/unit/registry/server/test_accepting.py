"""A server without free descriptors does not fill the disk with complaints."""

import errno
import logging
import os

from registry.server.accepting import AcceptingProblems


class Loop:
    def __init__(self):
        self.reported = []

    def default_exception_handler(self, context):
        self.reported.append(context)


def test_exhaustion_is_told_now_and_then(caplog):
    """Once in ten seconds, without a traceback; anything else as asyncio does."""
    caplog.set_level(logging.ERROR)
    now = [0.0]
    loop, problems = Loop(), AcceptingProblems(lambda: now[0])
    full = {"exception": OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "socket": object()}
    for _ in range(1000):
        problems(loop, full)
    assert [record.getMessage() for record in caplog.records] == [
        "connections cannot be accepted: Too many open files"
    ]
    assert caplog.records[0].exc_info is None
    now[0] = 11.0
    problems(loop, full)
    assert len(caplog.records) == 2
    assert loop.reported == []
    for context in ({"message": "x"}, {"exception": OSError(errno.EMFILE, "")}, {"exception": ValueError()}):
        problems(loop, context)
    assert len(loop.reported) == 3
