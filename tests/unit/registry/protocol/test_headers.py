"""Headers are read and written as both ends expect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedMessage
from registry.protocol import headers
from registry.protocol.headers import ByteRange, ContentRange, UnsatisfiableRange, parse_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-4", [(0, 5)]),
        ("bytes=5-", [(5, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-99", [(0, 10)]),
        ("bytes=8-99", [(8, 10)]),
        ("bytes=0-0,-1", [(0, 1), (9, 10)]),
        ("Bytes = 1-2 , 4-5", [(1, 3), (4, 6)]),
        ("bytes=0-1,50-60", [(0, 2)]),
    ],
)
def test_ranges_are_cut_to_the_content(text, expected):
    """The end is inclusive and clamped; a suffix counts from the end."""
    assert parse_range(text, 10) == tuple(ByteRange(*pair) for pair in expected)


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-12", "bytes=500-0", "bytes=-0", "bytes=5-4"])
def test_ranges_outside_the_content_are_unsatisfiable(text):
    """Nothing to send is 416, as the conformance suite and RFC 9110 ask."""
    with pytest.raises(UnsatisfiableRange):
        parse_range(text, 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=a-b",
        "bytes=-",
        "items=0-1",
        "bytes=1-2-3",
        "bytes=0-1," * 40,
        "bytes=0-,0-",
    ],
)
def test_other_ranges_are_ignored(text):
    """An unparsable header, or one that asks for more than there is, means the whole content."""
    assert parse_range(text, 10) is None


@given(st.text(max_size=40), st.integers(0, 50))
def test_any_range_header_is_handled(text, size):
    """Every range that is accepted lies within the content and is not empty."""
    try:
        found = parse_range("bytes=" + text, size)
    except UnsatisfiableRange:
        return
    assert all(0 <= part.start < part.stop <= size and part.length > 0 for part in found or ())


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_content_ranges_round_trip(start, length):
    """Both forms of Content-Range are written as they are read."""
    part = ByteRange(start, start + length)
    assert headers.parse_chunk_range(headers.format_chunk_range(start, length)) == part
    total = part.stop + 1
    assert headers.parse_content_range(headers.format_content_range(part, total)) == ContentRange(part, total)


@pytest.mark.parametrize("text", ["bytes 5-9/10", "5", "5-", "9-5", "a-b", "", "0-1-2", "0-" + "9" * 50])
def test_chunks_need_their_own_form(text):
    """The RFC form is refused for chunks, and so is an end before the start (G6)."""
    with pytest.raises(MalformedMessage):
        headers.parse_chunk_range(text)


@pytest.mark.parametrize("text", ["0-9", "bytes 9-5/10", "bytes */10", "bytes 0-9", ""])
def test_answers_need_the_rfc_form(text):
    """A partial answer without a usable Content-Range is an error."""
    with pytest.raises(MalformedMessage):
        headers.parse_content_range(text)


def test_an_unknown_total_is_allowed():
    """A star stands for a total that the other end does not know."""
    assert headers.parse_content_range("bytes 0-1/*") == ContentRange(ByteRange(0, 2), None)


@pytest.mark.parametrize(("size", "text"), [(0, "0-0"), (1, "0-0"), (2, "0-1"), (100, "0-99")])
def test_upload_ranges_never_end_before_they_start(size, text):
    """The docker client aborts on ``0--1``; an empty upload is ``0-0`` (G1, G2)."""
    assert headers.format_upload_range(size) == text


def test_upload_ranges_are_read():
    """No unit, but one is tolerated; ``0-0`` is read as empty."""
    assert headers.parse_upload_range("0-99") == 100
    assert headers.parse_upload_range("bytes=0-99") == 100
    assert headers.parse_upload_range("0-0") == 0
    for text in ("", "1-5", "x", "0-"):
        with pytest.raises(MalformedMessage):
            headers.parse_upload_range(text)


def test_range_requests():
    """The end is inclusive on the wire."""
    assert headers.format_range(5) == "bytes=5-"
    assert headers.format_range(5, 10) == "bytes=5-9"
    assert headers.format_unsatisfied(7) == "bytes */7"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (headers.format_next_link("/v2/a/tags/list?last=b&n=1"), "/v2/a/tags/list?last=b&n=1"),
        ('<https://h/v2/_catalog?last=x;n=1>; rel="next"', "https://h/v2/_catalog?last=x;n=1"),
        ("</a>; rel=prev, </b>; title=x; rel=next", "/b"),
        ('</a>; rel="prev next"', "/a"),
        ('</a,b>; REL="Next"', "/a,b"),
        ("</a>; rel=prev", None),
        ("/a; rel=next", None),
        ("", None),
    ],
)
def test_links_to_the_next_page(text, target):
    """The relation decides, whatever else the header says."""
    assert headers.parse_next_link(text) == target


@given(st.text(max_size=80))
def test_any_link_header_is_handled(text):
    """The parser is total."""
    headers.parse_next_link(text)
