"""The use case: a Dockerfile and a directory become an image in the store."""

import asyncio
import json
import os
from dataclasses import replace

import pytest
from stand_ins import Recorder, host

from builder.build import build
from builder.caching.cache import SqliteCacheIndex
from builder.contexts.statcache import StatCache
from builder.errors import MissingSource
from builder.events import StepCached, StepDone
from builder.layersource import StoreLayers
from builder.loop import drive
from builder.request import BuildRequest
from builder.resolve import StoreResolver
from dockerfile_grammar.errors import DockerfileError
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore

DOCKERFILE = b"""\
FROM scratch AS files
COPY src /src
FROM scratch
LABEL a=b
WORKDIR /app
COPY --from=files /src .
COPY <<END /app/note
text
END
CMD ["/app/x"]
"""


@pytest.fixture
def context(tmp_path):
    root = tmp_path / "context"
    (root / "src").mkdir(parents=True)
    (root / "src" / "x").write_text("X")
    (root / "src" / "x").chmod(0o755)
    return root


@pytest.fixture
def real(tmp_path):
    """A host without sandboxes."""
    root = tmp_path / "root"
    state = str(root / "pybuild")
    blobs, tags = LayoutBlobStore(root, durable=False), LayoutTagStore(root)
    cache = SqliteCacheIndex(f"{state}/cache.db")
    layers = StoreLayers(blobs, None, state)
    yield host(
        state,
        blobs=blobs,
        tags=tags,
        layers=layers,
        cache=cache,
        resolver=StoreResolver(tags, blobs),
        stats=StatCache(f"{state}/stats"),
    )
    cache.close()
    layers.close()


def request(context, dockerfile=DOCKERFILE, **options):
    platform = Platform(os="linux", architecture="amd64")
    return BuildRequest(context=str(context), dockerfile=dockerfile, platforms=(platform,), **options)


def run(wanted, real, *sink):
    return drive(build(wanted, real, *sink), asyncio.run)


def recall(wanted, real, *sink):
    return drive(build(wanted, real, *sink), lambda _: pytest.fail("no loop is needed"))


def test_an_image_is_built_named_and_reused(real, context):
    """The second build needs no event loop, and gives the same image."""
    tag = Reference.parse("app:1")
    events = Recorder()
    first = run(request(context, tags=(tag,)), real, events)
    assert real.tags.get(str(tag)) == first.image.manifest.descriptor
    config = json.loads(first.image.config.raw)
    assert config["config"]["Cmd"] == ["/app/x"]
    assert config["config"]["WorkingDir"] == "/app"
    assert config["config"]["Labels"] == {"a": "b"}
    assert len(config["rootfs"]["diff_ids"]) == 3
    assert events.told(StepDone)
    again = Recorder()
    second = recall(request(context), real, again)
    assert second.image == first.image
    assert second.cached == second.steps == first.steps
    assert len(again.told(StepCached)) == second.steps


def test_metadata_alone_runs_no_step(real, context):
    """A changed LABEL makes another image of the same layers."""
    first = run(request(context), real)
    second = recall(request(context, DOCKERFILE.replace(b"a=b", b"a=c")), real)
    assert second.image.id != first.image.id
    assert second.image.layers == first.image.layers


def test_touching_files_changes_nothing(real, context):
    """Times are in no key."""
    first = run(request(context), real)
    os.utime(context / "src" / "x", (5, 5))
    assert recall(request(context), real).image == first.image


def test_a_file_beside_what_is_copied_changes_nothing_behind_it(real, context):
    """A stage is rebuilt; what takes the same files out of it is not."""
    run(request(context), real)
    events = Recorder()
    dockerfile = DOCKERFILE.replace(b"COPY src /src\n", b"COPY src /src\nCOPY src/x /beside\n")
    run(request(context, dockerfile), real, events)
    assert "COPY src/x /beside" in events.told(StepDone)
    assert not any(name.startswith("COPY --from") for name in events.told(StepDone))
    assert any(name.startswith("COPY --from=files") for name in events.told(StepCached))


def test_changed_content_runs_what_depends_on_it(real, context):
    """And nothing before it."""
    first = run(request(context), real)
    (context / "src" / "x").write_text("Y")
    events = Recorder()
    second = run(request(context), real, events)
    assert second.image != first.image
    assert any(name.startswith("WORKDIR") for name in events.told(StepCached))
    assert any(name.startswith("COPY --from=files") for name in events.told(StepDone))


def test_no_cache_runs_everything(real, context):
    """And the result is the same."""
    first = run(request(context), real)
    events = Recorder()
    second = run(request(context, no_cache=True), real, events)
    assert events.told(StepCached) == []
    assert second.image == first.image
    assert second.cached == 0


def test_the_same_files_elsewhere_give_the_same_image(real, context, tmp_path):
    """Neither the place of the context nor the clock is in the image."""
    first = run(request(context), real)
    other = tmp_path / "elsewhere"
    context.rename(other)
    assert run(request(other, no_cache=True), real).image == first.image


def test_errors_have_their_place(real, context):
    """A missing source and a syntax error point at their line."""
    with pytest.raises(MissingSource) as caught:
        run(request(context, b"FROM scratch\nCOPY nothing /\n"), real)
    assert caught.value.span.start_line == 2
    with pytest.raises(DockerfileError):
        run(request(context, b"FROM scratch\nNONSENSE\n"), real)


def test_a_context_is_not_needed_for_a_dockerfile_alone(real, context):
    """Without COPY from it there is nothing to open."""
    alone = replace(request(context, b"FROM scratch\nCOPY <<E /x\ny\nE\n"), context="")
    assert run(alone, real).steps == 2


def test_a_named_stage_is_the_target(real, context):
    """Only what it needs is done."""
    assert len(run(request(context, target="files"), real).image.layers) == 1
