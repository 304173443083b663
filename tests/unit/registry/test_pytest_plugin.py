"""The plugin for pytest: found by its entry point, free when nobody asks, and of use to real clients."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from registry.errors import InvalidConfiguration, RegistryError
from registry.server.embedded import Registry
from registry.testing import make_registry

pytest_plugins = "pytester"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def installed(pytester, monkeypatch):
    """A run of pytest in a process that finds the plugin as an installed one is found."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    place = pytester.mkdir("site") / "pybuild-0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: pybuild\nVersion: 0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (place / "entry_points.txt").write_text(f"[pytest11]\n{lines}")
    monkeypatch.setenv("PYTHONPATH", f"{place.parent}:{ROOT}")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    def run(source, *options):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", *options)

    return run


def test_registries_for_a_test_and_for_a_run(installed):
    """Each test has an empty one, and all tests together have one."""
    result = installed(
        """
        import urllib.request

        def names(registry):
            return urllib.request.urlopen(registry.url + "/v2/_catalog").read()

        seen = []

        def test_first(pybuild_registry, pybuild_registry_session):
            assert b"[]" in names(pybuild_registry)
            assert pybuild_registry.host != pybuild_registry_session.host
            seen.append((pybuild_registry.host, pybuild_registry_session.host))

        def test_second(pybuild_registry, pybuild_registry_session):
            assert pybuild_registry_session.host == seen[0][1]
            assert b"[]" in names(pybuild_registry)

        def test_on_disk(pybuild_registry_factory, tmp_path):
            registry = pybuild_registry_factory(root=str(tmp_path / "root"), read_only=True)
            assert b"[]" in names(registry)
            assert (tmp_path / "root" / "repositories").is_dir()
        """
    )
    result.assert_outcomes(passed=3)


def test_a_run_that_wants_no_registry_loads_nothing(installed):
    """The plugin is there, and neither the server nor its libraries are."""
    result = installed(
        """
        import sys

        def test_nothing(pytestconfig):
            assert pytestconfig.pluginmanager.hasplugin("pybuild")
            loaded = {"aiohttp", "cryptography", "bcrypt", "registry.server.embedded", "registry.testing"}
            assert not loaded & set(sys.modules)
        """,
        "-p",
        "no:aiohttp",
        "-p",
        "no:asyncio",
    )
    result.assert_outcomes(passed=1)


def test_the_plugin_can_be_left_out(installed):
    """`-p no:pybuild` is the way, and then the fixtures are unknown."""
    result = installed("def test_it(pybuild_registry): pass", "-p", "no:pybuild")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'pybuild_registry' not found*"])


def test_a_factory_with_users(installed):
    """Without a password nothing may be pushed."""
    result = installed(
        """
        import base64
        import urllib.error
        import urllib.request
        import pytest

        def test_it(pybuild_registry_factory):
            registry = pybuild_registry_factory(users={"ann": "secret"})
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(registry.url + "/v2/")
            with caught.value as answer:
                assert answer.code == 401
            known = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
            asked = urllib.request.Request(registry.url + "/v2/", headers=known)
            assert urllib.request.urlopen(asked).status == 200
        """
    )
    result.assert_outcomes(passed=1)


def make_layout(path):
    """An image of one layer as an OCI image layout."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    layer = bytes(10240)
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    kind = "application/vnd.oci.image."
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": add(json.dumps(config).encode(), f"{kind}config.v1+json"),
        "layers": [add(layer, f"{kind}layer.v1.tar")],
    }
    entry = add(json.dumps(manifest).encode(), f"{kind}manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return entry["digest"]


@pytest.mark.clients
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize(
    "settings", [{}, {"root": True}, {"users": {"ann": "pw"}}, {"users": {"ann": "pw"}, "tls": True}]
)
def test_skopeo_pushes_and_pulls(tmp_path, settings):
    """What is pushed to such a registry is what is pulled from it."""
    digest = make_layout(tmp_path / "layout")
    if "root" in settings:
        settings = {"root": str(tmp_path / "root")}
    registry = make_registry(str(tmp_path), **settings)
    with registry as url:
        trust = ["{}-tls-verify=false"]
        if url.startswith("https"):
            (tmp_path / "trusted").mkdir()
            shutil.copy(registry.certificate, tmp_path / "trusted" / "ca.crt")
            trust = [f"{{}}-cert-dir={tmp_path}/trusted"]
        if "users" in settings:
            trust.append("{}-creds=ann:pw")
        there = f"docker://{registry.host}/app:1"
        policy = ["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests"]
        sent = [*policy, *(word.format("--dest") for word in trust), f"oci:{tmp_path}/layout:1", there]
        back = [*policy, *(word.format("--src") for word in trust), there, f"oci:{tmp_path}/back:1"]
        for command in (sent, back):
            subprocess.run(command, check=True, timeout=60)
    index = json.loads((tmp_path / "back" / "index.json").read_text())
    assert [item["digest"] for item in index["manifests"]] == [digest]


def test_a_registry_starts_within_a_tenth_of_a_second():
    """Measured where its modules are loaded, to the first answer of a real socket."""
    program = """
import http.client, time
from registry.server.embedded import Registry
times = []
for _ in range(5):
    started = time.perf_counter()
    with Registry() as url:
        connection = http.client.HTTPConnection(url.partition("//")[2])
        connection.request("GET", "/v2/")
        assert connection.getresponse().status == 200
        times.append(time.perf_counter() - started)
        connection.close()
print(min(times))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert float(done.stdout) <= 0.1


async def test_the_asynchronous_form():
    """It serves, and the loop of the caller goes on meanwhile."""
    async with Registry() as url:
        assert url.startswith("http://127.0.0.1:")
        started = time.monotonic()
    assert time.monotonic() - started < 5


def test_one_registry_serves_one_block():
    """A second one is refused with what to do."""
    registry = Registry()
    with registry:
        pass
    with pytest.raises(RegistryError, match="started before"), registry:
        pass


def test_anonymous_pull_without_users(tmp_path):
    """It would mean nothing."""
    with pytest.raises(InvalidConfiguration, match="needs users"):
        make_registry(str(tmp_path), anonymous_pull=True)
