"""What -o and --annotation may say."""

import pytest

from builder.errors import BuildError, InvalidOption, Unsupported
from builder.exporters.annotations import parse_annotation
from builder.exporters.options import KNOWN, parse_output, read_options
from builder.request import Annotation, Output
from oci_image.platform import Platform


def read(text, compression="gzip"):
    return read_options(parse_output(text), compression)


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("-", Output(type="tar", dest="-")),
        ("out/dir", Output(type="local", dest="out/dir")),
        ("type=oci,dest=x", Output(type="oci", dest="x")),
        ("type=docker", Output(type="image")),
        ("type=docker,name=a:1", Output(type="image", attributes={"name": "a:1"})),
        ("dest=x, TYPE=tar", Output(type="tar", dest="x")),
        ('type=image,"name=a,b"', Output(type="image", attributes={"name": "a,b"})),
    ],
)
def test_forms(text, output):
    """A path, "-" and lists of values mean what they mean to docker buildx."""
    found = parse_output(text)

    assert (found.type, found.dest, found.attributes) == (output.type, output.dest, output.attributes)


def test_values():
    """Every option reaches the exporter as what it means."""
    image = read(
        'type=image,"name=a,team/b:2",push=true,push-by-digest=1,registry.insecure=,store=false,'
        "compression=zstd,compression-level=9,force-compression=true,oci-mediatypes=false,"
        "rewrite-timestamp=T,name-canonical=true,unpack=false"
    )

    assert [name.familiar for name in image.names] == ["a:latest", "team/b:2"]
    assert (image.push, image.by_digest, image.insecure, image.store) == (True, True, True, False)
    assert (image.compression, image.recompress) == ("zstd:9", True)
    assert (image.docker_types, image.clamp) == (True, True)
    assert str(image.encoder) == "zstd:9"
    assert (image.canonical, image.unpack, image.dangling) == (True, False, None)
    dangling = read("type=image,unpack=true,dangling-name-prefix=none/x,danging-name-empty-only=true")
    assert (dangling.unpack, dangling.dangling_only_unnamed) == (True, True)
    assert dangling.dangling is not None
    assert dangling.dangling.familiar_name == "none/x"


def test_defaults():
    """What is not said depends on the type."""
    assert read("type=registry").push
    assert not read("type=image").push
    assert read("type=oci,dest=x", "gzip-fast").compression == "gzip-fast"
    assert read("type=docker,dest=x", "gzip").compression == "uncompressed"
    assert read("type=docker,dest=x,compression=gzip").compression == "gzip"
    assert read("type=oci,dest=x,compression-level=7", "gzip:2").compression == "gzip:7"
    assert read("type=local,dest=x").split is None
    assert read("type=tar,dest=x,platform-split=false").split is False
    assert not read("type=oci,dest=x,tar=false").as_archive
    assert [read(text).dest for text in ("type=oci", "type=tar", "type=oci,dest=x")] == ["-", "-", "x"]
    assert not read("type=local,dest=x,mode=copy").delete
    assert read("type=local,dest=x,mode=delete").delete
    assert read("type=oci,compression-level=0").compression == "gzip:0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=tarball,dest=x", "expected one of image, registry, oci, docker, tar, local, cacheonly"),
        ("type=cacheonly,dest=x", "nothing leaves the build cache"),
        ("type=cacheonly,name=x", "unknown option name"),
        ("dest=x,name=y", "the type is missing"),
        ("type=image,name=a,b", "'b' is not of the form key=value"),
        ("type=local", "dest=PATH is missing"),
        ("type=oci,tar=false", "dest=PATH is missing"),
        ("type=local,dest=x,mode=move", "mode=move: expected copy or delete"),
        ("type=image,dangling-name-prefix=X", "dangling-name-prefix=X: invalid reference"),
        ("type=image,dest=x", "not to dest"),
        ("type=local,dest=-", "cannot go to standard output"),
        ("type=oci,dest=-,tar=false", "cannot go to standard output"),
        ("type=oci,dest=x,push=true", "unknown option push"),
        ("type=tar,dest=x,compression=gzip", "unknown option compression"),
        ("type=local,dest=x,annotation.a=b", "unknown option annotation.a"),
        ("type=oci,dest=x,annotation-layer.a=b", "unknown level 'layer'"),
        ("type=oci,dest=x,annotation[nonsense/].a=b", "invalid platform"),
        ("type=image,push=yes", "push=yes: expected true or false"),
        ("type=image,compression=lz4", "unknown compression 'lz4'"),
        ("type=image,compression-level=13", "invalid compression level '13'"),
        ("type=image,name=Bad Name", "name=Bad Name"),
        (f"type=image,name=a@sha256:{'0' * 64}", "a name with a digest cannot be given"),
        ('type=image,"name=a', "--output"),
    ],
)
def test_wrong_outputs(text, message):
    """The error names the option, and where it is unknown what there is."""
    with pytest.raises(InvalidOption, match="--output") as caught:
        parse_output(text)
    assert message in caught.value.message
    if "unknown option" in message:
        kind = text.split(",")[0].removeprefix("type=")
        assert all(option in caught.value.hint for option in KNOWN[kind])


@pytest.mark.parametrize(
    "text", ["type=registry,oci-artifact=true", "type=image,compression=estargz"], ids=["artifact", "estargz"]
)
def test_what_is_not_done(text):
    """What buildx has and we have not is refused by its name."""
    with pytest.raises(Unsupported, match=r"(oci-artifact=true|compression=estargz) is not supported"):
        parse_output(text)


ARM64 = Platform.parse("linux/arm64")


@pytest.mark.parametrize(
    ("flag", "attribute", "annotation"),
    [
        ("k=v", "annotation.k", Annotation(level="manifest", key="k", value="v")),
        ("index:a.b=v", "annotation-index.a.b", Annotation(level="index", key="a.b", value="v")),
        (
            "manifest-descriptor[linux/arm64]:k=v",
            "annotation-manifest-descriptor[linux/arm64].k",
            Annotation(level="manifest-descriptor", key="k", value="v", platform=ARM64),
        ),
        (
            "manifest[linux/arm64/v8]:k=v",
            "annotation[linux/arm64].k",
            Annotation(level="manifest", key="k", value="v", platform=ARM64),
        ),
        (
            "index-descriptor[linux/arm64]:k=v",
            "annotation-index-descriptor[linux/arm64].k",
            Annotation(level="index-descriptor", key="k", value="v"),
        ),
    ],
)
def test_annotations(flag, attribute, annotation):
    """The flag and the option of an output say the same; an index has no platform."""
    assert parse_annotation(flag) == (annotation,)
    assert read(f"type=oci,dest=x,{attribute}=v").annotations == (annotation,)


def test_several_levels():
    """One flag may name several levels; the value keeps its equals signs and colons."""
    found = parse_annotation("index,manifest:org.example.url=https://a.test/?b=c")

    assert [(one.level, one.key, one.value) for one in found] == [
        ("index", "org.example.url", "https://a.test/?b=c"),
        ("manifest", "org.example.url", "https://a.test/?b=c"),
    ]


@pytest.mark.parametrize(
    "text", ["key", "=v", "index:=v", "layer:k=v", "index[:k=v", "manifest[x/y/z/q]:k=v"]
)
def test_wrong_annotations(text):
    """What cannot be understood is refused with the flag."""
    with pytest.raises(BuildError, match="--annotation"):
        parse_annotation(text)
