"""Every build check, what switches it off, and which stages are looked at."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.checks import check, check_options
from builder.contexts.context import open_context
from builder.contexts.statcache import StatCache
from builder.errors import BuildError, CannotResolve, ChecksFailed
from builder.loop import drive
from builder.request import BuildRequest
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.parser import parse
from oci_image.platform import Platform

CASES_FOLDER = Path(__file__).resolve().parents[4] / "testdata" / "dockerfiles"
CASE_FILES = tuple(CASES_FOLDER.glob("*/Dockerfile"))
AMD64 = Platform(os="linux", architecture="amd64")


@pytest.fixture
def checked(plans, tmp_path):
    """Check a Dockerfile; the result has findings and the problem."""

    def call(text, *, ignore=None, **options):
        if ignore is not None:
            (plans.root / ".dockerignore").write_text(ignore)
        request = BuildRequest(context=str(plans.root), dockerfile=text.encode(), **options)
        with open_context(str(plans.root), StatCache(str(tmp_path / "stats2"))) as context:
            work = check(
                parse(text),
                request,
                {"": context},
                plans.resolver,
                platform=AMD64,
                build_platform=AMD64,
            )
            return drive(work, asyncio.run)

    return call


@pytest.fixture
def found(checked):
    """The names and lines of what is found, for files without mistakes."""

    def call(text, **options):
        result = checked(text, **options)
        assert result.problem is None
        return [(finding.rule.name, finding.span.start_line) for finding in result.findings]

    return call


LEGACY = '"ENV key=value" should be used instead of legacy "ENV key value" format'


def details(result):
    return [finding.detail for finding in result.findings]


CASES = {
    "UndefinedArgInFrom": [
        ("FROM alpine$x\n", [1]),
        ("ARG x\nFROM alpine$x\n", []),
        ("FROM --platform=$BUILDPLATFORM alpine\n", []),
        ("FROM alpine${x:-}\n", [1]),
        ("# check=skip=UndefinedArgInFrom\nFROM alpine$x\n", []),
        ("ARG a\n# check=skip=all\nFROM alpine$x\nFROM alpine$x\n", [4]),
    ],
    "WorkdirRelativePath": [
        ("FROM scratch\nWORKDIR app/\nWORKDIR sub\n", [2]),
        ("FROM scratch\nWORKDIR /app\nWORKDIR sub\n", []),
        ("FROM app\nWORKDIR sub\n", [2]),
        ("FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR sub\n", []),
        ("FROM scratch AS a\nWORKDIR app\nFROM a\nWORKDIR sub\n", [2]),
        ("FROM scratch\nENV D=/d\nWORKDIR $D/x\n", []),
        ("FROM scratch\n# check=skip=WorkdirRelativePath\nWORKDIR app\n", []),
    ],
    "UndefinedVar": [
        ("FROM alpine\nCOPY $foo .\nARG foo=bar\nRUN $foo\n", [2]),
        ("FROM alpine\nARG foo\nCOPY x$foo .\n", []),
        ("FROM alpine AS a\nARG foo\nFROM a\nCOPY x$foo .\n", []),
        ("FROM alpine\nRUN echo $PATH $other\n", []),
        ("FROM alpine\nENV A=$PATH\n", []),
        ("FROM alpine\nENV a=1 b=$a\n", [2]),
        ("FROM alpine\nARG a=1 b=$a\n", []),
        ("FROM alpine\nLABEL a=$x\nUSER $x\nVOLUME $x/v\nWORKDIR /$x\n", [2, 3, 4, 5]),
        ("FROM alpine\nCOPY --chown=$x --chmod=7$y a /\nADD --chown=$x a /\n", [2, 2, 3]),
        ("FROM alpine\nCOPY <<E /x\n$x '$y'\nE\nCOPY <<'E' /x\n$x\nE\n", [2, 2]),
        ("FROM alpine\nRUN --mount=type=secret,id=a$x true\n", [2]),
        ('FROM alpine\nEXPOSE 80$x\nSTOPSIGNAL TERM$x\nCMD ["$x"]\n', [3]),
        ("FROM alpine\nARG BUILDKIT_SBOM_SCAN_STAGE=1\nENV A=$BUILDKIT_SBOM_SCAN_STAGE\n", []),
        ("FROM alpine\nONBUILD ENV A=$x\n", []),
        ("FROM alpine AS a\nONBUILD ENV A=$x\nFROM a\n", [3]),
        ("FROM alpine\n# check=skip=UndefinedVar\nENV A=$x\nENV A=$x\n", [4]),
    ],
    "MultipleInstructionsDisallowed": [
        ('FROM scratch\nCMD ["a"]\nENTRYPOINT ["b"]\nCMD ["c"]\nCMD ["d"]\n', [2, 4]),
        ('FROM scratch AS a\nCMD ["a"]\nFROM a\nCMD ["c"]\n', []),
        ("FROM scratch\nHEALTHCHECK NONE\nHEALTHCHECK CMD true\n", [2]),
        ('FROM scratch\nCMD ["a"]\n# check=skip=all\nCMD ["c"]\n', []),
    ],
    "JSONArgsRecommended": [
        ("FROM scratch\nCMD a\nENTRYPOINT b\n", [2, 3]),
        ('FROM scratch\nSHELL ["/s"]\nCMD a\n', []),
        ('FROM scratch\nCMD a\nSHELL ["/s"]\n', [2]),
        ('FROM scratch AS a\nSHELL ["/s"]\nFROM a\nCMD a\n', []),
        ('FROM scratch\nCMD ["a"]\nHEALTHCHECK CMD a\n', []),
    ],
    "LegacyKeyValueFormat": [
        ("FROM scratch\nENV a b\nLABEL a b\nENV a=b\n", [2, 3]),
        ("FROM scratch AS a\nENV a b\nFROM scratch\n", [2]),
    ],
    "SecretsUsedInArgOrEnv": [
        ("FROM scratch\nARG SECRET_PASSPHRASE\nENV SUPER_Secret=foo\n", [2, 3]),
        ("FROM scratch\nENV password=bar secret=baz plain=x\n", [2, 2]),
        ("FROM scratch\nENV PUBLIC_KEY= password_file=x\nARG AUTH_MODULE_VERSION\n", []),
        ("FROM scratch\nENV keyboard=x monkey=x\nARG mytoken\n", []),
        ("ARG TOKEN\nFROM scratch\n", []),
        ("FROM scratch\nENV N=api_key\n", []),
        ("FROM scratch\n# check=skip=SecretsUsedInArgOrEnv // meant\nENV token=a\nENV token=b\n", [4]),
    ],
    "RedundantTargetPlatform": [
        ("FROM --platform=$TARGETPLATFORM alpine\nFROM --platform=${TARGETPLATFORM} alpine\n", [1, 2]),
        ("FROM --platform=$TARGETOS/$TARGETARCH alpine\n", []),
        ("FROM --platform=$BUILDPLATFORM alpine\n", []),
    ],
    "FromPlatformFlagConstDisallowed": [
        ("FROM --platform=linux/amd64 alpine\n", [1]),
        ("FROM --platform=linux/amd64 alpine AS my_amd64_stage\n", []),
        ("FROM --platform=linux/amd64 alpine AS linux\n", []),
        ("ARG P=linux/amd64\nFROM --platform=$P alpine\n", []),
    ],
    "InvalidBaseImagePlatform": [
        ("FROM arm\n", [1]),
        ("FROM --platform=linux/arm64 arm AS arm64\n", []),
        ("FROM alpine\n", []),
    ],
    "ExposeProtoCasing": [
        ("FROM scratch\nEXPOSE 80/TcP 8080/TCP 8080/udp\n", [2, 2]),
        ("FROM scratch\nENV P='1/UDP 2/tcp'\nEXPOSE $P\n", [3]),
    ],
    "ExposeInvalidFormat": [
        ("FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:8080:8080 5000:5000 8000\n", [2, 2, 2]),
        ("FROM scratch\nEXPOSE 80 81-82/tcp\n", []),
    ],
}


@pytest.mark.parametrize(
    ("rule", "text", "lines"), [(rule, text, lines) for rule, cases in CASES.items() for text, lines in cases]
)
def test_rules_of_values(checked, rule, text, lines):
    """A rule should be reported at its lines, as often as it is broken, and not where it is kept."""
    findings = checked(text).findings
    assert [finding.span.start_line for finding in findings if finding.rule.name == rule] == lines


COPIES = [
    ("COPY Dockerfile .\nADD Dockerfile /x\n", "Dockerfile\n", [2, 3]),
    ("COPY a/b/ .\n", "a\n", [2]),
    ("COPY . .\n", "*\n", [2]),
    ("COPY . .\n", ".*\n", []),
    ("COPY a .\n", "a\n!a/b\n", []),
    ("COPY --from=alpine /a .\n", "a\n", []),
    ("ADD https://example.com/a .\n", "**\n", []),
    ("ENV A=a\nCOPY $A .\n", "a\n", [3]),
    ("# check=skip=CopyIgnoredFile\nCOPY a .\n", "a\n", []),
]


@pytest.mark.parametrize(("lines", "ignore", "expected"), COPIES)
def test_copy_ignored_file(found, lines, ignore, expected):
    """A source that the ignore file leaves out should be reported, unless patterns take some back."""
    names = found(f"FROM scratch\n{lines}", ignore=ignore)
    assert names == [("CopyIgnoredFile", line) for line in expected]


def test_texts_of_copies(checked):
    """The text should name the instruction and the clean path."""
    result = checked("FROM scratch\nCOPY ./x/ /\nADD y /\n", ignore="x\ny\n")
    assert details(result) == [
        'Attempting to Copy file "x" that is excluded by .dockerignore',
        'Attempting to Add file "y" that is excluded by .dockerignore',
    ]


INVALID = [
    ("ARG IMAGE\nFROM $IMAGE\n", {"IMAGE": "alpine"}, "$IMAGE"),
    ("ARG V\nFROM alpine:$V\n", {"V": "latest"}, "alpine:$V"),
    ('ARG SFX="ine:"\nFROM alp${SFX}\n', {"SFX": "ine"}, "alp${SFX}"),
]


@pytest.mark.parametrize(("text", "build_args", "shown"), INVALID)
def test_invalid_default_arg_in_from(checked, text, build_args, shown):
    """A file that can be built with an argument only should be reported."""
    result = checked(text, build_args=build_args)
    assert details(result) == [
        f"Default value for ARG {shown} results in empty or invalid base image name",
    ]


def test_a_default_that_is_a_name_is_fine(found):
    """Empty parts of a name may leave a good one."""
    assert found("ARG V\nFROM alpine${V}\n", build_args={"V": ":latest"}) == []


def test_suggestions(checked):
    """A name that is near should be suggested, of ARGs in FROM and of variables elsewhere."""
    assert details(checked("FROM --platform=$BULIDPLATFORM alpine\n"))[0] == (
        "FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)"
    )
    assert details(checked("FROM alpine\nENV PATH=$PAHT:/tmp/bin\nENV A=$nothing\n")) == [
        "Usage of undefined variable '$PAHT' (did you mean $PATH?)",
        "Usage of undefined variable '$nothing'",
    ]


def test_the_text_of_another_platform(checked):
    """The text should have the name with its variables replaced, and both platforms."""
    assert details(checked("ARG N=arm\nFROM $N\n")) == [
        'Base image arm was pulled with platform "linux/arm64", expected "linux/amd64" for current build'
    ]


def test_all_stages_unless_there_is_a_target(found):
    """Without a target every stage should be checked, with one those that it needs."""
    text = "FROM scratch AS a\nENV x y\nFROM scratch AS b\nENV x y\nFROM b AS c\nFROM scratch\n"
    assert [line for _, line in found(text)] == [2, 4]
    assert [line for _, line in found(text, target="c")] == [4]
    assert found(text, target="3") == []


def test_a_build_looks_at_what_it_needs(plans):
    """A plan should warn of its stages, of all FROM lines and of the text, each once and by line."""
    graph = plans(
        "FROM scratch as a\nENV x y\nFROM alpine$v\nENV z $z\nRUN a \\\n\n  b\n", build_args={"X": "1"}
    )
    assert graph.warnings == (
        "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
        "UndefinedArgInFrom: FROM argument 'v' is not declared (line 3)",
        f"LegacyKeyValueFormat: {LEGACY} (line 4)",
        "UndefinedVar: Usage of undefined variable '$z' (line 4)",
        "NoEmptyContinuation: Empty continuation line (line 7)",
        "[Warning] One or more build-args [X] were not consumed",
    )


def test_findings_as_errors(plans, checked):
    """With error=true a build should fail, and say which rules are broken."""
    text = "# check=error=true\nFROM scratch as b\nENV x y\n"
    with pytest.raises(ChecksFailed, match=r"rules: FromAsCasing, LegacyKeyValueFormat$") as caught:
        plans(text)
    assert [str(one)[:12] for one in caught.value.warnings] == ["FromAsCasing", "LegacyKeyVal"]
    assert isinstance(checked(text).problem, ChecksFailed)
    plans("# check=error=true\nFROM scratch AS b\n")
    plans(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=all;error=true"})


def test_warnings_come_before_an_error(plans):
    """A build that cannot be planned should tell what was found as well."""
    plans.tree({".dockerignore": "x\n", "x": ""})
    with pytest.raises(BuildError) as caught:
        plans("FROM scratch\nCOPY x /\n")
    assert [one.partition(":")[0] for one in caught.value.warnings] == ["CopyIgnoredFile"]


def test_mistakes(checked):
    """The first mistake should be told, with everything that is found in spite of it."""
    result = checked("FROM scratch\nENV a b\nENV c=${x?}\nSTOPSIGNAL NO\nENV d e\n")
    assert result.problem.span.start_line == 3
    names = ["LegacyKeyValueFormat", "UndefinedVar", "LegacyKeyValueFormat"]
    assert [finding.rule.name for finding in result.findings] == names

    result = checked("FROM nowhere\nENV a $A\n")
    assert isinstance(result.problem, CannotResolve)
    assert [finding.rule.name for finding in result.findings] == ["LegacyKeyValueFormat"]

    result = checked("FROM scratch\nCOPY ${x#[} /\n")
    assert result.problem is None or result.problem.span.start_line == 2
    for text in ("COPY ${x?no} /\n", "COPY <<E /\n${x?no}\nE\n", "ARG a=${x?no}\n"):
        result = checked(f"FROM scratch\n{text}")
        assert result.problem.span.start_line == 2
        assert [finding.rule.name for finding in result.findings] == ["UndefinedVar"]


def test_options(checked):
    """Malformed options should be told with their place; the build argument replaces the directive."""
    parsed = parse("# check=skip=A,B;error=true;experimental=all\nFROM scratch\n")
    options = check_options(parsed, {})
    assert (options.skipped, options.is_error, options.experimental_all) == ({"A", "B"}, True, True)
    assert not check_options(parsed, {"BUILDKIT_DOCKERFILE_CHECK": ""}).is_error
    assert check_options(parse("#!/usr/bin/x\n# check=error=true\nFROM scratch\n"), {}).is_error
    result = checked("# syntax=docker/dockerfile:1\n# check=foo=bar\nFROM scratch\nCMD a\n")
    assert "failed to parse check options" in result.problem.message
    assert (result.problem.span.start_line, result.findings) == (2, ())
    result = checked("FROM scratch\n", build_args={"BUILDKIT_DOCKERFILE_CHECK": "foo"})
    assert "BUILDKIT_DOCKERFILE_CHECK" in result.problem.message


def test_mistakes_in_front_of_stages(checked):
    """An ARG that cannot be expanded, and a target that is not there, should be problems like others."""
    result = checked("ARG a=${x?no}\nFROM scratch\n")
    assert (result.problem.message, result.problem.span.start_line) == (
        'failed to process "${x?no}": x: no',
        1,
    )
    result = checked("FROM scratch AS a\nCMD a\n", target="b")
    assert "could not be found" in result.problem.message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM UPPER\n", [(1, "UPPER")]),
        ("FROM scratch AS Build\nFROM build\nFROM Build\n", []),
        ("ARG a=x\nFROM scratch AS x\nFROM $a\n", []),
        ("ARG a\nFROM scratch\nFROM scratch AS y\nFROM y$a\n", []),
        ('FROM ""\n', [(1, '""')]),
    ],
)
def test_bases_without_a_valid_name(checked, text, found):
    """Every base that is no stage should have a valid name without build arguments, constants too."""
    findings = checked(text).findings
    details = [(one.span.start_line, one.detail) for one in findings if one.rule.name.startswith("InvalidD")]
    assert details == [
        (line, f"Default value for ARG {image} results in empty or invalid base image name")
        for line, image in found
    ]


@pytest.mark.parametrize("case", sorted(path.parent.name for path in CASE_FILES), ids=str)
def test_what_can_be_planned_has_no_mistake(case, plans, checked):
    """A check should refuse no file that a build takes, and find what the build warns of."""
    text = (CASES_FOLDER / case / "Dockerfile").read_bytes().decode("utf-8-sig", "surrogateescape")
    for name in ("registry.example:5000/team/app", "mcr.example/windows", "python:3.12-slim", "tools"):
        plans.resolver.images[str(plans.reference(name))] = plans.image_of(name, env=("PATH=/bin",))
    try:
        planned = plans(text.encode("utf-8", "surrogateescape"))
    except (BuildError, DockerfileError):
        return
    result = checked(text)
    assert result.problem is None
    warnings = {one for one in planned.warnings if not one.startswith("[Warning]")}
    assert warnings <= {str(finding) for finding in result.findings}


WORDS = ("$x", "${x:-$y}", "${x#a}", "'", '"$x"', "\\", "a=b", "--from=a", "/p", "80/TCP", "<<E", "token")
KEYWORDS = ("ARG", "ENV", "copy", "ADD", "RUN", "Cmd", "ENTRYPOINT", "WORKDIR", "EXPOSE", "USER", "FROM")
LINES = st.lists(st.tuples(st.sampled_from(KEYWORDS), st.lists(st.sampled_from(WORDS), max_size=4)))


@given(LINES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_checks_of_anything(checked, lines):
    """Whatever can be parsed is checked; what is wrong has its place."""
    text = "\n".join(["FROM scratch AS a", *(f"{word} {' '.join(rest)}" for word, rest in lines), ""])
    try:
        parse(text)
    except DockerfileError:
        return
    result = checked(text)
    if result.problem is not None:
        assert result.problem.span is not None
