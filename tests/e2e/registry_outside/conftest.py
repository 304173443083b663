"""Our registry, open and guarded, and an image layout."""

import json

import bcrypt
import pytest

from oci_image.digest import Digest
from tests.e2e.registry_outside.images import INDEX, SECRET, USER, archive, write_blob
from tests.e2e.support import start_registry


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder for everything of this module."""
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="module")
def server(home):
    """Our registry, open to everybody."""
    registry = start_registry(home / "registry")
    yield registry
    registry.stop()
    registry.process.stderr.close()


@pytest.fixture(scope="module")
def guarded(home):
    """Our registry, which wants a password for everything."""
    users = home / "htpasswd"
    users.write_text(f"{USER}:{bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()}\n")
    registry = start_registry(home / "guarded", "--htpasswd", users)
    yield registry
    registry.stop()
    registry.process.stderr.close()


@pytest.fixture(scope="module")
def layout(home):
    """An image layout with an index of two platforms, as ``oci:PATH:multi``."""
    path = home / "layout"
    entries = []
    for machine in ("amd64", "arm64"):
        layer = archive(machine)
        config = {
            "architecture": machine,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                **write_blob(path, json.dumps(config).encode()),
            },
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **write_blob(path, layer)}],
        }
        entries.append(
            {
                "mediaType": manifest["mediaType"],
                "platform": {"os": "linux", "architecture": machine},
                **write_blob(path, json.dumps(manifest).encode()),
            }
        )
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    top = {
        "mediaType": INDEX,
        "annotations": {"org.opencontainers.image.ref.name": "multi"},
        **write_blob(path, json.dumps(index).encode()),
    }
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return path
