"""
The errors of both ends of the registry.

    RegistryError
     ├ ApiError               an answer of the protocol's error table: raised by handlers and by the client
     │  ├ Unauthorized        credentials are missing or not accepted (401)
     │  └ Denied              the credentials do not allow this (403)
     ├ InvalidCredentials     user name and password, or the token endpoint's refusal
     ├ TransportProblem       the other end cannot be reached, or the connection broke
     ├ MalformedMessage       a header, token or body that does not follow the protocol
     ├ UploadProblem          an upload that cannot be continued
     ├ StorageProblem         the registry's storage cannot be read or written
     │  └ StorageFull         … because no space is left
     └ InvalidConfiguration   settings under which a server cannot start
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .protocol.errors import ErrorCode, ErrorEntry, entry


class RegistryError(Exception):
    """
    Base of the registry's errors.

    Args:
        message: one sentence without a final period.
        hint: what a human can do about it, if anything.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ApiError(RegistryError):
    """
    An answer of the protocol's error table: handlers raise it, and the client raises what it was told.

    Args:
        code: the row of the table (UNKNOWN when a registry sent a code of its own: see `entries`).
        detail: JSON value that says what exactly is wrong.
        message: one sentence; the table's by default.
        status: HTTP status where it differs from the table's.
        headers: further headers of the answer.
        entries: all errors of the answer when there are several.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: object = None,
        *,
        message: str = "",
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        entries: Sequence[ErrorEntry] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message or code.message, hint=hint)
        self.code = code
        self.detail = detail
        self.status = code.status if status is None else status
        self.headers: dict[str, str] = dict(headers or {})
        self.entries: tuple[ErrorEntry, ...] = tuple(entries) or (entry(code, detail, message),)


class Unauthorized(ApiError):
    """Credentials are missing or were not accepted; on the server, `headers` carry the challenge."""

    def __init__(
        self,
        detail: object = None,
        *,
        message: str = "",
        headers: Mapping[str, str] | None = None,
        entries: Sequence[ErrorEntry] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(
            ErrorCode.UNAUTHORIZED, detail, message=message, headers=headers, entries=entries, hint=hint
        )


class Denied(ApiError):
    """The caller is known but may not do this."""

    def __init__(
        self,
        detail: object = None,
        *,
        message: str = "",
        entries: Sequence[ErrorEntry] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(ErrorCode.DENIED, detail, message=message, entries=entries, hint=hint)


class InvalidCredentials(RegistryError):
    """A user name and password, or a stored credential, cannot be used."""


class TransportProblem(RegistryError):
    """
    The other end cannot be reached, or the connection broke.

    Args:
        message: one sentence without a final period.
        temporary: whether trying again later may help.
        hint: what a human can do about it, if anything.
    """

    def __init__(self, message: str, *, temporary: bool, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.temporary = temporary


class MalformedMessage(RegistryError):
    """A header, token or body does not follow the protocol."""


class UploadProblem(RegistryError):
    """An upload cannot be continued: the other end lost it, or does not agree about its offset."""


class StorageProblem(RegistryError):
    """The registry's storage cannot be read or written. The message never carries a path of the server."""


class StorageFull(StorageProblem):
    """No space is left on the registry's storage."""


class StorageUnavailable(StorageProblem):
    """
    The registry's storage does not answer, or refused; trying again later may help.

    Args:
        reason: for the log, not for clients.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the storage of the registry is not available")
        self.reason = reason


class InvalidConfiguration(RegistryError):
    """The settings under which a server was to start are not usable."""
