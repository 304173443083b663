"""Both ends speak one table of errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import (
    ApiError,
    Denied,
    InvalidConfiguration,
    RegistryError,
    StorageFull,
    StorageProblem,
    TransportProblem,
    Unauthorized,
)
from registry.protocol.errors import BODY_LIMIT, ErrorCode, ErrorEntry, decode, encode, entry

SPECIFIED = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 400,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
}


@pytest.mark.parametrize(("name", "status"), SPECIFIED.items())
def test_every_code_of_the_specification_has_its_row(name, status):
    """A code has the status that clients expect, and a message."""
    code = ErrorCode[name]
    assert code.status == status
    assert code.message


def test_no_two_codes_share_a_row():
    """An enum would silently make equal rows one code; none may be equal."""
    assert len({code.name for code in ErrorCode}) == len(ErrorCode.__members__)


def test_unknown_codes_are_unknown():
    """A code that no table has is UNKNOWN, not an exception."""
    assert ErrorCode.of("BLOB_UNKNOWN") is ErrorCode.BLOB_UNKNOWN
    assert ErrorCode.of("REGISTRY_ON_FIRE") is ErrorCode.UNKNOWN


def test_the_body_has_the_specified_form():
    """Code, message and detail; a missing detail is left out."""
    body = json.loads(encode([entry(ErrorCode.BLOB_UNKNOWN, {"digest": "d"}), entry(ErrorCode.DENIED)]))
    assert body == {
        "errors": [
            {"code": "BLOB_UNKNOWN", "message": ErrorCode.BLOB_UNKNOWN.message, "detail": {"digest": "d"}},
            {"code": "DENIED", "message": ErrorCode.DENIED.message},
        ]
    }


@given(st.lists(st.builds(ErrorEntry, st.text(), st.text(), st.none() | st.integers() | st.text())))
def test_a_body_decodes_to_what_was_encoded(entries):
    """Encoding and decoding are inverse."""
    assert decode(encode(entries)) == tuple(entries)


@given(st.binary(max_size=200))
def test_any_bytes_decode(data):
    """A body that is no error document is no exception either."""
    assert isinstance(decode(data), tuple)


@pytest.mark.parametrize(
    "data",
    [b"<html>", b"[]", b'{"errors": 5}', b'{"errors": [1, null]}', b"[" * 60000, b" " * (BODY_LIMIT + 1)],
)
def test_foreign_bodies_are_empty(data):
    """What gateways answer has no errors in it."""
    assert decode(data) == ()


def test_an_api_error_carries_one_entry_or_all_of_them():
    """An error knows its status, and makes its own entry when none is given."""
    problem = ApiError(ErrorCode.BLOB_UNKNOWN, {"digest": "d"})
    assert problem.status == 404
    assert problem.entries == (entry(ErrorCode.BLOB_UNKNOWN, {"digest": "d"}),)
    both = [entry(ErrorCode.DENIED), entry(ErrorCode.UNKNOWN)]
    assert ApiError(ErrorCode.DENIED, entries=both, status=418).entries == tuple(both)
    assert ApiError(ErrorCode.DENIED, status=418).status == 418


def test_the_tree_of_errors():
    """Handlers of a class of errors catch what is below it."""
    assert Unauthorized(headers={"A": "b"}).headers == {"A": "b"}
    assert Unauthorized().status == 401
    assert Denied("no").detail == "no"
    assert Denied().status == 403
    assert issubclass(Unauthorized, ApiError)
    assert issubclass(StorageFull, StorageProblem)
    assert TransportProblem("x", temporary=True).temporary
    assert InvalidConfiguration("x", hint="y").hint == "y"
    assert isinstance(InvalidConfiguration("x"), RegistryError)
