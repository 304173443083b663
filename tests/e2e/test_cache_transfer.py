"""Caches between machines: registries, directories and images, hits without downloads, and damage."""

import json
import shutil
import subprocess
import urllib.request
import uuid

import pytest

from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from oci_image.verify import check_image
from tests.e2e.clients import skopeo
from tests.e2e.support import Pybuild, free_port, make_base, need, start_registry, wait_for

pytestmark = pytest.mark.userns

# Each RUN would give something else if it ran again.
TWO_STAGES = """\
FROM {base} AS tool
COPY source /source
RUN cat /source /proc/sys/kernel/random/uuid > /tool
FROM {base}
WORKDIR /{token}
COPY --from=tool /tool .
RUN cat /proc/sys/kernel/random/uuid > random
CMD ["cat", "random"]
"""
STEPS = 6
LAYERS = 5


class Machine(Pybuild):
    """A store of its own, as a fresh job of continuous integration has it."""

    def blobs(self):
        """The digests of everything in the store."""
        folder = self.root / "blobs" / "sha256"
        return {f"sha256:{path.name}" for path in folder.iterdir()} if folder.exists() else set()

    def log(self, context, *args, **kwargs):
        """Build; gives what progress said."""
        return self.build(context, *args, **kwargs).stderr

    def check(self, name):
        """Nothing about an image is wrong, but layers may still be elsewhere."""
        blobs = LayoutBlobStore(self.root, durable=False)
        found = LayoutTagStore(self.root).get(name)
        assert check_image(blobs, found, partial=True) == []


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Our registry; every test has layers and repositories of its own in it."""
    server = start_registry(tmp_path_factory.mktemp("registry"))
    yield server
    server.stop()
    server.process.stderr.close()


@pytest.fixture(scope="module")
def base(registry, archives, tmp_path_factory):
    """The name of a base image that is in the registry only."""
    here = Pybuild(tmp_path_factory.mktemp("origin"))
    make_base("busybox", here, archives)
    name = f"{registry.name}/base:1"
    here("tag", "busybox", name)
    here("push", name)
    return name


@pytest.fixture
def token(tmp_path):
    """A word that nobody else uses."""
    return uuid.uuid4().hex


@pytest.fixture
def ref(registry, token):
    """The name of a cache in the registry."""
    return f"{registry.name}/{token}/cache:1"


@pytest.fixture
def machine(tmp_path):
    """Makes machines by name."""
    return lambda name: Machine(tmp_path / "machines" / name)


@pytest.fixture
def context(base, token, tmp_path):
    """A build context with two stages over the base."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "source").write_text(f"{token}\n")
    (folder / "Dockerfile").write_text(TWO_STAGES.format(base=base, token=token))
    return folder


def manifest_of(name):
    """A manifest of the registry."""
    registry, _, path = name.partition("/")
    request = urllib.request.Request(
        f"http://{registry}/v2/{path.replace(':', '/manifests/')}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def image_id(path):
    return path.read_text()


def test_registry(machine, context, ref, tmp_path):
    """A fresh machine finds every step in the registry, runs nothing, and downloads no layer for its ID."""
    flags = ("--cache-from", ref, "--cache-to", f"type=registry,ref={ref},mode=max")
    first = machine("a").log(context, *flags, "--iidfile", tmp_path / "a.id")
    assert f"importing cache manifest from {ref}\n#1 nothing is there yet" in first
    assert "exporting cache to registry" in first
    assert "WARN" not in first
    other = machine("b")
    second = other.log(context, "--cache-from", ref, "--iidfile", tmp_path / "b.id")
    assert f"importing cache manifest from {ref}" in second
    assert second.count("CACHED") == STEPS
    assert image_id(tmp_path / "a.id") == image_id(tmp_path / "b.id")
    layers = {layer["digest"] for layer in manifest_of(ref)["layers"]}
    assert len(layers) == LAYERS
    assert not layers & other.blobs()
    # The image can be used all the same: what it needs is fetched from where it is known to be.
    other.log(context, "--cache-from", ref, "-t", "app:1")
    assert not layers & other.blobs()
    assert len(other("run", "app:1").stdout) == 37
    other.check("docker.io/library/app:1")


def test_everything_is_known_here(machine, context):
    """Where the local results answer everything, no registry is asked."""
    here = machine("a")
    here.log(context)
    gone = f"127.0.0.1:{free_port()}/cache"
    assert "importing" not in here.log(context, "--cache-from", gone)


def test_pushing_a_hit_moves_no_layer(machine, context, ref):
    """To the registry that has them, layers are mounted; the image is the one that was built."""
    machine("a").log(context, "--cache-to", f"{ref}", "-t", f"{ref}-one", "--push")
    other, other_name = machine("b"), ref.replace("cache", "two")
    said = other.log(context, "--cache-from", ref, "-t", other_name, "--push")
    assert said.count("CACHED") == STEPS
    layers = {layer["digest"] for layer in manifest_of(other_name)["layers"]}
    assert not layers & other.blobs()
    assert manifest_of(other_name) == manifest_of(f"{ref}-one")


def test_changed_file(machine, context, ref):
    """Only what depends on the change runs; layers that it needs are fetched then."""
    machine("a").log(context, "--cache-to", f"type=registry,ref={ref},mode=max")
    dockerfile = context / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "RUN test -s random && test -s tool\n")
    said = machine("b").log(context, "--cache-from", ref)
    assert said.count("CACHED") == STEPS
    assert "fetching layers from" in said
    assert "RUN test -s random && test -s tool\n#" in said


def test_directory(machine, context, tmp_path):
    """The same by way of a directory, which may be gone after a build that gave the image a name."""
    cache = tmp_path / "cache"
    first = machine("a").log(context, "--cache-to", f"type=local,dest={cache},mode=max", "-t", "app")
    assert "exporting cache to client directory" in first
    lazy = machine("b")
    said = lazy.log(context, "--cache-from", f"type=local,src={cache}")
    assert said.count("CACHED") == STEPS
    layers = {f"sha256:{path.name}" for path in (cache / "blobs" / "sha256").iterdir()}
    assert not layers & lazy.blobs()
    named = machine("c")
    assert named.log(context, "--cache-from", f"type=local,src={cache}", "-t", "app").count("CACHED") == STEPS
    shutil.rmtree(cache)
    assert named("run", "app").stdout == machine("a")("run", "app").stdout
    named.check("docker.io/library/app:latest")


def test_inline(machine, context, ref, tmp_path):
    """A pushed image is a cache of its own layers; its ID is the same as without."""
    name = ref
    one = machine("a")
    one.log(context, "--cache-to", "type=inline", "-t", name, "--push", "--iidfile", tmp_path / "a.id")
    one.log(context, "--iidfile", tmp_path / "without.id")
    assert image_id(tmp_path / "a.id") == image_id(tmp_path / "without.id")
    said = machine("b").log(context, "--cache-from", name, "--iidfile", tmp_path / "b.id")
    assert said.count("CACHED") == STEPS
    assert image_id(tmp_path / "a.id") == image_id(tmp_path / "b.id")
    first = manifest_of(ref)
    argument = ("--build-arg", "BUILDKIT_INLINE_CACHE=1")
    again = one.log(context, *argument, "-t", f"{ref}-again", "--push")
    assert manifest_of(f"{ref}-again") == first
    assert "WARN" not in again


def test_image_without_a_cache(machine, context, base):
    """It is said that there is nothing to import, and everything is built."""
    said = machine("a").log(context, "--cache-from", base)
    assert f"the cache {base} is ignored: {base} is an image with no cache in it" in said
    assert said.count("CACHED") == 0


def test_failed_build(machine, context, ref):
    """What a failing build finished is exported; the next machine goes on from there."""
    dockerfile = context / "Dockerfile"
    good = dockerfile.read_text()
    dockerfile.write_text(good + "RUN echo no && false\n")
    flags = ("--cache-to", f"type=registry,ref={ref},mode=max")
    failed = machine("a").build(context, *flags, check=False)
    assert failed.returncode == 1
    assert "wrote cache manifest" in failed.stderr
    dockerfile.write_text(good + "RUN echo yes\n")
    assert machine("b").log(context, "--cache-from", ref).count("CACHED") == STEPS


@pytest.mark.parametrize(("kind", "damage"), [("registry", "damaged"), ("local", "removed")])
def test_lost_layers(machine, context, registry, ref, tmp_path, kind, damage):
    """Layers that turn out to be bad or gone when they are needed are made again, with a warning."""
    cache = tmp_path / "cache"
    place = {"registry": f"type=registry,ref={ref}", "local": f"type=local,dest={cache}"}[kind]
    machine("a").log(context, "--cache-to", f"{place},mode=max")
    source = place.replace("dest=", "src=")
    if kind == "registry":
        layers = [layer["digest"] for layer in manifest_of(ref)["layers"]]
    else:
        (entry,) = LayoutTagStore(cache).entries()
        manifest = json.loads((cache / "blobs" / "sha256" / entry.digest.hex).read_bytes())
        layers = [layer["digest"] for layer in manifest["layers"]]
    for digest in layers:
        root = registry.root if kind == "registry" else cache
        for path in root.rglob(digest.removeprefix("sha256:")):
            if path.is_file() and damage == "damaged":
                path.write_bytes(b"x" * path.stat().st_size)
            elif path.is_file():
                path.unlink()
    dockerfile = context / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "RUN test $(wc -l < tool) = 2 && test -s random\n")
    other = machine("b")
    said = other.log(context, "--cache-from", source, "-t", "app")
    assert "cannot be used" in said
    assert "ERROR" not in said
    assert len(other("run", "app").stdout) == 37
    other.check("docker.io/library/app:latest")


def test_unreachable(machine, context):
    """Neither a cache that cannot be read nor one that cannot be written fails a build by itself."""
    ref = f"127.0.0.1:{free_port()}/cache:1"
    here = machine("a")
    said = here.log(context, "--cache-from", ref, "--cache-to", ref)
    assert f"WARN: the cache {ref} is ignored: " in said
    assert f"WARN: cannot export the cache to {ref}: " in said
    strict = here.build(context, "--cache-to", f"type=registry,ref={ref},ignore-error=false", check=False)
    assert strict.returncode == 1
    assert f"cannot export the cache to {ref}" in strict.stderr


CACHE_MOUNT = """\
FROM {base}
COPY source /
RUN --mount=type=cache,id=pip,target=/pip,uid=7,mode=0750 \\
    ls -lan /pip; cat /pip/file; cp /source /pip/file && chown 8:9 /pip/file && ln -sf file /pip/link
"""


@pytest.mark.parametrize("kind", ["registry", "local"])
def test_cache_mounts(machine, context, base, ref, token, tmp_path, kind):
    """A mount that is not there yet begins with what the cache has, owners and links included."""
    place = {"registry": f"ref={ref}", "local": f"dest={tmp_path / 'cache'}"}[kind]
    (context / "Dockerfile").write_text(CACHE_MOUNT.format(base=base))
    machine("a").log(context, "--cache-to", f"type={kind},{place},cache-mounts=true")
    (context / "source").write_text("changed\n")
    other = machine("b")
    said = other.log(context, "--cache-from", f"type={kind},{place.replace('dest=', 'src=')}")
    assert f" {token}\n" in said
    assert "drwxr-x---    2 7        0" in said
    assert "1 8        9               33" in said
    assert "link -> file" in said
    # A mount that is there stays as it is.
    (context / "source").write_text("third\n")
    said = other.log(context, "--cache-from", f"type={kind},{place.replace('dest=', 'src=')}")
    assert " changed\n" in said


def test_secrets(machine, context, base, tmp_path):
    """No value of a secret is in a cache."""
    value = "correct-horse-battery-staple-7319"
    secret = "--mount=type=secret,id=token,env=TOKEN"
    run = f'RUN {secret} --mount=type=cache,target=/c test "$TOKEN" && touch /c/x && echo ran > /y'
    (context / "Dockerfile").write_text(f"FROM {base}\n{run}\n")
    flags = ("--secret", "id=token,env=SOME_TOKEN", "-t", "app")
    cache = tmp_path / "cache"
    to = ("--cache-to", f"type=local,dest={cache},mode=max,compression=uncompressed,cache-mounts=true")
    said = machine("a").build(context, *flags, *to, "--cache-to", "type=inline", env={"SOME_TOKEN": value})
    assert value not in said.stdout + said.stderr
    for root in (cache, machine("a").root):
        for path in root.rglob("*"):
            assert not (path.is_file() and value.encode() in path.read_bytes()), path
    assert len(list((cache / "blobs" / "sha256").iterdir())) == 4


def test_two_builds_export_to_one_directory(machine, context, tmp_path):
    """Whichever is last has the tag; what the directory names is complete."""
    cache = tmp_path / "cache"
    flags = ("--progress", "plain", "--cache-to", f"type=local,dest={cache},mode=max", context)
    processes = [machine(name).start(*flags) for name in ("a", "b", "c")]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
    said = machine("d").log(context, "--cache-from", f"type=local,src={cache}", "-t", "app")
    assert said.count("CACHED") == STEPS
    assert "WARN" not in said


@pytest.mark.clients
def test_other_registries_and_clients(machine, context, tmp_path):
    """Debian's registry takes a cache and gives it back; skopeo lists it."""
    program, port = need("docker-registry"), free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/other}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\nlog: {{level: error}}\n"
    )
    with subprocess.Popen(
        [program, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as server:
        try:
            wait_for(lambda: _answers(port), "docker-registry")
            ref = f"127.0.0.1:{port}/team/cache:main"
            machine("a").log(context, "--cache-to", f"type=registry,ref={ref},mode=max,compression=zstd")
            assert machine("b").log(context, "--cache-from", ref).count("CACHED") == STEPS
            raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{ref}").stdout
        finally:
            server.terminate()
    manifest = json.loads(raw)
    assert manifest["artifactType"] == "application/vnd.pybuild.cache.config.v1+json"
    assert all(layer["mediaType"].endswith("+zstd") for layer in manifest["layers"])


def _answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_wrong_options(pybuild, tmp_path):
    """Options are checked before anything runs."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    done = pybuild.build(tmp_path, "--cache-to", "type=gha,scope=x", check=False)
    assert done.returncode != 0
    assert "--cache-to type=gha,scope=x: caches of type=gha are not supported" in done.stderr
    into_itself = f"type=local,dest={pybuild.root},reset=true"
    done = pybuild.build(tmp_path, "--cache-to", into_itself, check=False)
    assert "is the local store" in done.stderr


def test_several_platforms(machine, registry, token, tmp_path):
    """Each image of an index carries its cache, and one import finds all of them."""
    (tmp_path / "file").write_text(token)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH/\n")
    name = f"{registry.name}/{token}/app:1"
    flags = ("--platform", "linux/amd64,linux/arm64", "--cache-to", "type=inline", "-t", name, "--push")
    machine("a").log(tmp_path, *flags)
    other = machine("b")
    said = other.log(tmp_path, *flags[:2], "--cache-from", name, "--iidfile", tmp_path / "id")
    assert said.count("CACHED") == 3, "scratch and a COPY for each platform"
    assert image_id(tmp_path / "id").startswith("sha256:")


def test_compression(machine, token, tmp_path):
    """Layers that a store made are compressed as asked; those that came compressed only if forced."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /{token}\n")

    def exported(name, origin, options):
        imports = ("--cache-from", f"type=local,src={tmp_path / origin}") if origin else ()
        export = f"type=local,dest={tmp_path / name}{options}"
        said = machine(name).log(tmp_path / "c", *imports, "--cache-to", export)
        assert said.count("CACHED") == (2 if origin else 0)
        (entry,) = LayoutTagStore(tmp_path / name).entries()
        manifest = json.loads((tmp_path / name / "blobs" / "sha256" / entry.digest.hex).read_bytes())
        return [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]]

    assert exported("plain", "", ",compression=uncompressed") == ["tar"]
    assert exported("gzip", "plain", "") == ["tar+gzip"]
    assert exported("same", "gzip", ",compression=zstd") == ["tar+gzip"]
    assert exported("zstd", "gzip", ",compression=zstd,compression-level=9,force-compression=true") == [
        "tar+zstd"
    ]
    last = machine("last")
    said = last.log(tmp_path / "c", "--cache-from", f"type=local,src={tmp_path / 'zstd'}", "-t", "app")
    assert said.count("CACHED") == 2
    last.check("docker.io/library/app:latest")


def test_garbage_collection(machine, context, ref, registry):
    """The registry keeps what caches name, and gives it out afterwards."""
    machine("a").log(context, "--cache-to", f"type=registry,ref={ref},mode=max")
    machine("a")("registry", "gc", "--root", registry.root, "--grace", "0")
    assert (
        machine("b").log(context, "--cache-from", ref, "-o", "type=tar,dest=/dev/null").count("CACHED")
        == STEPS
    )
