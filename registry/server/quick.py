"""
Answers that are sent again and again: their status line and headers are put into bytes once.

Invariants: what an answer says was decided for this request by the same handlers, rights and caches as every
other answer; only its form is remembered, with the value that it was made of, and made again for another
value; clients that want the connection closed, and servers that write more into answers (mirrors, traces),
get ordinary ones; memory is bounded.
Governing source: RFC 9112 section 4; RFC 9110 section 6.6.1 (Date).
"""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import cast

from aiohttp import HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict

_ENTRIES_LIMIT = 4096
_LONGEST_ADDRESS = 512
_LARGEST_BODY = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Form:
    """
    An answer but for its date and its body.

    Attributes:
        value: what it was made of.
        head: everything up to the date.
        headers: for those who ask the answer.
    """

    value: object
    head: bytes
    headers: CIMultiDict[str]


class QuickAnswers:
    """
    The forms of answers by method and address, the ones that were used last.

    Args:
        complete: adds the headers that every answer has.
        enabled: whether answers may be remembered here.
    """

    def __init__(
        self, complete: Callable[[web.BaseRequest, web.StreamResponse], None], *, enabled: bool = True
    ) -> None:
        self._complete = complete
        self._enabled = enabled
        self._forms: OrderedDict[tuple[str, str], _Form] = OrderedDict()

    def answer(
        self, request: web.Request, value: object, body: bytes, make: Callable[[], web.Response]
    ) -> web.StreamResponse:
        """
        An answer with status 200.

        Args:
            request: a GET or HEAD request without conditions.
            value: what the headers follow from, besides the address.
            body: of the answer to GET.
            make: the ordinary answer.
        """
        address = request.raw_path
        if not self._enabled or not request.keep_alive or request.version != HttpVersion11:
            return make()
        if len(address) > _LONGEST_ADDRESS or len(body) > _LARGEST_BODY:
            return make()
        key = (request.method, address)
        form = self._forms.get(key)
        if form is None or (form.value is not value and form.value != value):
            ordinary = make()
            self._complete(request, ordinary)
            form = self._forms[key] = _form(value, body, ordinary)
            if len(self._forms) > _ENTRIES_LIMIT:
                self._forms.popitem(last=False)
        else:
            self._forms.move_to_end(key)
        return cast("web.StreamResponse", _QuickAnswer(form, b"" if request.method == "HEAD" else body))


def _form(value: object, body: bytes, answer: web.Response) -> _Form:
    fields = answer.headers
    fields.setdefault("Content-Length", str(len(body)))
    fields["Server"] = SERVER_SOFTWARE
    lines = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    if "\r" in lines.replace("\r\n", "") or "\n" in lines.replace("\r\n", ""):
        raise ValueError("a header has more than one line")
    return _Form(value, f"HTTP/1.1 200 OK\r\n{lines}Date: ".encode(), fields)


class _QuickAnswer:
    """As much of a `web.StreamResponse` as those use who get one from a handler."""

    __slots__ = ("_body", "_form", "body_length", "prepared")

    status = 200
    keep_alive = True

    def __init__(self, form: _Form, body: bytes) -> None:
        self._form = form
        self._body = body
        self.prepared = False
        self.body_length = 0

    @property
    def headers(self) -> CIMultiDict[str]:
        """Those of the answer but for the date."""
        return self._form.headers

    @property
    def content_length(self) -> int:
        """How many bytes the body has."""
        return len(self._body)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send all of it."""
        protocol = request.protocol
        if protocol.transport is None or protocol.transport.is_closing():
            raise ConnectionResetError("the client went away")
        self.prepared = True
        self.body_length = len(self._body)
        protocol.transport.write(b"".join((self._form.head, _date(int(time.time())), self._body)))
        if protocol.writing_paused:
            await request.writer.drain()

    async def write_eof(self) -> None:
        """Nothing is left."""


@functools.lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    """The value of the header of this second, and the end of the headers."""
    return f"{formatdate(now, usegmt=True)}\r\n\r\n".encode()
