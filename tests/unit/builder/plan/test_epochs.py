"""SOURCE_DATE_EPOCH as a word: where the time is found."""

import asyncio

import pytest

from builder.errors import BuildError
from builder.plan import plan
from builder.request import BuildRequest
from builder.sources.remote import GitSource, UrlSource
from dockerfile_grammar.parser import parse
from oci_image.platform import Platform

AMD64 = Platform.parse("linux/amd64")
WORD = "SOURCE_DATE_EPOCH"


class Site:
    """A network whose things have times."""

    fetches = True

    def __init__(self, times):
        self.times = times
        self.fetched = []

    async def fetch(self, source):
        self.fetched.append(source)

    async def time_of(self, source):
        return self.times[source]


@pytest.fixture
def planned(plans):
    def plan_with(text, *, remotes=None, **options):
        request = BuildRequest(context="", dockerfile=text.encode(), **options)
        work = plan(
            parse(text.encode()), request, {}, plans.resolver, platform=AMD64, remotes=remotes, named={}
        )
        return asyncio.run(work)

    return plan_with


@pytest.mark.parametrize("where", ["argument", "file"])
def test_the_time_of_the_context(planned, where):
    """The word stands for the time of a remote context, wherever it is given; ARGs see the number."""
    default = f"ARG {WORD}=context\n" if where == "file" else ""
    build_args = {WORD: "context"} if where == "argument" else {}
    text = f"{default}FROM alpine\nARG {WORD}\nENV T=${WORD}\n"

    graph = planned(text, build_args=build_args, context_time=1_700_000_000)

    assert graph.epoch == 1_700_000_000
    config = graph.targets[0].config
    assert config.created == "2023-11-14T22:13:20Z"
    assert "T=1700000000" in config.config.env


@pytest.mark.parametrize("text", ["context", ""])
def test_a_context_without_a_time(planned, text):
    """A directory has no time: nothing is set, as with an empty value, which also hides a default."""
    graph = planned(f"ARG {WORD}=5\nFROM alpine\nARG {WORD}\nENV T=x${WORD}\n", build_args={WORD: text})

    assert graph.epoch is None
    assert graph.targets[0].config.created == "1980-01-01T00:00:00Z"
    assert "T=x" in graph.targets[0].config.config.env


def test_the_time_of_a_stage(planned):
    """The stage's one remote source is fetched for it, with the stage's arguments."""
    source = UrlSource(url="http://example.test/v2.tar")
    site = Site({source: 77})
    text = f"ARG {WORD}=src\nFROM scratch AS src\nARG V=1\nADD http://example.test/v$V.tar /\nFROM alpine\n"

    graph = planned(text, remotes=site, build_args={"V": "2"})

    assert (graph.epoch, site.fetched) == (77, [source])


def test_the_time_of_a_named_context(planned):
    """A remote named context has its own time, a directory none."""
    git = GitSource(url="https://example.test/x.git", ref="main")
    contexts = {"src": "https://example.test/x.git#main", "here": "/tmp"}
    site = Site({git: 88})

    assert (
        planned("FROM alpine\n", remotes=site, build_args={WORD: "src"}, build_contexts=contexts).epoch == 88
    )
    assert (
        planned("FROM alpine\n", remotes=site, build_args={WORD: "here"}, build_contexts=contexts).epoch
        is None
    )


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("FROM alpine AS src\nADD http://example.test/x /\n", "must use FROM scratch"),
        ("FROM scratch AS src\nARG A\n", "exactly one remote ADD"),
        ("FROM scratch AS src\nADD file /\n", "exactly one remote ADD"),
        ("FROM scratch AS src\nADD http://a.test/1 http://a.test/2 /\n", "exactly one remote ADD"),
        ("FROM scratch AS src\nADD http://a.test/1 /\nRUN x\n", "ARG and ADD only"),
        ("FROM scratch AS other\n", "invalid SOURCE_DATE_EPOCH: src"),
    ],
)
def test_stages_without_one_time(planned, stage, message):
    """What is no stage of a single remote source is an error that says so."""
    with pytest.raises(BuildError, match=message):
        planned(f"{stage}FROM alpine\n", remotes=Site({}), build_args={WORD: "src"})
