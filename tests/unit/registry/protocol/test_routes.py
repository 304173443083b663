"""URLs mean the same on both ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.digest import Digest
from oci_image.reference import REPOSITORY_PATTERN, TAG_PATTERN
from registry.protocol import routes
from registry.protocol.routes import Resource, Route, match

D = Digest.of(b"x")
REPOSITORIES = st.one_of(
    st.sampled_from(
        ["a", "a/blobs/uploads", "x/tags/list", "blobs/uploads", "tags/list", "manifests", "v2/a"]
    ),
    st.from_regex(REPOSITORY_PATTERN, fullmatch=True),
)
TAGS = st.from_regex(TAG_PATTERN, fullmatch=True)


@given(REPOSITORIES, TAGS)
def test_what_is_built_is_matched(repository, tag):
    """Every builder's path leads back to its resource, whatever the repository is called (G25)."""
    path = lambda url: url.partition("?")[0]  # noqa: E731 - a local shorthand
    assert match(routes.manifest(repository, tag)) == Route(Resource.MANIFEST, repository, tag)
    assert match(routes.manifest(repository, D)) == Route(Resource.MANIFEST, repository, str(D))
    assert match(routes.blob(repository, D)) == Route(Resource.BLOB, repository, str(D))
    assert match(path(routes.uploads(repository, mount=D))) == Route(Resource.UPLOADS, repository)
    assert match(routes.upload(repository, "id")) == Route(Resource.UPLOAD, repository, "id")
    assert match(path(routes.tags(repository, n=3, last=tag))) == Route(Resource.TAGS, repository)
    assert match(path(routes.referrers(repository, D, artifact_type="a/b"))) == Route(
        Resource.REFERRERS, repository, str(D)
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", Route(Resource.BASE)),
        ("/v2/", Route(Resource.BASE)),
        ("/v2/_catalog", Route(Resource.CATALOG)),
        ("/v2/a/blobs/uploads", Route(Resource.UPLOADS, "a")),
        ("/v2/a/blobs/uploads/", Route(Resource.UPLOADS, "a")),
        ("/v2/a/blobs/uploads/blobs/uploads/", Route(Resource.UPLOADS, "a/blobs/uploads")),
        ("/v2/a/blobs/uploads/manifests/x", Route(Resource.MANIFEST, "a/blobs/uploads", "x")),
        ("/v2/x/tags/list/tags/list", Route(Resource.TAGS, "x/tags/list")),
        ("/v2/a/blobs/sha256%3Aab", Route(Resource.BLOB, "a", "sha256:ab")),
        ("/v2/a/../b/manifests/x", Route(Resource.MANIFEST, "a/../b", "x")),
        ("/v2/a/%2e%2e/manifests/x", Route(Resource.MANIFEST, "a/..", "x")),
        ("/v2//manifests/x", Route(Resource.MANIFEST, "", "x")),
    ],
)
def test_paths_match_by_suffix(path, expected):
    """The last segments decide; names are left to the handler to refuse."""
    assert match(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1/",
        "/v2x",
        "/v2/a",
        "/v2/a/",
        "/v2/a/manifests/",
        "/v2/manifests/x",
        "/v2/a/tags/list/",
        "/v2/a%2fb/manifests/x",
        "/v2/a/manifests/x%00",
        "/v2/a/manifests%2Fx",
        "/v2/_catalog/",
        "//v2/",
    ],
)
def test_other_paths_do_not_match(path):
    """No match is better than a guess; an escaped slash or NUL is never decoded into a path (G26)."""
    assert match(path) is None


@given(st.text(max_size=100))
def test_any_text_is_matched_or_not(text):
    """The matcher is total."""
    match(text)
    match("/v2/" + text)


def test_digests_stay_readable():
    """Clients compare locations: a colon is never escaped."""
    assert routes.blob("a/b", D) == f"/v2/a/b/blobs/{D}"
    assert routes.uploads("a", digest=D) == f"/v2/a/blobs/uploads/?digest={D}"
    assert routes.uploads("a", mount=D, from_repository="b/c") == f"/v2/a/blobs/uploads/?mount={D}&from=b/c"
    assert routes.uploads("a", algorithm="sha512") == "/v2/a/blobs/uploads/?digest-algorithm=sha512"
    assert routes.base() == "/v2/"


def test_queries_of_a_location_survive():
    """A digest is appended with the right separator, and nothing that was there changes (G4)."""
    assert routes.with_query("/u/1", [("digest", str(D))]) == f"/u/1?digest={D}"
    assert routes.with_query("/u/1?_state=a%2Bb", [("digest", str(D))]) == f"/u/1?_state=a%2Bb&digest={D}"
    assert routes.with_query("/u/1?x", []) == "/u/1?x"


def test_values_are_escaped():
    """A value cannot add parameters."""
    assert routes.tags("a", n=2, last="b&n=9") == "/v2/a/tags/list?last=b%26n%3D9&n=2"
    assert routes.catalog(n=1) == "/v2/_catalog?n=1"
    assert routes.catalog() == "/v2/_catalog"
    assert routes.referrers("a", D, artifact_type="x/y+z") == f"/v2/a/referrers/{D}?artifactType=x/y%2Bz"
    assert routes.manifest("a", D, tags=["1", "2"]) == f"/v2/a/manifests/{D}?tag=1&tag=2"


def test_the_fallback_tag_of_referrers():
    """It has the algorithm and the hexadecimal digits, cut to the length of a tag."""
    assert routes.referrers_tag(D) == f"sha256-{D.hex}"
    assert len(routes.referrers_tag(Digest.of(b"x", "sha512"))) == len("sha512-") + 64
