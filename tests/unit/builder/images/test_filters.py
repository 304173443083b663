"""Which holdings the filters of prune and du mean."""

import pytest

from builder.errors import InvalidOption
from builder.filters import read_filters
from builder.holdings import GIT, MOUNT, STEP, Holding

STEP_ONE = Holding(id="aaaa11112222", type=STEP, description="RUN make", size=9, exclusive=9, last_used=900.0)
SHARED = Holding(id="bbbb11112222", type=STEP, description="COPY a /", size=9, exclusive=0, last_used=100.0)
CACHE = Holding(id="cccc11112222", type=MOUNT, description="cache mount", in_use=True, last_used=950.0)
CLONE = Holding(id="dddd11112222", type=GIT, description="objects", last_used=10.0)
ALL = (STEP_ONE, SHARED, CACHE, CLONE)


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        (["until=500s"], {SHARED, CLONE}),
        (["unused-for=500s"], {SHARED, CLONE}),
        (["type=regular"], {STEP_ONE, SHARED}),
        (["type!=regular"], {CACHE, CLONE}),
        (["type~=^source"], {CLONE}),
        (["id=aaaa"], {STEP_ONE}),
        (["id=aaaa11112222ffff"], {STEP_ONE}),
        (["id!=aaaa"], {SHARED, CACHE, CLONE}),
        (["id~=11$"], set()),
        (["description~=make|objects"], {STEP_ONE, CLONE}),
        (["description=RUN make"], {STEP_ONE}),
        (["shared"], {SHARED}),
        (["private"], {STEP_ONE, CACHE, CLONE}),
        (["shared=false", "type=regular"], {STEP_ONE}),
        (["inuse"], {CACHE}),
        (["inuse!=true"], {STEP_ONE, SHARED, CLONE}),
        (["mutable"], {CACHE, CLONE}),
        (["immutable", "until=500s"], {SHARED}),
    ],
)
def test_filters(filters, meant):
    """All filters have to hold."""
    condition = read_filters(filters, 1000.0, lambda text: float(text.removesuffix("s")))
    assert {one for one in ALL if condition(one)} == meant


def test_no_filter():
    """Nothing is chosen by nothing."""
    assert read_filters([], 0.0, float) is None


@pytest.mark.parametrize("text", ["", "=", "size=1", "until", "until!=1h", "type=nope", "shared~=x", "id~=["])
def test_what_is_no_filter(text):
    """It is an error that names the filter."""
    with pytest.raises(InvalidOption, match="--filter"):
        read_filters([text], 0.0, float)
