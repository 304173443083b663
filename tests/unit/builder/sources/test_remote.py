"""Addresses of git repositories and files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import InvalidOption
from builder.sources.remote import GitSource, is_url, parse_git, without_credentials

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h.example/a/b.git", {"url": "https://h.example/a/b.git"}),
        ("http://h.example/a.git#v1", {"url": "http://h.example/a.git", "ref": "v1"}),
        ("git://h.example/a#v1:x/y", {"url": "git://h.example/a", "ref": "v1", "subdir": "x/y"}),
        ("git://h.example/a#:x", {"url": "git://h.example/a", "subdir": "x"}),
        ("ssh://git@h.example:22/a#b", {"url": "ssh://git@h.example:22/a", "ref": "b"}),
        ("git@h.example:a/b.git#b/c:d", {"url": "git@h.example:a/b.git", "ref": "b/c", "subdir": "d"}),
        ("git@h.example:a?tag=v1", {"url": "git@h.example:a", "ref": "refs/tags/v1"}),
        ("git://h.example/a?ref=x&subdir=/y/", {"url": "git://h.example/a", "ref": "x", "subdir": "y"}),
        ("git://h.example/a?branch=x", {"url": "git://h.example/a", "ref": "refs/heads/x"}),
        ("git://h.example/a?ref=x#x", {"url": "git://h.example/a", "ref": "x"}),
        (
            f"git://h.example/a?checksum={COMMIT}",
            {"url": "git://h.example/a", "ref": COMMIT, "checksum": COMMIT},
        ),
        ("git://h.example/a?keep-git-dir", {"url": "git://h.example/a", "keep_git_dir": True}),
        ("git://h.example/a?keep-git-dir=0", {"url": "git://h.example/a", "keep_git_dir": False}),
        ("git://h.example/a?submodules=false", {"url": "git://h.example/a", "submodules": False}),
    ],
)
def test_addresses_of_repositories(text, expected):
    """Address, ref, directory and options are told apart."""
    assert parse_git(text) == GitSource(**expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "./a.git",
        "/a.git",
        "https://h.example/a",
        "https://h.example/a.git/",
        "git",
        "a:b",
        "C:/x.git",
    ],
)
def test_what_is_no_repository(text):
    """Paths and files behind URLs are none."""
    assert parse_git(text) is None


def test_the_short_form_is_for_contexts_only():
    """`github.com/…` may be a path in a Dockerfile."""
    assert parse_git("github.com/a/b") is None
    assert parse_git("github.com/a/b#c", context=True) == GitSource(url="https://github.com/a/b", ref="c")


@pytest.mark.parametrize(
    "suffix",
    [
        *(
            "#-x",
            "#a..b",
            "#a b",
            "#a^",
            "?ref=",
            "?nonsense=1",
            "?ref=a&ref=b",
            "?ref=a#b",
            "?tag=a&branch=a",
        ),
        *("?checksum=12", "?checksum=xyz1234", "?submodules=2", "#a:.git", "#a:b/.GIT/c", "?subdir=a#b:c"),
    ],
)
def test_addresses_that_make_no_sense(suffix):
    """Each is an error."""
    with pytest.raises(InvalidOption):
        parse_git(f"git://h.example/a{suffix}")


@given(st.text(max_size=60), st.sampled_from(("", "git://h/", "https://h/a.git", "git@h:", "ssh://")))
def test_any_text_is_an_address_or_none(text, start):
    """Whatever is written, the answer is a source, none, or the one error; a directory never leads out."""
    try:
        found = parse_git(start + text)
    except InvalidOption:
        return
    if found is not None:
        assert not found.subdir.startswith(("/", "..")) or found.subdir.startswith("...")
        assert not found.ref.startswith("-")


def test_credentials_are_not_shown():
    """User and password are left out of what people see."""
    shown = parse_git("https://me:hidden@h.example/a.git#v1").shown
    assert shown == "https://h.example/a.git#v1"
    assert without_credentials("https://me@h.example/x?y=z") == "https://h.example/x?y=z"
    assert without_credentials("ssh://git@h.example/x") == "ssh://git@h.example/x"
    assert is_url("HTTPS://h.example")
