"""How often and after how long a request is repeated."""

import pytest

from registry.client.retry import RetryPolicy, parse_retry_after


def test_pauses_double_and_end():
    """Pauses grow up to the longest one; the last attempt has none."""
    policy = RetryPolicy(attempts=6, first_delay=1, longest_delay=5)
    assert [policy.delay(n) for n in range(1, 7)] == [1, 2, 4, 5, 5, None]


def test_retry_after_is_honoured_within_a_limit():
    """What the registry asks for counts, unless it asks for too much."""
    policy = RetryPolicy(attempts=3, longest_delay=60)
    assert policy.delay(1, 30.0) == 30
    assert policy.delay(1, 61.0) is None
    assert policy.delay(3, 1.0) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("", None),
        (None, None),
        ("soon", None),
        ("-1", None),
        ("9" * 400, 999999999),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
    ],
)
def test_retry_after_forms(header, seconds):
    """Seconds and dates are read, everything else is ignored."""
    assert parse_retry_after(header, now=10.0) == seconds
