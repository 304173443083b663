"""FROM, stages, targets, base images and triggers."""

import asyncio

import pytest

from builder.errors import CannotResolve, InvalidOption
from builder.loop import drive
from builder.plan import plan
from builder.request import BuildRequest
from dockerfile_grammar.errors import DockerfileError, UndefinedStage
from dockerfile_grammar.parser import parse
from oci_image.config import History
from oci_image.platform import Platform

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")


def titles(graph):
    """How progress shows the steps, in order."""
    return [step.origin.title for step in graph.steps()]


def test_from_scratch(plans):
    """Nothing should have a PATH and a working directory, and no layer."""
    config = plans.config("FROM scratch\n")
    assert config.config.working_dir == "/"
    assert config.config.env == ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    assert (config.config.cmd, config.history, str(config.platform)) == (None, (), "linux/amd64")


def test_from_an_image_keeps_its_configuration(plans):
    """An image should be continued: its history, its members, and a PATH where it has none."""
    config = plans.config("FROM bare\n")
    assert config.config.env == ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    assert [entry.created_by for entry in config.history] == ["made bare"]
    assert plans.run_config("FROM app\n").entrypoint == ("/old",)
    assert plans.config("FROM app\n").created == "1980-01-01T00:00:00Z"


@pytest.mark.parametrize("empty", [[False], [False, True, False, False], [True], [False, False]])
def test_history_of_a_base_is_made_to_fit_its_layers(plans, empty):
    """A base whose history does not fit should be continued with one entry for each layer."""
    history = tuple(History(created_by=str(i), empty_layer=e) for i, e in enumerate(empty))
    plans.resolver.images["docker.io/library/odd:latest"] = plans.image_of("one", "two", history=history)
    entries = plans.config("FROM odd\nWORKDIR /x\n").history
    assert sum(not entry.empty_layer for entry in entries) == 3
    assert entries[-1].created_by == "WORKDIR /x"


def test_the_target_is_found_by_name_or_number(plans):
    """A target should be found whatever the case, by number, or be the last stage."""
    text = "FROM alpine AS One\nENV S=1\nFROM bare AS two\nENV S=2\nFROM bare\nENV S=3\n"
    for target, value in (("one", "1"), ("ONE", "1"), ("1", "2"), ("two", "2"), ("2", "3"), ("", "3")):
        assert plans.run_config(text, target=target).env[-1] == f"S={value}"
    assert [plans(text, target=t).targets[0].name for t in ("one", "2")] == ["one", "stage-2"]
    assert plans("FROM scratch\n").targets[0].name == ""


def test_an_unknown_target(plans):
    """A target that is not there should be an error with a suggestion."""
    with pytest.raises(UndefinedStage, match='target stage "buidl" could not be found') as caught:
        plans("FROM alpine AS build\n", target="buidl")
    assert "build" in caught.value.hint


def test_unused_stages_are_not_looked_at(plans):
    """A stage that the target does not need should not be resolved, nor its sources be looked for."""
    unused = "FROM nowhere AS unused\nCOPY nothing /\nCOPY --from=later / /\n"
    graph = plans(f"{unused}FROM alpine\nRUN x\nFROM scratch AS later\n", target="1")
    alpine = plans.resolver.images["docker.io/library/alpine:latest"].manifest.digest
    assert titles(graph) == [
        f"[stage-1 1/2] FROM docker.io/library/alpine:latest@{alpine}",
        "[stage-1 2/2] RUN x",
    ]
    assert [name for name, *_ in plans.resolver.asked] == ["alpine:latest"]


def test_stages_that_are_needed_by_the_way(plans):
    """Stages should be reached through FROM, COPY --from and mounts, over several hops."""
    text = """FROM alpine AS a
RUN a
FROM a AS b
RUN b
FROM bare AS c
COPY --from=b /b /b
FROM bare
RUN --mount=from=c,target=/c d
"""
    names = [title.rpartition("] ")[2] for title in titles(plans(text))]
    assert [name for name in names if not name.startswith("FROM")] == [
        "RUN a",
        "RUN b",
        "COPY --from=b /b /b",
        "RUN --mount=from=c,target=/c d",
    ]


def test_numbering(plans):
    """Steps should be numbered within their stage, the image included; one stage alone has no name."""
    plans.tree({"f": ""})
    text = "FROM scratch AS only\nCOPY f /\nWORKDIR /\nENV A=1\nWORKDIR /w\nRUN x\n"
    assert titles(plans(text)) == ["FROM scratch", "[1/3] COPY f /", "[2/3] WORKDIR /w", "[3/3] RUN x"]
    text = "FROM alpine AS a\nRUN x\nFROM a\nRUN y\n"
    assert titles(plans(text))[1:] == ["[a 2/2] RUN x", "[stage-1 1/1] RUN y"]


def test_equal_steps_are_one(plans):
    """Steps with the same digest should be there once, whichever stage they stand in."""
    text = "FROM alpine AS a\nRUN x\nFROM alpine AS b\nRUN x\n"
    text += "FROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n"
    kinds = [type(step.op).__name__ for step in plans(text).steps()]
    assert sorted(kinds) == ["BaseImage", "CopyFiles", "CopyFiles", "Exec", "Scratch"]
    text = "FROM alpine AS first\nRUN x\nFROM alpine\nRUN x\nCOPY --from=first / /\n"
    assert titles(plans(text))[1] == "[first 2/2] RUN x"


def test_a_stage_hides_an_image_and_the_latest_earlier_one_counts(plans):
    """A name should mean the latest earlier stage, and only then an image."""
    text = "FROM bare AS alpine\nENV S=1\nFROM scratch AS alpine\nENV S=2\nFROM alpine\nENV T=$S\n"
    assert plans.run_config(text).env[-1] == "T=2"
    assert plans.resolver.asked == []
    assert plans.run_config("FROM app AS app\nENV S=1\n").working_dir == "/srv"


def test_a_stage_starts_where_its_parent_ended(plans):
    """FROM a stage should go on from its last state, with its variables but without its CMD mark."""
    text = "FROM alpine AS a\nENV A=1\nUSER u\nWORKDIR /w\nFROM a\nRUN x\n"
    op = plans.op(text)
    assert (op.cwd, op.user) == ("/w", "u")
    assert "A=1" in op.env


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("FROM scratch\nCOPY --from=later / /\nFROM scratch AS later\n", "defined later", 2),
        ("FROM scratch AS me\nCOPY --from=me / /\n", "circular dependency detected on stage: me", 2),
        ("FROM scratch\nCOPY --from=0 / /\n", "circular dependency", 2),
        ("FROM scratch\nCOPY --from=7 / /\n", "invalid stage index 7", 2),
        ("FROM scratch AS a\nRUN --mount=from=b,target=/b x\nFROM scratch AS b\n", "defined later", 2),
    ],
)
def test_stages_take_from_earlier_ones_only(plans, text, message, line):
    """A later stage, the stage itself and numbers beyond the file should be errors at their line."""
    with pytest.raises(UndefinedStage, match=message) as caught:
        plans(text, target="0")
    assert caught.value.span.start_line == line


def test_a_base_that_is_not_there(plans):
    """An image that nobody has should be an error at its FROM, with a hint when a stage is near."""
    with pytest.raises(CannotResolve, match="nothere:latest was not found") as caught:
        plans("FROM scratch AS built\nFROM nothere\n")
    assert (caught.value.span.start_line, caught.value.hint) == (2, None)
    with pytest.raises(CannotResolve) as caught:
        plans("FROM scratch AS built\nFROM scratch\nCOPY --from=buitl / /\n")
    assert caught.value.span.start_line == 3
    assert "did you mean built?" in caught.value.hint


def test_a_base_without_a_name(plans):
    """A blank name should be an error that shows the expression."""
    with pytest.raises(InvalidOption, match=r"base name \(\$\{B\}\) should not be blank") as caught:
        plans("FROM ${B}\n")
    assert caught.value.span.start_line == 1
    with pytest.raises(CannotResolve, match="invalid reference"):
        plans("FROM not:a:name\n")


def test_images_are_resolved_together(plans):
    """Images that have to be asked for should be asked for at the same time, each once."""
    running, most = 0, 0

    class Slow(type(plans.resolver)):
        async def resolve(self, reference, platform, *, pull):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().resolve(reference, platform, pull=pull)

    plans.resolver = Slow(plans.resolver.images, remote=("alpine", "bare", "app"))
    copies = "COPY --from=a / /\nCOPY --from=b / /\nCOPY --from=app / /\n"
    plans(f"FROM alpine AS a\nFROM bare AS b\nFROM alpine\n{copies}")
    waited = [asked for asked in plans.resolver.asked if len(asked) == 3]
    assert sorted(name for name, *_ in waited) == ["alpine:latest", "app:latest", "bare:latest"]
    assert most == 3


def test_nothing_waits_when_everything_is_local(plans):
    """A plan over local images should end without an event loop."""

    def no_loop(_coroutine):
        raise AssertionError("a loop was asked for")

    dockerfile = b"FROM alpine AS a\nFROM bare\nCOPY --from=a / /\n"
    request = BuildRequest(context="", dockerfile=dockerfile)
    graph = drive(
        plan(parse(dockerfile), request, {}, plans.resolver, platform=ARM64, build_platform=ARM64), no_loop
    )
    assert len(list(graph.steps())) == 3


def test_pull_asks_the_registry(plans):
    """With --pull local images should not be looked at."""
    plans("FROM alpine\n", pull=True)
    assert plans.resolver.asked == [("alpine:latest", "linux/amd64", True)]


def test_the_first_failure_is_the_one_raised(plans):
    """When several images cannot be had, one plain error should come out."""
    plans.resolver.remote = {"docker.io/library/x:latest", "docker.io/library/y:latest"}
    with pytest.raises(CannotResolve, match=r"[xy]:latest was not found"):
        plans("FROM x AS a\nFROM y\nCOPY --from=a / /\n")


def test_platforms(plans):
    """FROM --platform should count for the stage, also where it is a variable; others have the target's."""
    plans("FROM --platform=linux/arm64 alpine\n")
    plans("FROM --platform=$BUILDPLATFORM alpine\n", platform=ARM64)
    plans("FROM alpine\n", platform=ARM64)
    assert [platform for _, platform, *_ in plans.resolver.asked] == [
        "linux/arm64",
        "linux/amd64",
        "linux/arm64",
    ]
    assert str(plans.config("FROM scratch\n", platform=ARM64).platform) == "linux/arm64"
    one, two = (plans.op("FROM scratch\nRUN x\n", platform=p) for p in (ARM64, Platform.parse("amd64")))
    assert one != two


def test_the_platform_of_a_base_in_detail(plans):
    """A build that asks for no variant and no version should keep those of the base."""
    variant = Platform(os="linux", architecture="amd64", variant="v2", os_version="7")
    plans.resolver.images[str(plans.reference("exact"))] = plans.image_of("exact", platform=variant)
    assert plans.config("FROM exact\n").platform == variant


def test_what_an_image_says_that_it_is_for(plans):
    """A platform that was asked for should be in the configuration, whatever the base is for."""
    text = "FROM --platform=$BUILDPLATFORM alpine\nCOPY <<A /\nA\n"
    assert plans.config(text, platform=ARM64, platforms=(ARM64,)).platform == ARM64
    assert plans.config(text, platform=ARM64).platform == AMD64
    exact = Platform(os="linux", architecture="arm64", variant="v9", os_version="7")
    plans.resolver.images[str(plans.reference("exact"))] = plans.image_of("exact", platform=exact)
    assert plans.config("FROM exact\n", platform=ARM64, platforms=(ARM64,)).platform == exact
    v8 = Platform(os="linux", architecture="arm64", variant="v8.1")
    made = plans.config("FROM exact\n", platform=v8, platforms=(v8,)).platform
    assert (made.variant, made.os_version) == ("v8.1", "7")


def test_images_that_are_copied_from_are_for_the_target(plans):
    """COPY --from and mounts should take an image for the target, whatever the platform of their stage."""
    text = "FROM --platform=$BUILDPLATFORM alpine\nCOPY --from=app / /o\nRUN --mount=from=bare,target=/m x\n"
    plans(text, platform=ARM64)
    asked = {name: platform for name, platform, *_ in plans.resolver.asked}
    assert asked == {
        "alpine:latest": "linux/amd64",
        "app:latest": "linux/arm64",
        "bare:latest": "linux/arm64",
    }


@pytest.mark.parametrize(
    ("flag", "message"), [("$NOTHING", "empty platform value"), ("a/b/c/d", "failed to parse platform")]
)
def test_wrong_platforms(plans, flag, message):
    """A platform that is none should be an error at its line."""
    with pytest.raises(InvalidOption, match=message) as caught:
        plans(f"FROM --platform={flag} alpine\n")
    assert caught.value.span.start_line == 1


def test_a_base_for_another_platform_is_a_warning(plans):
    """An image for another platform should be used, with a warning, and run as what it is."""
    graph = plans("FROM arm\nRUN x\n")
    (warning,) = graph.warnings
    assert warning == (
        'InvalidBaseImagePlatform: Base image arm was pulled with platform "linux/arm64",'
        ' expected "linux/amd64" for current build (line 1)'
    )
    assert str(graph.targets[0].head.op.platform) == "linux/arm64"
    assert str(graph.targets[0].config.platform) == "linux/arm64"


def test_triggers_of_an_image(plans):
    """ONBUILD of the base should run first, at the place of FROM, and not be inherited."""
    plans.tree({"f": ""})
    graph = plans("ARG A=1\nFROM trigger\nRUN own\n")
    assert titles(graph)[1:] == [
        "[2/4] ONBUILD COPY f /from-trigger",
        "[3/4] ONBUILD RUN echo triggered",
        "[4/4] RUN own",
    ]
    assert graph.targets[0].config.config.on_build == ()
    assert [step.origin.span.start_line for step in graph.steps()] == [2, 2, 2, 3]


def test_triggers_of_a_stage(plans):
    """ONBUILD of a stage of the same file should run in its children but neither in itself nor below them."""
    text = "FROM alpine AS a\nONBUILD ENV T=1\nONBUILD RUN t\nFROM a AS b\nRUN b\nFROM b\nRUN c\n"
    assert [title.rpartition("] ")[2] for title in titles(plans(text))[1:]] == [
        "ONBUILD RUN t",
        "RUN b",
        "RUN c",
    ]
    assert plans.run_config(text).env[-1] == "T=1"
    assert [type(step.op).__name__ for step in plans(text, target="a").steps()] == ["BaseImage"]
    assert plans.run_config(text, target="a").on_build == ("ENV T=1", "RUN t")
    assert plans.run_config(text).on_build == ()


def test_triggers_may_take_from_stages(plans):
    """A trigger with COPY --from should make the stage it names reachable."""
    text = "FROM bare AS lib\nRUN lib\nFROM alpine AS a\nONBUILD COPY --from=lib /l /l\nFROM a\n"
    assert [type(step.op).__name__ for step in plans(text).steps()] == [
        "BaseImage",
        "BaseImage",
        "Exec",
        "CopyFiles",
    ]


def test_a_broken_trigger_is_an_error_at_from(plans):
    """A trigger that cannot be parsed should be reported where it fires."""
    plans.resolver.images["docker.io/library/bad:latest"] = plans.image_of("x", on_build=("NONSENSE x",))
    with pytest.raises(DockerfileError, match="ONBUILD trigger of bad") as caught:
        plans("ARG X\nFROM bad\n")
    assert (caught.value.span.start_line, caught.value.span.trigger) == (2, "NONSENSE x")


def test_no_cache_marks_every_step(plans):
    """--no-cache should be on the steps, not in their digests."""
    text = "FROM alpine\nWORKDIR /x\nRUN y\n"
    marked, plain = plans(text, no_cache=True), plans(text)
    assert [step.origin.no_cache for step in marked.steps()] == [False, True, True]
    assert marked.targets[0].head == plain.targets[0].head


def test_syntax_lines_and_warnings_of_the_parser(plans):
    """`# syntax` should be accepted; what the parser warns of should be in the plan."""
    graph = plans("# syntax=docker/dockerfile:1\nFROM alpine\nRUN a \\\n\n  b\n")
    assert len(graph.warnings) == 1
    assert graph.warnings[0].startswith("NoEmptyContinuation: ")


def test_the_escape_character_counts_in_words(plans):
    """`# escape=` should also change what escapes a dollar sign."""
    config = plans.run_config("# escape=`\nFROM alpine\nENV A=1\nENV B=`$A C=\\$A\n")
    assert config.env[-2:] == ("B=$A", "C=\\1")


def test_triggers_are_read_with_a_backslash(plans):
    """A trigger is a file of its own: the escape character of the file that fires it should not count."""
    plans.resolver.images[str(plans.reference("base"))] = plans.image_of("base", on_build=("ENV T=a\\ b",))
    assert plans.run_config("# escape=`\nFROM base\n").env[-1] == "T=a\\ b"
    assert plans.run_config("FROM base\n").env[-1] == "T=a b"


def test_nothing_is_for_the_platform_of_the_build(plans):
    """FROM scratch has no platform of its own, whatever --platform says."""
    config = plans.config("FROM --platform=linux/arm64 scratch\nLABEL a=b\n")
    assert config.platform == AMD64


CASES = [("srv/x/", "/srv/x"), ("/srv/", "/srv"), ("/", "/"), ("", "")]


@pytest.mark.parametrize(("found", "expected"), CASES)
def test_the_directory_of_a_base_is_made_clean(plans, found, expected):
    """What a base has for a working directory should be an absolute path."""
    plans.resolver.images[str(plans.reference("base"))] = plans.image_of("base", working_dir=found)
    assert plans.run_config("FROM base\n").working_dir == expected
    assert plans.run_config("FROM base\nWORKDIR y\n").working_dir == f"{expected.rstrip('/')}/y"


@pytest.mark.parametrize("flag", ["--platform=", "--platform=$EMPTY"])
def test_no_platform(plans, flag):
    """An empty --platform is none; a variable without value is a mistake, with what was probably meant."""
    text = f"ARG EMPTY=\nFROM {flag} alpine\n"
    if flag.endswith("="):
        assert plans.config(text).platform == AMD64
        return
    with pytest.raises(InvalidOption, match="empty platform value from expression"):
        plans(text)
    with pytest.raises(InvalidOption) as caught:
        plans("FROM --platform=$TARGETPLATFROM alpine\n")
    assert caught.value.hint == "did you mean TARGETPLATFORM?"


def test_an_image_that_is_nearly_called_like_a_common_one(plans):
    """A mistyped image should be told together with what was probably meant."""
    with pytest.raises(CannotResolve) as caught:
        plans("FROM bussybox\n")
    assert caught.value.hint == "did you mean busybox?"


@pytest.mark.parametrize("number", ["1", "-1", "+9", "9" * 30])
def test_numbers_that_are_no_stage(plans, number):
    """A number in --from should never be taken for an image."""
    with pytest.raises(UndefinedStage, match="invalid stage index"):
        plans(f"FROM scratch AS a\nCOPY --from={number} /a /b\n")
