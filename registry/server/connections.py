"""
What is answered on a connection before there is a request: to what is no HTTP, or breaks its rules.

Invariants: the answer has the JSON form of every other error and repeats no byte of the sender; nothing of
it is logged but the class of the error; the connection is closed, so that nothing behind it is taken for a
request.
Governing source: RFC 9112, "Message Parsing Robustness".
"""

from __future__ import annotations

import logging

from aiohttp import web

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from .middleware import name_protocol, render

_LOG = logging.getLogger(__name__)


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what cannot be read, or to what failed outside of every handler."""
        if status >= 500:
            super().handle_error(request, status, exc, message)  # logs a bug
            problem = ApiError(ErrorCode.UNKNOWN, status=status)
        elif request.writer.output_size > 0:
            raise ConnectionError("part of an answer is out")
        else:
            _LOG.debug("what %s sent cannot be read as HTTP: %s", request.remote, type(exc).__name__)
            problem = ApiError(ErrorCode.UNSUPPORTED, message="this cannot be read as HTTP", status=status)
        answer = render(problem)
        name_protocol(answer)
        answer.force_close()
        return answer


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        connection = super().__call__()
        connection.__class__ = _Connection  # aiohttp has no parameter for the class
        return connection


class Runner(web.AppRunner):
    """An application with connections of this kind."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        return server
