"""Platforms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.errors import InvalidPlatform
from oci_image.platform import Platform, local_platform


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/X86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("arm64", "linux/arm64"),
        ("riscv64", "linux/riscv64"),
        ("windows/amd64", "windows/amd64"),
        ("some/thing/new", "some/thing/new"),
    ],
)
def test_parse(text, normal):
    """Platforms are read as Docker reads them; what is printed is parsed to the same."""
    platform = Platform.parse(text)
    assert str(platform) == normal
    assert Platform.parse(normal) == platform


def test_operating_system_alone():
    """An operating system alone means this machine's architecture."""
    assert Platform.parse("linux") == local_platform()
    assert Platform.parse("windows").architecture == local_platform().architecture


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "lunix", "amd65", "*"]
)
def test_what_is_no_platform_is_refused(text):
    """Texts that are no platform, and single words that are a mistake, are refused."""
    with pytest.raises(InvalidPlatform, match="invalid platform"):
        Platform.parse(text)


@given(st.text(st.sampled_from("linuxamd64/vr78.-_") | st.characters(), max_size=30))
def test_any_text_is_a_platform_or_refused(text):
    """What is parsed prints as something that is parsed to the same, and serves itself."""
    try:
        platform = Platform.parse(text)
    except InvalidPlatform:
        return
    assert Platform.parse(str(platform)) == platform
    assert platform.rank(platform) == 0


@pytest.mark.parametrize(
    ("image", "wanted", "rank"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/amd64", "linux/arm64", None),
        ("linux/amd64", "windows/amd64", None),
        ("linux/arm/v6", "linux/arm/v7", 10),
        ("linux/arm/v5", "linux/arm/v7", 20),
        ("linux/arm/v7", "linux/arm/v6", None),
        ("linux/arm64", "linux/arm64/v8", 0),
        ("linux/arm64", "linux/arm64/v9", 10),
        ("linux/arm64/v8.2", "linux/arm64/v8.4", 2),
        ("linux/arm64/v9", "linux/arm64", None),
        ("linux/amd64", "linux/amd64/v3", 20),
        ("linux/amd64/v2", "linux/amd64/v3", 10),
        ("linux/amd64/v3", "linux/amd64", None),
        ("linux/ppc64le", "linux/ppc64le", 0),
        ("linux/mips/softfloat", "linux/mips", None),
    ],
)
def test_which_image_serves(image, wanted, rank):
    """A processor runs what was made for earlier variants, best what was made for its own."""
    image, wanted = Platform.parse(image), Platform.parse(wanted)
    assert image.rank(wanted) == rank
    assert image.serves(wanted) == (rank is not None)


def test_loose_documents_are_compared_too():
    """Platforms of documents, which nobody normalised, match what they mean."""
    loose = Platform.from_json({"os": "linux", "architecture": "aarch64", "variant": "v8"})
    assert loose.rank(Platform.parse("linux/arm64")) == 0
    assert Platform.from_json({"architecture": "arm"}).rank(Platform.parse("linux/arm/v7")) == 0


@given(
    st.builds(
        Platform,
        os=st.sampled_from(["linux", "windows"]),
        architecture=st.sampled_from(["amd64", "arm"]),
        variant=st.sampled_from(["", "v7"]),
        os_version=st.sampled_from(["", "10.0.17763.1"]),
    )
)
def test_json_round_trip(platform):
    """The platform object keeps everything."""
    assert Platform.from_json(platform.to_json()) == platform
