"""
What surrounds every request: errors become answers of the protocol, and every answer names the protocol.

Invariants: each 4xx and 5xx carries the JSON form, also those that aiohttp would answer in its own way; no
answer tells a path of the server; an unexpected exception is logged with its traceback and answered with 500.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from oci_image.errors import VerificationFailed

from ..errors import ApiError, RegistryError, StorageFull, StorageProblem, StorageUnavailable
from ..protocol import errors as protocol_errors
from ..protocol import headers
from ..protocol.errors import ErrorCode
from . import accesslog
from .marks import NAMESPACE
from .state import STATE
from .store.base import ConditionFailed
from .warnings import add_warnings

_LOG = logging.getLogger(__name__)
_CODES = {
    401: ErrorCode.UNAUTHORIZED,
    403: ErrorCode.DENIED,
    405: ErrorCode.UNSUPPORTED,
    413: ErrorCode.SIZE_INVALID,
}
_RETRY_SECONDS = 5

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn exceptions into answers; log what was asked and answered."""
    started = time.perf_counter()
    if request.transport is not None:
        request.app[STATE].greeted.add(request.transport)
    tracing = request.app[STATE].tracing
    if tracing is None:
        answer = await _answer(request, handler)
    else:
        answer = await tracing.around(request, lambda: _answer(request, handler))
    elapsed = time.perf_counter() - started
    state = request.app[STATE]
    if state.metrics is not None:
        state.metrics.count(request, answer, elapsed)
    accesslog.write(request, answer, elapsed, trusted=state.config.trust_proxy)
    return answer


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RegistryError as problem:
        answer = render(_as_api_error(problem))
    except web.HTTPException as problem:
        code = _CODES.get(
            problem.status, ErrorCode.UNSUPPORTED if problem.status < 500 else ErrorCode.UNKNOWN
        )
        answer = render(ApiError(code, message=problem.reason, status=problem.status))
    except VerificationFailed as problem:
        answer = render(ApiError(ErrorCode.DIGEST_INVALID, message=problem.message))
    except web.RequestPayloadError:
        answer = render(ApiError(ErrorCode.SIZE_INVALID, message="the body is not framed as HTTP demands"))
        answer.force_close()
    except ConnectionError as problem:
        _LOG.debug("%s %s ended early: %s", request.method, request.raw_path, problem)
        if request.transport is not None:
            request.transport.abort()  # part of an answer may be out: nothing may follow it
        answer = web.Response(status=499)
    except Exception:  # noqa: BLE001 - the outermost door: a bug becomes a 500 with a logged traceback
        _LOG.exception("%s %s failed", request.method, request.raw_path)
        answer = render(ApiError(ErrorCode.UNKNOWN))
    if request.headers.get("Expect") and not request.content.is_eof():
        await _answer_and_close(request, answer)
    return answer


async def _answer_and_close(request: web.Request, answer: web.Response) -> None:
    """Refuse a body that was announced: the client was not told to go on, so nothing more will come."""
    answer.force_close()
    await answer.prepare(request)
    await answer.write_eof()
    request.protocol.force_close()


def _as_api_error(problem: RegistryError) -> ApiError:
    if isinstance(problem, ApiError):
        return problem
    if isinstance(problem, ConditionFailed):
        return ApiError(ErrorCode.MANIFEST_INVALID, message=problem.message, status=412)
    if isinstance(problem, StorageFull):
        _LOG.error("%s", problem.message)
        return ApiError(ErrorCode.UNKNOWN, message=problem.message, status=507)
    if isinstance(problem, StorageUnavailable):
        _LOG.error("%s: %s", problem.message, problem.reason)
        return ApiError(
            ErrorCode.UNKNOWN,
            message=problem.message,
            status=503,
            headers={"Retry-After": str(_RETRY_SECONDS)},
        )
    if isinstance(problem, StorageProblem):
        _LOG.error("%s", problem.message, exc_info=problem)
        return ApiError(ErrorCode.UNKNOWN, message=problem.message)
    return ApiError(ErrorCode.UNKNOWN, message=problem.message, status=400)


def render(problem: ApiError) -> web.Response:
    """The answer for an error."""
    return web.Response(
        status=problem.status,
        body=protocol_errors.encode(problem.entries),
        content_type="application/json",
        headers=problem.headers,
    )


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """The same as `complete`, when aiohttp prepares an answer."""
    complete(request, response)


def complete(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Name the protocol and whose content it is, keep browsers from guessing types, and warn users."""
    add_warnings(request, response)
    name_protocol(response)
    if (namespace := request.get(NAMESPACE)) is not None:
        response.headers[headers.NAMESPACE_HEADER] = namespace


def name_protocol(response: web.StreamResponse) -> None:
    """The headers of every answer."""
    response.headers[headers.VERSION_HEADER] = headers.VERSION_VALUE
    response.headers["X-Content-Type-Options"] = "nosniff"
