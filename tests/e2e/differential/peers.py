"""The three builders: each loads the bases, builds contexts, and gives configuration and file tree back."""

import json
import os
import tarfile
from dataclasses import dataclass, field

from tests.e2e.clients import run
from tests.e2e.differential import trees
from tests.e2e.support import need

NETWORK = ("--network", "none")


@dataclass(frozen=True)
class Built:
    """An image as a builder made it; a failed build has only its output."""

    document: dict = field(default_factory=dict)
    tree: dict = field(default_factory=dict)
    failure: str | None = None


def read_archive(folder, cache):
    """The images of an unpacked archive of `docker save`, by name without tag."""
    images = {}
    for listed in json.loads((folder / "manifest.json").read_text()):
        layers = []
        for path in listed["Layers"]:
            real = (folder / path).resolve()
            if real not in cache:
                cache[real] = trees.read_layer(real)
            layers.append(cache[real])
        built = Built(json.loads((folder / listed["Config"]).read_text()), trees.merge(layers))
        for name in listed["RepoTags"]:
            images[name.rpartition(":")[0].rpartition("/")[2]] = built
    return images


def unpack(archive, folder):
    """Unpack an archive of images."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")


class Ours:
    """pybuild over a store."""

    name = "pybuild"

    def __init__(self, pybuild):
        self.pybuild = pybuild

    def load(self, archives):
        """Load base images."""
        for path in archives.values():
            self.pybuild("load", "--input", path)

    def build(self, name, context, args):
        """Build a context; return the output of a failure."""
        done = self.pybuild.build(context, "-t", name, *NETWORK, *args, check=False)
        return done.stderr if done.returncode else None

    def images(self, names, folder):  # noqa: ARG002 - the store needs no other folder
        """Read what was built."""
        index = json.loads((self.pybuild.root / "index.json").read_text())
        cache, images = {}, {}
        for listed in index["manifests"]:
            name = listed["annotations"]["org.opencontainers.image.ref.name"].removesuffix(":latest")
            if name in names:
                manifest = json.loads(self._blob(listed).read_text())
                for layer in manifest["layers"]:
                    if layer["digest"] not in cache:
                        cache[layer["digest"]] = trees.read_layer(self._blob(layer))
                layers = [cache[layer["digest"]] for layer in manifest["layers"]]
                images[name] = Built(
                    json.loads(self._blob(manifest["config"]).read_text()), trees.merge(layers)
                )
        return images

    def _blob(self, descriptor):
        return self.pybuild.root / "blobs" / "sha256" / descriptor["digest"].partition(":")[2]


class Docker:
    """dockerd's own BuildKit."""

    name = "docker"

    def __init__(self, docker):
        self.docker = docker

    def load(self, archives):
        """Load base images."""
        for path in archives.values():
            self.docker("load", "--input", path)

    def build(self, name, context, args):
        """Build a context; return the output of a failure."""
        env = {**os.environ, "DOCKER_BUILDKIT": "1"}
        done = self.docker(
            "build", "--progress", "plain", "-t", name, *NETWORK, *args, context, env=env, check=False
        )
        return done.stderr if done.returncode else None

    def images(self, names, folder):
        """Read what was built."""
        self.docker("save", "--output", folder / "docker.tar", *names)
        unpack(folder / "docker.tar", folder / "docker-images")
        return read_archive(folder / "docker-images", {})


class Buildah:
    """buildah with a store of its own, without its cache: one layer for a whole build."""

    name = "buildah"

    def __init__(self, folder):
        self.folder = folder
        self.buildah = need("buildah")
        need("runc")
        folder.mkdir()
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        )
        # Debian 12's crun refuses machines that mount both versions of control groups.
        (folder / "containers.conf").write_text(
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        )
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.env = {
            **os.environ,
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        }

    def __call__(self, verb, *args, check=True):
        policy = () if verb == "rm" else ("--signature-policy", self.folder / "policy.json")
        return run(self.buildah, verb, *policy, *args, env=self.env, check=check)

    def load(self, archives):
        """Load base images."""
        for path in archives.values():
            self("pull", "--quiet", f"docker-archive:{path}")

    def build(self, name, context, args):
        """Build a context; return the output of a failure."""
        done = self(
            *("build", "--format", "docker", "--layers=false", "--pull-never", "--isolation", "oci"),
            "--identity-label=false",
            *("-t", name, *NETWORK, *args, context),
            check=False,
        )
        return done.stderr if done.returncode else None

    def images(self, names, folder):
        """Read what was built."""
        cache, images = {}, {}
        for name in names:
            out = folder / "buildah-images" / name
            out.parent.mkdir(exist_ok=True)
            self("push", "--quiet", "--disable-compression", name, f"dir:{out}")
            manifest = json.loads((out / "manifest.json").read_text())
            digests = [layer["digest"].partition(":")[2] for layer in manifest["layers"]]
            for digest in digests:
                if digest not in cache:
                    cache[digest] = trees.read_layer(out / digest)
            document = json.loads((out / manifest["config"]["digest"].partition(":")[2]).read_text())
            images[name] = Built(document, trees.merge([cache[digest] for digest in digests]))
        return images

    def close(self):
        """Remove the containers that failed builds left, and the mount of the store."""
        self("rm", "--all", check=False)
        run("umount", self.folder / "root" / "overlay", check=False)
