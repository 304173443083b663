"""A registry whose content is in a bucket, from the command line."""

import re
import urllib.request

import pytest

from tests.contract.s3 import create_bucket, s3_service
from tests.e2e.support import start_registry

ROOT = "s3://images/team"


@pytest.fixture
def state(tmp_path, monkeypatch):
    """Chooses where the state of the next commands is."""
    with s3_service() as service:
        create_bucket(service, "images")
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "hidden"),
            ("PYBUILD_REGISTRY_BUCKET_ENDPOINT", service),
            ("PYBUILD_REGISTRY_BUCKET_REGION", "us-east-1"),
        ):
            monkeypatch.setenv(name, value)
        yield lambda name: monkeypatch.setenv("PYBUILD_REGISTRY_STORAGE_STATE", str(tmp_path / name))


def test_an_image_rests_in_a_bucket(busybox, state):
    """It is pushed, pulled by a server that knows nothing but the bucket, looked after and removed."""
    state("one")
    server = start_registry(ROOT, "--access-log")
    try:
        busybox("tag", "busybox", f"{server.name}/app:1")
        busybox("push", f"{server.name}/app:1")
        assert "manifests: 1" in busybox("registry", "status", "--root", ROOT).stdout
        with urllib.request.urlopen(f"http://{server.name}/", timeout=20) as answer:
            page = answer.read().decode()
        assert re.search(
            r"Repositories hold \S+ .B in 1 tag, 1 manifest, \d+ blobs in s3://images/team,", page
        )
        assert "<meter" not in page
    finally:
        server.stop()
        said = server.process.stderr.read()
        server.process.stderr.close()
    assert b"PUT /v2/app/manifests/1 201" in said
    assert b"hidden" not in said

    state("two")
    server = start_registry(ROOT)
    try:
        busybox("pull", f"{server.name}/app:1")
    finally:
        server.stop()
        server.process.stderr.close()
    assert "0 findings" in busybox("registry", "fsck", "--root", ROOT).stderr
    assert "0 damaged" in busybox("registry", "scrub", "--root", ROOT).stderr
    busybox("registry", "rm", "--root", ROOT, "app")
    assert "repositories: 0" in busybox("registry", "status", "--root", ROOT).stdout
