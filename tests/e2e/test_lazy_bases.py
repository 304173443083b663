"""A base image is downloaded when a step has to see its files, and not before."""

import json

import pytest

from tests.e2e.support import Pybuild


@pytest.fixture
def base(busybox, registry):
    """The name of a base image that lies in the registry only, and the digest of its layer in hex."""
    name = f"{registry.name}/base:1"
    busybox("tag", "busybox", name)
    busybox("push", name)
    manifest = json.loads(registry.get("/v2/base/manifests/1"))
    return name, manifest["layers"][0]["digest"].removeprefix("sha256:")


@pytest.fixture
def build(base, tmp_path):
    """Build a Dockerfile in a store that never saw the base; says whether its layer is there now."""
    fresh = Pybuild(tmp_path / "fresh")
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("content")

    def build(dockerfile, *args):
        (context / "Dockerfile").write_text(dockerfile)
        done = fresh.build(context, *args)
        build.output = done.stdout + done.stderr
        return (fresh.root / "blobs" / "sha256" / base[1]).exists()

    build.store = fresh
    return build


def test_metadata(base, build):
    """Metadata upon a remote base fetches no layer; RUN upon it does, once."""
    assert not build(f"FROM {base[0]}\nENV A=1\nLABEL b=2\n", "-t", "lazy")
    assert build(f"FROM {base[0]}\nRUN echo x > /x\n")
    assert build.store("run", "lazy", "echo", "fetched").stdout == "fetched\n"


def test_linked_copy(base, build, registry):
    """COPY --link needs nothing of the base, nor does pushing it back to where the base lies."""
    pushed = f"{registry.name}/app:1"
    assert not build(f"FROM {base[0]}\nCOPY --link file /data/\nENV A=1\n", "-t", pushed, "--push")
    layers = json.loads(registry.get("/v2/app/manifests/1"))["layers"]
    assert layers[0]["digest"] == f"sha256:{base[1]}"
    assert len(layers) == 2
    assert build.store("run", pushed, "cat", "/data/file").stdout == "content"


def test_linked_copy_for_a_named_user(base, build):
    """The number of a user whom --chown names is in the base."""
    assert not build(f"FROM {base[0]}\nCOPY --link --chown=5:6 file /data/\n", "-t", "app")
    assert build(f"FROM {base[0]}\nCOPY --link --chown=root file /data/\n", "-t", "app")


def test_cached_steps(base, build):
    """Steps that are cached do not bring back a base that was removed since."""
    dockerfile = f"FROM {base[0]}\nWORKDIR /w\nCOPY file .\nRUN cat file > copy\n"
    assert build(dockerfile, "-t", "app")
    blob = build.store.root / "blobs" / "sha256" / base[1]
    blob.unlink()
    assert not build(dockerfile, "-t", "app")
    assert build.output.count("CACHED") == 4, "FROM and the three steps"
    assert not build(dockerfile + "ENV A=1\n", "-t", "app")
    assert build.output.count("CACHED") == 4


def test_stages_that_nobody_needs(base, build):
    """A base of a stage that is not needed is not even asked for."""
    unreachable = "127.0.0.1:1/nothing:1"
    dockerfile = (
        f"FROM {unreachable} AS never\nFROM {base[0]} AS tools\nRUN true\nFROM scratch\nCOPY file /\n"
    )
    assert not build(dockerfile, "-t", "app")
    assert "nothing:1" not in build.output


def test_copy_that_is_not_linked(base, build):
    """COPY has to know what its destination is in the base: it is fetched, but not unpacked."""
    assert build(f"FROM {base[0]}\nCOPY file /bin/\n", "-t", "app")
    unpacked = build.store.root / "pybuild" / "rootfs"
    assert not unpacked.exists() or not any(unpacked.iterdir())
