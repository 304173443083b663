"""The values of --cache-from and --cache-to."""

import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.cachetransfer.options import inline_export, read_exports, read_imports
from builder.errors import InvalidOption, Unsupported


def one_import(text):
    (found,) = read_imports([text])
    return found


def one_export(text):
    (found,) = read_exports([text])
    return found


@pytest.mark.parametrize("text", ["example.com/app:cache", "type=registry,ref=example.com/app:cache"])
def test_a_reference_alone_means_a_registry(text):
    """Both spellings are one."""
    assert str(one_import(text).reference) == "example.com/app:cache"
    assert str(one_export(text).reference) == "example.com/app:cache"


def test_references_alone_may_be_a_list():
    """As with buildx, commas between bare references make several caches."""
    assert [one.reference.familiar for one in read_imports(["a:1,b:2", "c:3"])] == ["a:1", "b:2", "c:3"]


def test_a_reference_without_type_is_of_a_registry():
    """ref=NAME is enough."""
    assert one_import("ref=a:1").reference.familiar == "a:1"


def test_local_import():
    """A directory with a tag or a digest; paths are made absolute."""
    digest = "sha256:" + "a" * 64
    found = one_import(f"type=local,src=some/dir,tag=v1,digest={digest}")
    assert (found.path, found.tag, str(found.digest)) == (os.path.abspath("some/dir"), "v1", digest)
    assert one_import("type=local,src=d").tag == "latest"


def test_quotes_protect_commas():
    """Values are fields of CSV, as buildx reads them."""
    assert one_import('type=local,"src=/a,b"').path == "/a,b"


def test_defaults_of_exports():
    """mode=min, gzip, warnings only."""
    found = one_export("type=registry,ref=a")
    assert (found.all_steps, found.fatal, found.recompress, found.mounts) == (False, False, False, False)
    assert str(found.encoder) == "gzip"


def test_options_of_exports():
    """Each option has its effect."""
    found = one_export(
        "type=local,dest=/d,mode=max,compression=zstd,compression-level=7,force-compression=true,"
        "oci-mediatypes=true,image-manifest=1,ignore-error=false,reset=T,cache-mounts=true,tag=x"
    )
    assert (found.path, found.tag, found.all_steps, found.fatal) == ("/d", "x", True, True)
    assert (found.recompress, found.reset, found.mounts, str(found.encoder)) == (True, True, True, "zstd:7")


def test_insecure_registry():
    """registry.insecure is an option of both directions."""
    assert one_import("type=registry,ref=a,registry.insecure=true").insecure
    assert one_export("type=registry,ref=a,registry.insecure=true").insecure


def test_inline():
    """An inline cache has no place of its own."""
    assert one_export("type=inline").is_inline
    assert one_export("type=inline,mode=min") == inline_export()
    assert not one_export("type=registry,ref=a").is_inline


@pytest.mark.parametrize("kind", ["gha", "s3", "azblob"])
@pytest.mark.parametrize("read", [read_imports, read_exports])
def test_services_are_named(read, kind):
    """What is not supported is an error that names it."""
    with pytest.raises(Unsupported, match=f"type={kind}"):
        read([f"type={kind},scope=x"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type=registry,ref=a,compression=estargz", "estargz"),
        ("type=registry,ref=a,image-manifest=false", "image-manifest=false"),
        ("type=registry,ref=a,oci-mediatypes=false", "oci-mediatypes=false"),
        ("type=registry,ref=a,dest=/d", "dest"),
        ("type=local,dest=/d,scope=x", "scope"),
        ("type=inline,mode=max", "mode=max"),
        ("type=inline,ignore-error=true", "ignore-error"),
    ],
)
def test_unsupported_exports_are_named(text, words):
    """No option is ignored silently."""
    with pytest.raises(Unsupported, match=words):
        read_exports([text])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("type=registry", "ref=NAME"),
        ("type=registry,ref=", "ref=NAME"),
        ("type=registry,ref=A/B", "."),
        ("type=local,dest=/d,mode=most", "mode=most"),
        ("type=local", "dest=DIRECTORY"),
        ("type=local,dest=/d,tag=a b", "tag=a b"),
        ("type=local,dest=/d,reset=maybe", "reset=maybe"),
        ("type=local,dest=/d,compression=lzma", "lzma"),
        ("type=local,dest=/d,compression-level=99", "99"),
        ("type=nothing,dest=/d", "type=nothing"),
        ("dest=/d", "the type is missing"),
        ("type=local,dest=/d,", "empty"),
        ("type=local,reset", "key=value"),
        ('type=local,"dest=/d', "--cache-to"),
    ],
)
def test_wrong_exports_are_told(text, words):
    """Every message begins with the option as it was written."""
    with pytest.raises(InvalidOption, match=words) as caught:
        read_exports([text])
    assert caught.value.message.startswith(f"--cache-to {text}")


def test_wrong_imports_are_told():
    """An import has a type of its own set."""
    with pytest.raises(InvalidOption) as caught:
        read_imports(["type=inline"])
    assert "type=registry,ref=IMAGE" in caught.value.hint
    with pytest.raises(InvalidOption, match="src=DIRECTORY"):
        read_imports(["type=local"])
    with pytest.raises(InvalidOption, match="digest"):
        read_imports(["type=local,src=/d,digest=sha256:1"])
    with pytest.raises(Unsupported, match="compression"):
        read_imports(["type=local,src=/d,compression=zstd"])


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_an_option_or_an_error(text):
    """Nothing else comes out."""
    for read in (read_imports, read_exports):
        with suppress(InvalidOption, Unsupported):
            read([text])
