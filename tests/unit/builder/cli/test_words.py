"""Numbers, times and tables read as Docker writes them."""

import time
from datetime import UTC, datetime

import pytest

from builder.cli.words import ago, since, size, table


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (2_129_920, "2.13MB"),
        (245_030_400, "245MB"),
        (1_250_000_000, "1.25GB"),
        (5e15, "5e+03TB"),
    ],
)
def test_size(count, text):
    """Decimal units, three digits."""
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1.2, "1 second"),
        (42, "42 seconds"),
        (90, "About a minute"),
        (600, "10 minutes"),
        (4000, "About an hour"),
        (36000, "10 hours"),
        (4 * 86400, "4 days"),
        (20 * 86400, "2 weeks"),
        (100 * 86400, "3 months"),
        (46 * 365 * 86400, "46 years"),
    ],
)
def test_ago(seconds, text):
    """Durations in the words of docker images."""
    assert ago(seconds) == text


def test_since():
    """Times are told relative to now; none and nonsense are told as they are."""
    hour = datetime.fromtimestamp(time.time() - 7200, UTC).isoformat()

    assert since(hour) == "2 hours ago"
    assert since(None) == "N/A"
    assert since("nonsense") == "nonsense"
    assert since(hour, time.time()) == "2 hours ago"


def test_since_a_fixed_time():
    """The time that every image without one has says nothing: when it came here is told, or nothing."""
    assert since("1980-01-01T00:00:00Z") == "N/A"
    assert since("1980-01-01T00:00:00Z", time.time() - 7200) == "2 hours ago"
    assert since(None, time.time() - 7200) == "2 hours ago"
    assert since("1980-01-01T00:00:01Z", time.time()).endswith("years ago")


def test_table():
    """Columns are three blanks apart, without blanks at the end of a line."""
    assert table(["A", "LONG"], [["value", "x"], ["v", "y"]]) == "A       LONG\nvalue   x\nv       y"
