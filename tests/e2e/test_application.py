"""A real application: built, cached, pushed, pulled and run by stock clients, and built upon."""

import json
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.clients import Docker, Podman, run, skopeo, umoci
from tests.e2e.support import ROOT, Pybuild, free_port, make_base, missing, start_registry, wait_for

pytestmark = [
    pytest.mark.userns,
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.usefixtures("as_root"),
    pytest.mark.xdist_group("application"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder for everything of this module."""
    return tmp_path_factory.mktemp("application")


@pytest.fixture(scope="module")
def context(home):
    """The example application with its wheels."""
    folder = home / "flask-app"
    shutil.copytree(ROOT / "examples" / "flask-app", folder, ignore=shutil.ignore_patterns("wheelhouse"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder / "wheelhouse"),
            *("--only-binary=:all:", "--python-version", "3.11", "-r", folder / "requirements.txt"),
        ],
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def server(home):
    """Our registry."""
    registry = start_registry(home / "registry")
    yield registry
    registry.stop()
    registry.process.stderr.close()


@pytest.fixture(scope="module")
def builder(home, archives):
    """The command line over a store with the debian base."""
    pybuild = Pybuild(home / "store")
    make_base("debian", pybuild, archives)
    return pybuild


@pytest.fixture(scope="module")
def application(builder, context, server):
    """The application's name in the registry, built and pushed."""
    name = f"{server.name}/team/flask-app:1"
    done = builder.build(context, "-t", name, "--push")
    assert "exit 1" not in done.stderr, "the unused stage was built"
    return name


@pytest.fixture(scope="module")
def docker(home):
    """A real dockerd."""
    folder = home / "docker"
    folder.mkdir()
    client = Docker(folder).start()
    yield client
    client.stop()


@pytest.fixture(scope="module")
def podman(home):
    """A real podman."""
    folder = home / "podman"
    folder.mkdir()
    return Podman(folder)


def answers(port):
    """What the application says on a port of the host."""

    def ready():
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except OSError:
            return False
        return True

    wait_for(ready, f"an answer on port {port}", 60)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        return answer.read().decode()


def test_cached(builder, application, context):
    """A second build is all hits; an edited source file reruns only what follows it."""
    again = builder.build(context, "-t", application)
    steps = [line for line in again.stderr.splitlines() if line.startswith("#") and "] " in line]
    assert len(steps) == again.stderr.count("CACHED") >= 9

    source = context / "app" / "main.py"
    original = source.read_text()
    source.write_text(original.replace("Hello", "Good morning"))
    try:
        edited = builder.build(context, "-t", "edited")
    finally:
        source.write_text(original)
    blocks = edited.stderr.split("\n\n")
    rerun = [block.splitlines()[0] for block in blocks if block.startswith("#") and "CACHED" not in block]
    assert [title for title in rerun if "] " in title] == [
        title for title in rerun if "COPY app/" in title or "RUN useradd" in title
    ]
    assert len(rerun) == 2


def test_docker_runs_it(application, docker):
    """A stock dockerd pulls it, runs it as its user, and it answers."""
    port = free_port()
    docker("pull", application)
    identity = docker(
        "run", "-d", "--network", "host", "-e", f"PORT={port}", "--name", "app", application
    ).stdout.strip()
    try:
        assert answers(port) == "Hello from pybuild, uid 1000\n"
    finally:
        docker("rm", "-f", identity)


def test_podman_runs_it(application, podman):
    """podman pulls it and runs it, and it answers."""
    port = free_port()
    podman("pull", "--tls-verify=false", application)
    podman(
        *("run", "-d", "--network", "host", "--ulimit", "host", "-e", f"PORT={port}", "--name", "app"),
        application,
    )
    try:
        assert answers(port) == "Hello from pybuild, uid 1000\n"
    finally:
        podman("rm", "-f", "-t", "0", "app")


def test_we_run_it(builder, application):
    """pybuild run serves it as well, and ends when told to."""
    port = free_port()
    process = builder.start("run", "--rm", "--network", "host", "-e", f"PORT={port}", application)
    try:
        assert answers(port) == "Hello from pybuild, uid 1000\n"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_image_of_docker(builder, docker, server, application, tmp_path):
    """What a real docker pushes, we pull, and build upon."""
    ours = f"127.0.0.1:{server.port}/from-docker/app:2"
    docker("tag", application, ours) if docker("images", "-q", application).stdout else docker(
        "pull", application
    )
    docker("tag", application, ours)
    docker("push", ours)

    fresh = Pybuild(tmp_path / "fresh")
    fresh("pull", ours)
    assert fresh.image(ours)["Config"]["ExposedPorts"] == {"8080/tcp": {}}
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "Dockerfile").write_text(f"FROM {ours}\nUSER root\nRUN id -un > /who\n")
    fresh.build(tmp_path / "c", "-t", "upon")
    assert fresh("run", "upon", "cat", "/who").stdout == "root\n"
    # docker push compressed the layers anew: the registry has its manifest, byte for byte.
    manifest = json.loads(server.get("/v2/from-docker/app/manifests/2"))
    assert manifest["mediaType"].startswith("application/vnd.docker.distribution.manifest.v2")


def test_docker_load(builder, docker, application, tmp_path):
    """docker load takes our archive and keeps the image ID; its own archive loads here."""
    builder("save", "-o", tmp_path / "app.tar", application)
    docker("load", "-i", tmp_path / "app.tar")
    told = json.loads(docker("inspect", application).stdout)[0]
    assert told["Id"] == builder.image(application)["Id"]

    docker("save", "-o", tmp_path / "back.tar", application)
    fresh = Pybuild(tmp_path / "fresh")
    fresh("load", "-i", tmp_path / "back.tar")
    assert fresh.image(application)["Id"] == told["Id"]


def test_outputs(builder, application, context, docker, tmp_path):
    """Every kind of output is accepted by the tool that it is for."""
    builder.build(
        context,
        *("-o", f"type=oci,dest={tmp_path / 'oci.tar'}"),
        *("-o", f"type=docker,dest={tmp_path / 'docker.tar'}"),
        *("-o", f"type=tar,dest={tmp_path / 'rootfs.tar'}"),
        *("-o", f"type=local,dest={tmp_path / 'rootfs'}"),
        *("-t", application),
    )

    skopeo("inspect", f"oci-archive:{tmp_path / 'oci.tar'}")
    assert application in docker("load", "-i", tmp_path / "docker.tar").stdout
    skopeo("copy", f"docker-archive:{tmp_path / 'docker.tar'}", f"oci:{tmp_path / 'layout'}:x")
    umoci("unpack", "--image", f"{tmp_path / 'layout'}:x", tmp_path / "bundle")
    trees = (tmp_path / "bundle" / "rootfs" / "srv", tmp_path / "rootfs" / "srv")
    assert run("diff", "-r", "--no-dereference", *trees).stdout == ""
    names = run("tar", "-tf", tmp_path / "rootfs.tar").stdout.split()
    assert "srv/main.py" in {name.removeprefix("./") for name in names}


def pythons():
    """Interpreters of other versions than this one, newest last."""
    found = {}
    places = [*Path("/usr/bin").glob("python3.1?"), *Path("/usr/local/bin").glob("python3.1?")]
    places += [*(Path.home() / ".pyenv" / "versions").glob("3.1[1-9].*/bin/python3")]
    for place in places:
        told = run(place, "-c", "import sys; print(*sys.version_info[:2])", check=False).stdout.split()
        if len(told) == 2 and (3, 11) <= (int(told[0]), int(told[1])) != sys.version_info[:2]:
            found[int(told[1])] = str(place)
    return [found[minor] for minor in sorted(found)]


def test_two_pythons_give_the_same(application, builder, context, archives, server, home):
    """A fresh store on another version of Python gives the same image ID and the same pushed digest."""
    others = pythons()
    if not others:
        missing("pythons", "there is no second version of Python")
    place = home / "other-python"
    run(others[-1], "-m", "venv", place)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run(place / "bin" / "pip", "install", "--quiet", *project["dependencies"])
    other = Pybuild(home / "other-store", python=str(place / "bin" / "python"))
    make_base("debian", other, archives)
    name = f"{server.name}/other/flask-app:1"
    done = other.build(context, "-t", name, "--push", "--no-cache")

    assert done.stdout.strip() == builder.image(application)["Id"]
    assert server.get("/v2/other/flask-app/manifests/1") == server.get("/v2/team/flask-app/manifests/1")
