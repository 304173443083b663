"""The command line called in this process: without starting an interpreter each time."""

import contextlib
import io
import os
import re
import signal
import sys
import tempfile

from builder.cli.main import main
from tests.e2e.traces import broken_blobs, temporary

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ERROR = re.compile(r"^(?:\S+: )?error: ", re.MULTILINE)


def call(root, *args, stdin=b""):
    """Run one command line over a store; gives status, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    before, old = dict(os.environ), sys.stdin
    os.environ["PYBUILD_ROOT"] = str(root)
    os.environ.pop("SOURCE_DATE_EPOCH", None)
    try:
        with (
            tempfile.TemporaryFile() as spool,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            spool.write(stdin)
            spool.seek(0)
            with os.fdopen(os.dup(spool.fileno()), encoding="utf-8") as sys.stdin:
                status = main([*map(str, args)])
    finally:
        sys.stdin = old
        os.environ.clear()
        os.environ.update(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return status, out.getvalue(), err.getvalue()


def refused(root, *args, statuses=(1, 2), stdin=b""):
    """
    A call that fails in order; gives what was told.

    One error, a documented status, nothing on standard output, no traceback, nothing half-written.
    """
    status, out, told = call(root, *args, stdin=stdin)
    assert status in statuses, (status, told)
    assert "Traceback" not in told
    assert len(_ERROR.findall(told)) == 1, told
    assert out == ""
    assert "\x1b" not in told
    if os.path.isdir(root):
        assert temporary(root) == []
        assert broken_blobs(root) == []
    return told
