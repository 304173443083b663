"""The parameters of a target, and the list of targets."""

import asyncio

import pytest

from builder.errors import InvalidOption
from builder.loop import drive
from builder.outline import list_targets, outline
from builder.request import BuildRequest
from dockerfile_grammar.errors import DockerfileError, UndefinedStage
from dockerfile_grammar.parser import parse
from oci_image.platform import Platform

AMD64 = Platform(os="linux", architecture="amd64")


@pytest.fixture
def outlined(plans):
    def call(text, **options):
        request = BuildRequest(context="", dockerfile=text.encode(), **options)
        work = outline(parse(text), request, plans.resolver, platform=AMD64, build_platform=AMD64)
        return drive(work, asyncio.run)

    return call


def values(result):
    return [(arg.name, arg.value, arg.span.start_line) for arg in result.args]


def test_only_what_the_target_uses(outlined):
    """Arguments of the target and its stages should be listed, with those that their defaults need."""
    text = (
        "ARG inner=box\nARG unused=1\nARG outer=busy${inner}\n"
        "FROM scratch AS other\nARG not_ours=1\n"
        "FROM $outer AS base\nARG A=1\n"
        "# final is what we want\nFROM base AS final\n# B says something\nARG B=$A\nARG C\n"
        "FROM other\n"
    )
    result = outlined(text, target="final", build_args={"A": "5"})
    assert (result.name, result.description) == ("final", "is what we want")
    assert values(result) == [
        ("inner", "box", 1),
        ("outer", "busybox", 3),
        ("A", "5", 7),
        ("B", "5", 11),
        ("C", "", 12),
    ]
    assert [arg.description for arg in result.args][-2:] == ["says something", ""]


def test_arguments_of_several_places(outlined):
    """One that is taken over from the top should be shown there, one declared twice nearest to the target."""
    text = "# V of all\nARG V=1\nFROM scratch AS a\nARG X=1\nFROM a AS b\nARG V\nARG X=2\nARG TARGETOS\n"
    result = outlined(text)
    assert values(result) == [("V", "1", 2), ("X", "2", 7)]
    assert result.args[0].description == "of all"


def test_names_on_one_line(outlined):
    """Later defaults of a line should see earlier values, and a name declared again its own older value."""
    assert values(outlined("ARG a=1 b=$a\nARG b=${b}2\nFROM scratch\nARG c=$a d=3 e=$d\nARG b\n")) == [
        ("a", "1", 1),
        ("b", "12", 2),
        ("c", "", 4),
        ("d", "3", 4),
        ("e", "3", 4),
    ]


def test_credentials(outlined):
    """Secrets and agents should be listed once, by the first RUN that asks for them."""
    text = (
        "FROM scratch AS a\nARG N=x\n"
        "RUN --mount=type=secret,id=s$N --mount=type=ssh true\n"
        "FROM scratch AS unused\nRUN --mount=type=secret,id=other true\n"
        "FROM scratch\nCOPY --from=a / /\n"
        "RUN --mount=type=secret,target=/etc/pw,required --mount=type=secret,id=pw true\n"
        "RUN --mount=type=ssh,id=k,required --mount=type=cache,target=/c true\n"
    )
    result = outlined(text)
    assert [(one.name, one.required, one.span.start_line) for one in result.secrets] == [
        ("sx", False, 3),
        ("pw", True, 8),
    ]
    assert [(one.name, one.required) for one in result.ssh] == [("default", False), ("k", True)]


def test_bases_are_not_fetched(outlined, plans):
    """An image that is elsewhere should not be asked for; one that is here brings its variables."""
    plans.resolver.remote.add("docker.io/library/alpine:latest")
    assert values(outlined("FROM nowhere\nARG A=$OTHER\n")) == [("A", "", 2)]
    assert values(outlined("FROM app\nENV B=b\nARG A=$B\n")) == [("A", "b", 3)]
    assert values(outlined("FROM alpine\nARG A=1\n")) == [("A", "1", 2)]


def test_mistakes_of_outlines(outlined):
    """A file that cannot be built should be refused with the place."""
    with pytest.raises(UndefinedStage):
        outlined("FROM scratch\n", target="none")
    with pytest.raises(DockerfileError) as caught:
        outlined("FROM scratch\nENV A=1\nARG B=${C?}\n")
    assert caught.value.span.start_line == 3
    with pytest.raises(InvalidOption):
        outlined("FROM $none\n")


def test_targets():
    """Every stage should be a target, the last one the default."""
    text = "FROM alpine AS one\nFROM --platform=$BUILDPLATFORM one\n# last is it\nFROM one AS last\n"
    targets = list_targets(parse(text))
    assert [
        (t.name, t.base, t.platform, t.description, t.is_default, t.span.start_line) for t in targets
    ] == [
        ("one", "alpine", "", "", False, 1),
        ("", "one", "$BUILDPLATFORM", "", False, 2),
        ("last", "one", "", "is it", True, 4),
    ]
