"""Image references."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oci_image.digest import Digest
from oci_image.errors import InvalidReference
from oci_image.reference import Reference, is_repository_name, is_tag

DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("app", "docker.io/library/app:latest", "app:latest"),
        ("app:1", "docker.io/library/app:1", "app:1"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("library/app:1", "docker.io/library/app:1", "app:1"),
        ("docker.io/app:1", "docker.io/library/app:1", "app:1"),
        ("docker.io/library/app:1", "docker.io/library/app:1", "app:1"),
        ("index.docker.io/app:1", "docker.io/library/app:1", "app:1"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("ghcr.io/org/app:v1", "ghcr.io/org/app:v1", "ghcr.io/org/app:v1"),
        ("[::1]:5000/a/b:c", "[::1]:5000/a/b:c", "[::1]:5000/a/b:c"),
        ("127.0.0.1/app", "127.0.0.1/app:latest", "127.0.0.1/app:latest"),
        ("Host/app", "Host/app:latest", "Host/app:latest"),
        ("a__b/c.d-e--f_g:T_1.x-y", "docker.io/a__b/c.d-e--f_g:T_1.x-y", "a__b/c.d-e--f_g:T_1.x-y"),
        (f"app@{DIGEST}", f"docker.io/library/app@{DIGEST}", f"app@{DIGEST}"),
        (f"r.io/app:1@{DIGEST}", f"r.io/app:1@{DIGEST}", f"r.io/app:1@{DIGEST}"),
        ("docker.io/localhost/app:1", "docker.io/localhost/app:1", "docker.io/localhost/app:1"),
        ("docker.io/foo.bar/app:1", "docker.io/foo.bar/app:1", "docker.io/foo.bar/app:1"),
        ("host:1/x", "host:1/x:latest", "host:1/x:latest"),
    ],
)
def test_normalisation(text, full, familiar):
    """Names are completed as Docker does, and shortened again for people."""
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert Reference.parse(full) == reference
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (":tag", "empty"),
        ("App", "lower case|invalid"),
        ("me/App", "invalid repository"),
        ("app:", "invalid tag"),
        ("app:-x", "invalid tag"),
        ("app:" + "x" * 129, "invalid tag"),
        ("app:a b", "invalid tag"),
        ("app:1\n", "invalid tag"),
        ("app\n", "invalid repository"),
        ("a//b", "invalid repository"),
        ("/app", "invalid"),
        ("app/", "invalid"),
        ("a..b", "invalid repository"),
        ("a___b", "invalid repository"),
        ("-a", "invalid repository"),
        ("../../etc/passwd", "invalid"),
        ("-host.io/app", "invalid registry host"),
        ("host.io:port/app", "invalid registry host"),
        ("host.io/" + "a" * 256, "longer than 255"),
        ("https://host.io/app", "invalid"),
        ("app@sha256:00", "sha256 needs 64"),
        (f"app@{DIGEST}@{DIGEST}", "invalid digest"),
        (f"@{DIGEST}", "empty"),
        (DIGEST.hex, "image ID"),
    ],
)
def test_what_is_no_reference_is_refused(text, words):
    """The message says what is wrong."""
    with pytest.raises(InvalidReference, match=words):
        Reference.parse(text)


def test_upper_case_gets_a_hint():
    """The most common mistake is explained."""
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("me/MyApp:1")
    assert caught.value.hint == "repository names are lower case"


@given(st.text(st.sampled_from("ab0.:/@_-[]A\n sha256") | st.characters(), max_size=60))
@example("docker.io/a.b/c")
@example("docker.io/library/localhost")
@example("library/library")
@example("docker.io/library/library/a")
def test_any_text_is_a_reference_or_refused(text):
    """What is parsed prints, in both forms, as something that is parsed to the same."""
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
    assert is_repository_name(reference.repository)
    assert ".." not in reference.repository.split("/")


component = st.from_regex(r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)


@given(
    host=st.sampled_from(["docker.io", "localhost", "localhost:5000", "r.example.org", "[fe80::1]:443"]),
    path=st.lists(component, min_size=1, max_size=4),
    tag=st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
    digest=st.none() | st.binary(max_size=3).map(Digest.of),
)
def test_every_good_name_is_parsed(host, path, tag, digest):
    """Names of the grammar are accepted, with all their parts."""
    text = f"{host}/{'/'.join(path)}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    reference = Reference.parse(text)
    assert reference.registry == host
    assert reference.repository.endswith("/".join(path))
    assert reference.tag == (tag or (None if digest else "latest"))
    assert reference.digest == digest
    assert Reference.parse(reference.familiar) == reference


def test_identifier_and_pinning():
    """The digest wins over the tag in requests."""
    reference = Reference.parse("app:1")
    assert reference.identifier == "1"
    pinned = reference.with_digest(DIGEST)
    assert pinned.identifier == str(DIGEST)
    assert str(pinned) == f"docker.io/library/app:1@{DIGEST}"
    assert pinned.familiar_name == "app"


@pytest.mark.parametrize("text", ["a", "A.b-c_d", "_", "x" * 128])
def test_tags(text):
    """The grammar of tags."""
    assert is_tag(text)


@pytest.mark.parametrize("text", ["", ".a", "-", "x" * 129, "a/b", "a:b", "ä", "a\n"])
def test_no_tags(text):
    """What is outside of the grammar of tags."""
    assert not is_tag(text)
