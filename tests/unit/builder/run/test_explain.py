"""Why steps run: the comparison of definitions."""

import os
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from builder.caching.cache import CacheRecord
from builder.caching.explain import Explainer
from builder.caching.listings import MOST, MOST_FILES, Listings
from builder.caching.preimages import read_preimage
from builder.graph import Origin, Step
from builder.ops import CopyFiles, Exec, MakeDir, Scratch
from oci_image.platform import Platform

BELOW = Step(Scratch(), (), Origin(name="FROM scratch"))
RUN = Exec(
    argv=("/bin/sh", "-c", "make all"),
    env=("A=1", "B=2"),
    cwd="/",
    user="",
    platform=Platform.parse("linux/amd64"),
    epoch=0,
)


def step(op, *inputs):
    """A step over others."""
    return Step(op, inputs or (BELOW,), Origin(name=type(op).__name__))


def known(bench, *steps):
    """Remember steps as built."""
    record = CacheRecord(layers=(), content=BELOW.digest, created=1.0, layer_size=0, duration=0.0)
    for one in steps:
        bench.host.cache.store([(one.digest, one.preimage)], record)
    return Explainer(bench.host)


def test_parameters(bench):
    """Each parameter that differs is named; values of variables are not."""
    explainer = known(bench, step(RUN), step(MakeDir(path="/elsewhere", epoch=0)))
    for change, reason in (
        ({"env": ("A=9", "B=2")}, "variable A has another value"),
        ({"env": ("A=1", "C=3")}, "variable C is new; variable B is gone"),
        ({"env": ("B=2", "A=1")}, "the order of the variables changed"),
        ({"argv": ("/bin/sh", "-c", "make some")}, "the command changed"),
        ({"cwd": "/src"}, "cwd was '/', is '/src'"),
        ({"user": "app"}, "user was '', is 'app'"),
        ({"epoch": 5}, "epoch was 0, is 5"),
    ):
        assert "; ".join(explainer.reasons(step(replace(RUN, **change)))) == reason


def test_nothing_alike(bench):
    """A step that looks like none before is not taken for a change of one."""
    explainer = known(bench, step(RUN))
    other = replace(RUN, argv=("/opt/tool", "--quite", "different"), env=(), cwd="/x", user="y")
    assert explainer.reasons(step(other)) == ["no such step was built before"]
    assert explainer.reasons(step(MakeDir(path="/w", epoch=0))) == ["no such step was built before"]


def test_what_it_stands_on(bench):
    """The step in front, and the ones that it takes from, by name."""
    one, two = step(MakeDir(path="/one", epoch=0)), step(MakeDir(path="/two", epoch=0))
    explainer = known(bench, step(RUN, one, one))
    assert explainer.reasons(step(RUN, two, one)) == ["MakeDir in front of it changed"]
    assert explainer.reasons(step(RUN, one, two)) == ["MakeDir, which it uses, changed"]


def test_lists_of_files_are_bounded(bench):
    """Only the latest selections are kept, and none of very many files."""
    listings = Listings(bench.host.state)
    folder = bench.context_root / "d"
    folder.mkdir()
    for number in range(MOST + 20):
        (bench.context_root / f"f{number}").write_text(str(number))
    for number in range(MOST + 20):
        source = bench.selected(f"f{number}", ())
        op = CopyFiles(sources=(source,), dest="/", epoch=0)
        listings.remember(op, {"": bench.context})
    assert len(os.listdir(os.path.join(bench.host.state, "listings"))) == MOST
    assert listings.read(str(source.digest)) is not None
    for number in range(MOST_FILES + 1):
        (folder / str(number)).touch()
    many = bench.selected("d", ())
    listings.remember(CopyFiles(sources=(many,), dest="/", epoch=0), {"": bench.context})
    assert listings.read(str(many.digest)) is None


@given(st.binary(max_size=40) | st.sampled_from([b"[1,2,3,4]", b'[1,"Exec",{},[]]', b'["x","y",[],{}]']))
def test_any_preimage_can_be_read(raw):
    """What is no preimage is none, and never an error."""
    found = read_preimage(raw)
    assert found is None or isinstance(found.text, str)
