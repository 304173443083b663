"""Stock skopeo."""

import json
import subprocess

import pytest

from oci_image.digest import Digest
from tests.e2e.clients import skopeo
from tests.e2e.registry_outside.images import INDEX, SECRET, USER, V2S2, assert_whole
from tests.e2e.support import need

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("outside-skopeo")]


def test_skopeo_copies(server, layout, tmp_path):
    """In and out again, whole indexes, Docker's format, zstd: every digest as it should be."""
    source, place = f"oci:{layout}:multi", f"docker://{server.name}/skopeo"
    insecure = "--dest-tls-verify=false"
    skopeo("copy", "--all", insecure, source, f"{place}/all:1")
    pushed = server.get("/v2/skopeo/all/manifests/1")
    assert assert_whole(server, "skopeo/all", "1")["mediaType"] == INDEX
    skopeo("copy", "--all", "--src-tls-verify=false", f"{place}/all:1", f"oci:{tmp_path / 'back'}:multi")
    back = json.loads((tmp_path / "back" / "index.json").read_text())["manifests"][0]["digest"]
    assert (tmp_path / "back" / "blobs" / "sha256" / back[7:]).read_bytes() == pushed

    skopeo("copy", "--format", "v2s2", insecure, source, f"{place}/docker:1")
    assert assert_whole(server, "skopeo/docker", "1")["mediaType"] == V2S2
    skopeo("copy", "--dest-compress-format", "zstd", "--dest-compress", insecure, source, f"{place}/zstd:1")
    assert_whole(server, "skopeo/zstd", "1")
    both = ("--src-tls-verify=false", insecure)
    skopeo("copy", "--all", *both, f"{place}/all:1", f"{place}/copy:1")
    assert server.get("/v2/skopeo/copy/manifests/1") == server.get("/v2/skopeo/all/manifests/1")


def test_skopeo_asks_and_deletes(server, layout):
    """list-tags, inspect (raw and not), delete."""
    place = f"docker://{server.name}/skopeo-asks/app"
    for tag in ("1", "2"):
        skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:multi", f"{place}:{tag}")
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", place).stdout)
    assert listed["Tags"] == ["1", "2"]
    told = json.loads(skopeo("inspect", "--tls-verify=false", f"{place}:1").stdout)
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"{place}:1").stdout
    assert told["Digest"] == str(Digest.of(raw.encode()))
    skopeo("delete", "--tls-verify=false", f"{place}:1")
    assert skopeo("inspect", "--tls-verify=false", f"{place}:2", check=False).returncode != 0


def test_skopeo_syncs(server, layout, tmp_path):
    """A repository to a folder and back to another one."""
    place = f"{server.name}/skopeo-sync/app"
    for tag in ("1", "2"):
        skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:multi", f"docker://{place}:{tag}")
    skopeo("sync", "--src-tls-verify=false", "--src", "docker", "--dest", "dir", place, tmp_path)
    assert len(list(tmp_path.rglob("manifest.json"))) == 2
    target = f"{server.name}/skopeo-back"
    skopeo("sync", "--dest-tls-verify=false", "--src", "dir", "--dest", "docker", tmp_path, target)
    assert json.loads(server.get("/v2/skopeo-back/app/tags/list"))["tags"] == ["1", "2"]
    assert server.get("/v2/skopeo-back/app/manifests/1") == server.get("/v2/skopeo-sync/app/manifests/1")


def test_skopeo_logs_in(guarded, layout, tmp_path):
    """By a file of credentials."""
    auth = ("--authfile", tmp_path / "auth.json")
    target = f"docker://{guarded.name}/skopeo/app:1"
    copy = ("copy", "--dest-tls-verify=false", *auth, f"oci:{layout}:multi", target)
    assert skopeo(*copy, check=False).returncode != 0
    subprocess.run(
        [need("skopeo"), "login", "--tls-verify=false", *auth, "-u", USER, "--password-stdin", guarded.name],
        input=SECRET.encode(),
        check=True,
        capture_output=True,
    )
    skopeo(*copy)
    skopeo("logout", *auth, guarded.name)
    assert skopeo(*copy, check=False).returncode != 0
