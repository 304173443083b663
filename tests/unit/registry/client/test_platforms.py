"""Which manifest of an index serves a platform."""

import pytest

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index
from oci_image.errors import NotFound
from oci_image.platform import Platform
from registry.client.platforms import choose


def entry(name: str | None) -> Descriptor:
    platform = None if name is None else Platform.parse(name)
    if name == "unknown/unknown":
        platform = Platform(os="unknown", architecture="unknown")
    return Descriptor(
        media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(str(name).encode()), size=2, platform=platform
    )


@pytest.mark.parametrize(
    ("available", "wanted", "chosen"),
    [
        (["linux/amd64", "linux/arm64"], "linux/arm64", "linux/arm64"),
        (["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v6", "linux/arm/v6"),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", "linux/arm/v6"),
        (["linux/amd64", None], "linux/s390x", None),
        ([None], "linux/amd64", None),
        (["windows/amd64", "linux/amd64"], "linux/amd64", "linux/amd64"),
    ],
)
def test_best_entry_is_chosen(available, wanted, chosen):
    """Exact, then nearest variant, then an entry that names no platform."""
    index = Index(manifests=tuple(entry(name) for name in available))
    assert choose(index, Platform.parse(wanted), "r/a:1") == entry(chosen)


def test_missing_platform_lists_what_there_is():
    """The message helps to choose, and does not offer attestations."""
    index = Index(manifests=tuple(entry(n) for n in ("linux/amd64", "unknown/unknown", "linux/arm/v7")))
    with pytest.raises(NotFound, match=r"no image for linux/s390x; it has linux/amd64, linux/arm/v7$"):
        choose(index, Platform.parse("linux/s390x"), "r/a:1")


def test_attestations_are_never_chosen():
    """An index of attestations only has no image."""
    with pytest.raises(NotFound, match="it has no images"):
        choose(Index(manifests=(entry("unknown/unknown"),)), Platform.parse("linux/amd64"), "r/a:1")
