"""What the tests of tag stores name."""

from __future__ import annotations

from dataclasses import replace

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest

APP = "docker.io/library/app:1"


LOCAL = "localhost:5000/team/app:1"


REF_NAME = "org.opencontainers.image.ref.name"


CONTAINERD_NAME = "io.containerd.image.name"


def descriptor(text: str, **members: object) -> Descriptor:
    plain = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(text.encode()), size=len(text))
    return replace(plain, **members)


ONE, TWO = descriptor("one"), descriptor("second")
