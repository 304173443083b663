"""A planner over real directories, with a resolver that knows a few images by name."""

import os

import pytest

from builder.contexts.context import open_context
from builder.contexts.statcache import StatCache
from builder.errors import CannotResolve
from builder.loop import drive
from builder.plan import plan
from builder.request import BuildRequest
from dockerfile_grammar.parser import parse
from oci_image.config import History, ImageConfig, RunConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Manifest, author_config, author_manifest
from oci_image.image import Image
from oci_image.mediatypes import OCI_LAYER
from oci_image.platform import Platform
from oci_image.reference import Reference

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")


def image_of(*layers, platform=AMD64, history=None, **config):
    """An image with layers of the given names and this run configuration."""
    diff_ids = tuple(Digest.of(name.encode()) for name in layers)
    if history is None:
        history = tuple(History(created_by=f"made {name}") for name in layers)
    document = author_config(
        ImageConfig(platform=platform, config=RunConfig(**config), diff_ids=diff_ids, history=history)
    )
    descriptors = tuple(Descriptor(media_type=OCI_LAYER, digest=diff_id, size=10240) for diff_id in diff_ids)
    return Image(author_manifest(Manifest(config=document.descriptor, layers=descriptors)), document)


class NamedImages:
    """A resolver over a dictionary; `remote` images are found only by waiting."""

    def __init__(self, images, remote=()):
        self.images = {str(Reference.parse(name)): image for name, image in images.items()}
        self.remote = {str(Reference.parse(name)) for name in remote}
        self.asked = []

    def local(self, reference, platform):
        self.asked.append((reference.familiar, str(platform)))
        return None if str(reference) in self.remote else self.images.get(str(reference))

    async def resolve(self, reference, platform, *, pull):
        self.asked.append((reference.familiar, str(platform), pull))
        if str(reference) not in self.images:
            raise CannotResolve(f"{reference.familiar} was not found")
        return self.images[str(reference)]


def make_tree(root, files):
    """Write {path: content}: text or bytes for files, None for directories, ("->", target) for links."""
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            place.mkdir(exist_ok=True)
        elif isinstance(content, tuple):
            place.unlink(missing_ok=True)
            place.symlink_to(content[1])
        else:
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
            place.chmod(0o644)
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o755)


IMAGES = {
    "alpine": image_of("alpine", env=("PATH=/usr/bin:/bin",), cmd=("/bin/sh",)),
    "app": image_of("one", "two", entrypoint=("/old",), cmd=("old",), working_dir="/srv", user="app"),
    "bare": image_of("bare"),
    "arm": image_of("arm", platform=ARM64),
    "trigger": image_of("base", on_build=("COPY f /from-trigger", "RUN echo triggered")),
}


class Plans:
    """Plans Dockerfiles over one build context."""

    image_of = staticmethod(image_of)
    reference = staticmethod(Reference.parse)

    def __init__(self, tmp_path):
        self.root = tmp_path / "context"
        self.root.mkdir()
        self.root.chmod(0o755)
        self.stats = StatCache(str(tmp_path / "stats"))
        self.resolver = NamedImages(IMAGES)

    def tree(self, files):
        make_tree(self.root, files)

    def __call__(self, text, *, platform=AMD64, context=True, **options):
        dockerfile = text if isinstance(text, bytes) else text.encode()
        request = BuildRequest(context=str(self.root), dockerfile=dockerfile, **options)
        parsed = parse(dockerfile)
        if not context:
            return self.drive(parsed, request, {}, platform)
        with open_context(str(self.root), self.stats) as opened:
            graph = self.drive(parsed, request, {"": opened}, platform)
            opened.save()
            return graph

    def drive(self, parsed, request, contexts, platform):
        import asyncio

        work = plan(parsed, request, contexts, self.resolver, platform=platform, build_platform=AMD64)
        return drive(work, asyncio.run)

    def config(self, text, **options):
        """The configuration of the target."""
        return self(text, **options).targets[0].config

    def run_config(self, text, **options):
        """Its `config` member."""
        return self.config(text, **options).config

    def op(self, text, **options):
        """The op of the last step."""
        return self(text, **options).targets[0].head.op

    def history(self, text, **options):
        """The `created_by` texts of what the Dockerfile added."""
        return [
            entry.created_by
            for entry in self.config(text, **options).history
            if entry.comment == "buildkit.dockerfile.v0"
        ]


@pytest.fixture
def plans(tmp_path):
    return Plans(tmp_path)
