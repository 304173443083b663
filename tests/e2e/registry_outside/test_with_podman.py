"""Stock podman and buildah."""

import pytest

from tests.e2e.clients import Podman, run, skopeo
from tests.e2e.registry_outside.images import SECRET, USER, V2S2, archive, assert_whole
from tests.e2e.support import need

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("outside-podman")]


@pytest.fixture(scope="module")
def podman(home):
    """podman with stores of its own."""
    folder = home / "podman"
    folder.mkdir()
    return Podman(folder)


@pytest.fixture(scope="module")
def buildah(home):
    """buildah with stores of its own."""
    program = need("buildah")
    folder = home / "buildah"
    folder.mkdir()
    policy = folder / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def call(*words, **kwargs):
        stores = ("--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs")
        words = [
            *words[:1],
            *(["--signature-policy", policy] if words[0] in ("push", "pull") else []),
            *words[1:],
        ]
        return run(program, *stores, *words, **kwargs)

    return call


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_podman_pushes_and_pulls(podman, server, home, compression):
    """In either compression; what comes back is the image that was pushed."""
    tar = home / f"podman-{compression}.tar"
    tar.write_bytes(archive(f"podman-{compression}"))
    image = podman("import", tar, f"localhost/{compression}").stdout.split()[-1]
    name = f"{server.name}/podman/{compression}:1"
    podman("push", "--tls-verify=false", "--compression-format", compression, image, name)
    layers = assert_whole(server, f"podman/{compression}", "1")["layers"]
    assert all(row["mediaType"].endswith(compression) for row in layers)
    podman("rmi", "--force", image)
    podman("pull", "--tls-verify=false", name)
    assert podman("images", "--no-trunc", "-q", name).stdout.strip().removeprefix("sha256:") in image
    podman("tag", name, f"{server.name}/podman/copy:{compression}")
    podman("push", "--tls-verify=false", f"{server.name}/podman/copy:{compression}")
    assert_whole(server, "podman/copy", compression)


def test_podman_pushes_an_index(podman, server, layout):
    """``manifest push --all``."""
    for machine in ("amd64", "arm64"):
        skopeo(
            *("copy", "--override-arch", machine, "--dest-tls-verify=false"),
            *(f"oci:{layout}:multi", f"docker://{server.name}/podman/parts:{machine}"),
        )
    podman("manifest", "create", "both")
    for machine in ("amd64", "arm64"):
        part = f"docker://{server.name}/podman/parts:{machine}"
        podman("manifest", "add", "--tls-verify=false", "both", part)
    target = f"docker://{server.name}/podman/multi:1"
    podman("manifest", "push", "--all", "--tls-verify=false", "both", target)
    pushed = assert_whole(server, "podman/multi", "1")
    assert {row["platform"]["architecture"] for row in pushed["manifests"]} == {"amd64", "arm64"}


def test_podman_logs_in(podman, guarded, home):
    """And out again."""
    tar = home / "podman-secret.tar"
    tar.write_bytes(archive("podman-secret"))
    image = podman("import", tar).stdout.split()[-1]
    name = f"{guarded.name}/podman/secret:1"
    auth = ("--authfile", home / "podman-auth.json")
    assert podman("push", "--tls-verify=false", *auth, image, name, check=False).returncode != 0
    podman("login", "--tls-verify=false", *auth, "-u", USER, "-p", SECRET, guarded.name)
    podman("push", "--tls-verify=false", *auth, image, name)
    podman("logout", *auth, guarded.name)
    assert podman("pull", "--tls-verify=false", *auth, name, check=False).returncode != 0


def test_buildah_pushes_and_pulls(buildah, server):
    """An image from scratch in both formats, and a pull of it."""
    container = buildah("from", "scratch").stdout.strip()
    for kind in ("oci", "docker"):
        image = buildah("commit", "--format", kind, container, f"made-{kind}").stdout.split()[-1]
        name = f"{server.name}/buildah/made:{kind}"
        buildah("push", "--tls-verify=false", image, f"docker://{name}")
        manifest = assert_whole(server, "buildah/made", kind)
        assert manifest["mediaType"] == V2S2 if kind == "docker" else "oci" in manifest["mediaType"]
        buildah("rmi", "--force", image)
        buildah("pull", "--tls-verify=false", f"docker://{name}")
    buildah("rm", container)


def test_buildah_logs_in(buildah, guarded, home):
    """And is refused without."""
    auth = ("--authfile", home / "buildah-auth.json")
    wrong = buildah(
        "login", "--tls-verify=false", *auth, "-u", USER, "-p", "wrong", guarded.name, check=False
    )
    assert wrong.returncode != 0
    buildah("login", "--tls-verify=false", *auth, "-u", USER, "-p", SECRET, guarded.name)
    container = buildah("from", "scratch").stdout.strip()
    image = buildah("commit", container, "guarded").stdout.split()[-1]
    target = f"docker://{guarded.name}/buildah/guarded:1"
    buildah("push", "--tls-verify=false", *auth, image, target)
    buildah("logout", *auth, guarded.name)
    assert buildah("push", "--tls-verify=false", *auth, image, target, check=False).returncode != 0
    buildah("rm", container)
