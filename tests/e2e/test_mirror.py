"""A mirror as clients meet it: dockerd, containerd, podman, skopeo and our own, before real registries."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.e2e.clients import Docker, Podman, run, skopeo
from tests.e2e.support import ROOT, Pybuild, Server, free_port, need, start_registry, wait_for

IMAGE = "library/busybox:1"


def start_theirs(folder):
    """Debian's docker-registry."""
    program, port = need("docker-registry"), free_port()
    folder.mkdir()
    settings = folder / "config.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", settings], stdout=log, stderr=log)
    wait_for(lambda: answers(port), "docker-registry answers")
    return Server(process, port, folder)


def answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def upstream(request, busybox, tmp_path):
    """A registry with an image, where Docker Hub would be."""
    start = start_theirs if getattr(request, "param", "ours") == "docker-registry" else start_registry
    server = start(tmp_path / "upstream")
    busybox("tag", "busybox", f"{server.name}/{IMAGE}")
    busybox("push", f"{server.name}/{IMAGE}")
    yield server
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
    if server.process.stderr is not None:
        server.process.stderr.close()


class Mirror:
    """A mirror of `docker.io` in a process of its own."""

    def __init__(self, folder, upstream):
        self.folder = folder
        self.config = folder / "mirror.toml"
        self.config.write_text(
            f'[storage]\nroot = "{folder}/mirror"\n[log]\naccess = "text"\n'
            f'[[mirror]]\nprefix = "docker.io"\nupstream = "http://{upstream.name}"\ndefault = true\n'
            "tag_ttl = 0\ntimeout = 5\n"
        )
        self.start()

    def start(self):
        self.port = free_port()
        self.log = (self.folder / "mirror.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "builder", "registry", "--config", self.config),
                *("--listen", f"127.0.0.1:{self.port}"),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=self.log,
        )
        wait_for(lambda: answers(self.port), "the mirror answers")

    @property
    def name(self):
        return f"127.0.0.1:{self.port}"

    def lines(self):
        return (self.folder / "mirror.log").read_text()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.log.close()


@pytest.fixture
def mirror(tmp_path, upstream):
    server = Mirror(tmp_path, upstream)
    yield server
    server.stop()


def end(server):
    """The upstream is gone."""
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(30)


@pytest.mark.clients
def test_pull_through_the_prefix(busybox, mirror, upstream, tmp_path):
    """Our own client pulls from the upstream, skopeo when that is gone and the mirror was restarted."""
    name = f"{mirror.name}/docker.io/busybox:1"
    fresh = Pybuild(tmp_path / "fresh")
    fresh("pull", name)
    assert fresh.image(name)["Id"] == busybox.image("busybox")["Id"]

    end(upstream)
    mirror.stop()
    mirror.start()
    skopeo(
        *("copy", "--src-tls-verify=false", f"docker://{mirror.name}/docker.io/{IMAGE}"),
        f"oci:{tmp_path / 'layout'}:x",
    )
    with urllib.request.urlopen(
        f"http://{mirror.name}/v2/docker.io/library/busybox/manifests/1", timeout=30
    ) as answer:
        assert answer.headers.get_all("Warning")[0] == '110 - "Response is Stale"'
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"http://{mirror.name}/v2/docker.io/library/other/manifests/1", timeout=30)


@pytest.mark.clients
def test_skopeo_through_the_prefix(mirror, tmp_path):
    """Tags, an inspection and a copy; a push is refused with a reason."""
    name = f"docker://{mirror.name}/docker.io/library/busybox"
    assert json.loads(skopeo("list-tags", "--tls-verify=false", name).stdout)["Tags"] == ["1"]
    assert json.loads(skopeo("inspect", "--tls-verify=false", f"{name}:1").stdout)["Os"] == "linux"
    skopeo("copy", "--src-tls-verify=false", f"{name}:1", f"oci:{tmp_path / 'layout'}:x")
    refused = skopeo(
        *("copy", "--dest-tls-verify=false", f"oci:{tmp_path / 'layout'}:x", f"{name}:mine"), check=False
    )
    assert refused.returncode != 0
    assert "mirrored from" in refused.stderr


@pytest.mark.clients
@pytest.mark.parametrize("upstream", ["docker-registry"], indirect=True)
def test_podman_with_a_mirror(mirror, upstream, tmp_path):
    """registries.conf leads from docker.io to the prefix; the second pull needs no upstream."""
    conf = tmp_path / "registries.conf"
    conf.write_text(
        '[[registry]]\nlocation = "docker.io"\n'
        f'[[registry.mirror]]\nlocation = "{mirror.name}/docker.io"\ninsecure = true\n'
    )
    (tmp_path / "podman").mkdir()
    podman = Podman(tmp_path / "podman")
    podman.env["CONTAINERS_REGISTRIES_CONF"] = str(conf)
    try:
        for _ in range(2):
            podman("pull", "--quiet", "docker.io/library/busybox:1")
            podman("rmi", "--force", "docker.io/library/busybox:1")
            end(upstream)
    finally:
        shutil.rmtree(podman.run, ignore_errors=True)
    assert "/v2/docker.io/library/busybox/manifests/1" in mirror.lines()


@pytest.mark.clients
@pytest.mark.parametrize("upstream", ["docker-registry"], indirect=True)
@pytest.mark.usefixtures("as_root")
def test_dockerd_with_a_registry_mirror(mirror, upstream, tmp_path):
    """dockerd asks for names of Docker Hub without a hint; nothing else can answer here."""
    folder = tmp_path / "docker"
    folder.mkdir()
    docker = Docker(folder, f"--registry-mirror=http://{mirror.name}").start()
    try:
        for _ in range(2):
            docker("pull", "busybox:1")
            assert (
                docker("image", "inspect", "--format", "{{.RepoTags}}", "busybox:1").stdout.strip()
                == "[busybox:1]"
            )
            docker("rmi", "busybox:1")
            end(upstream)
    finally:
        docker.stop()
    assert " /v2/library/busybox/" in mirror.lines()


@pytest.mark.clients
@pytest.mark.usefixtures("as_root")
def test_containerd_with_hosts(mirror, upstream, tmp_path):
    """containerd says ns=docker.io, which leads to the mirror; the second fetch needs no upstream."""
    containerd, ctr = need("containerd", "ctr")
    hosts = tmp_path / "certs.d" / "docker.io"
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(
        f'[host."http://{mirror.name}"]\n  capabilities = ["pull", "resolve"]\n'
    )
    socket = tmp_path / "c.sock"
    (tmp_path / "config.toml").write_text(
        f'version = 2\nroot = "{tmp_path}/c-root"\nstate = "{tmp_path}/c-state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\n  address = "{socket}"\n'
    )
    with (tmp_path / "containerd.log").open("wb") as log:
        process = subprocess.Popen([containerd, "-c", tmp_path / "config.toml"], stdout=log, stderr=log)
    try:
        wait_for(lambda: run(ctr, "-a", socket, "version", check=False).returncode == 0, "containerd answers")
        for namespace in ("one", "two"):
            run(
                *(ctr, "-a", socket, "-n", namespace, "content", "fetch"),
                *("--hosts-dir", tmp_path / "certs.d", f"docker.io/{IMAGE}"),
            )
            end(upstream)
    finally:
        process.terminate()
        process.wait(30)
    assert " /v2/library/busybox/manifests/" in mirror.lines()


def test_settings_of_mirrors_are_verified(tmp_path):
    """Also whether passwords and certificates are where the settings say; nobody is asked."""
    config = tmp_path / "mirror.toml"
    config.write_text('[[mirror]]\nprefix = "docker.io"\nusername = "ann"\npassword_file = "hub"\n')
    command = [sys.executable, "-m", "builder", "registry", "--config", str(config), "--verify"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    failed = run(*command, check=False, env=env)
    assert failed.returncode != 0
    assert "the mirror docker.io: cannot read" in failed.stderr
    (tmp_path / "hub").write_text("secret\n")
    assert run(*command, env=env).stdout.strip() == f"{config}: ok"
