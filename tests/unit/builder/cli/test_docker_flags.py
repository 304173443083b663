"""Flags of docker's that pybuild spells otherwise, does not need, or refuses by name."""

import pytest

from builder.cli.granted import read_bounds
from builder.cli.verbs.build import _add_defaults, read
from builder.errors import InvalidOption, Unsupported


def flags(*words):
    """What a command line says, without what it does not say."""
    plain = vars(read(["."]))
    return {name: value for name, value in vars(read([*words, "."])).items() if value != plain[name]}


@pytest.mark.parametrize(
    "text",
    [
        "--load",
        "--load=false",
        "--rm --force-rm --force-rm=false --compress",
        "--disable-content-trust --disable-content-trust=true",
        "--isolation default --isolation=",
        "--builder default",
        "--provenance=false --provenance false --sbom=0",
        "--attest type=provenance,disabled=true --attest=type=sbom,disabled=1",
        "--stream=false",
        "--no-cache=false --pull=0 --push=F --quiet=false -q=false --squash=false",
    ],
)
def test_flags_that_hold_anyway(text):
    """What is the case in any case needs no flag, and changes nothing."""
    assert flags(*text.split()) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("--no-cache=true", {"no_cache": True}),
        ("--pull --pull=false --pull=1", {"pull": True}),
        ("--pull=true --pull=false", {}),
        ("--quiet=true", {"progress": "quiet"}),
        ("--check=true", {"call": "check"}),
        ("--progress none", {"progress": "quiet"}),
        ("--progress rawjson", {"progress": "rawjson"}),
        ("--load --progress=plain", {"progress": "plain"}),
        ("--print outline", {"call": "outline"}),
        ("--resource memory=1g,cpu-quota=5000", {"memory": "1g", "cpu_quota": "5000"}),
        ("--load -t a:1 --label=--load=x", {"tag": ["a:1"], "label": ["--load=x"]}),
    ],
)
def test_flags_with_other_words(text, found):
    """What is said otherwise here means the same."""
    assert flags(*text.split()) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--rm=false", "--rm=false is not supported: nothing of a step is left"),
        ("--disable-content-trust=false", "--disable-content-trust=false is not supported: signatures"),
        ("--isolation hyperv", "--isolation hyperv is not supported: commands run in a sandbox"),
        ("--builder mine", "--builder mine is not supported: there are no builders"),
        ("--provenance=mode=max", "--provenance mode=max is not supported: images get no attestations"),
        ("--sbom true", "--sbom true is not supported"),
        ("--attest type=sbom", "--attest type=sbom is not supported"),
        ("--security-opt seccomp=x", "--security-opt is not supported"),
        ("--policy p.rego", "--policy is not supported: sources are not judged"),
        ("--invoke sh", "--invoke is not supported"),
        ("--detach", "--detach is not supported"),
        ("-D", "-D is not supported"),
        ("--stream", "--stream is not supported"),
    ],
)
def test_flags_that_are_refused(text, message):
    """What is not done is an error that names the flag and says why."""
    with pytest.raises(Unsupported) as caught:
        flags(*text.split())
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--pull=maybe", "--pull=maybe: expected true or false"),
        ("--load=x", "--load=x: expected true or false"),
        ("--resource pids=1", "--resource pids=1: expected KEY=VALUE with one of memory"),
        ("--resource memory", "--resource memory: expected KEY=VALUE"),
    ],
)
def test_values_that_make_no_sense(text, message):
    """A wrong value is an error that names the flag."""
    with pytest.raises(InvalidOption) as caught:
        flags(*text.split())
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tga", "x"], "unrecognized arguments: --tga . (did you mean --tag?)"),
        (["--no-cach"], "unrecognized arguments: --no-cach (did you mean --no-cache?)"),
        (["--isolaton=x"], "unrecognized arguments: --isolaton=x (did you mean --isolation?)"),
        (["--something-else"], "unrecognized arguments: --something-else\n"),
        (["--sbom"], None),
    ],
)
def test_unknown_flags(capsys, words, message):
    """A flag that nobody has is wrong usage, with what may have been meant; none is shortened silently."""
    if message is None:  # the context is taken for the value
        with pytest.raises(Unsupported, match=r"--sbom \. is not supported"):
            flags(*words)
        return
    with pytest.raises(SystemExit) as caught:
        flags(*words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_value_is_missing():
    """A flag at the end without its value says so."""
    with pytest.raises(InvalidOption, match="flag needs an argument: --sbom"):
        read([".", "--sbom"])


def test_the_environment_of_docker():
    """Docker's variables count where no flag says otherwise."""
    environment = {"BUILDKIT_PROGRESS": "plain", "DOCKER_DEFAULT_PLATFORM": "linux/arm64"}
    silent, loud = read(["."]), read(["--progress", "json", "--platform", "linux/amd64", "."])
    _add_defaults(silent, environment)
    _add_defaults(loud, environment)
    assert (silent.progress, silent.platform) == ("plain", ["linux/arm64"])
    assert (loud.progress, loud.platform) == ("json", ["linux/amd64"])
    quiet, unknown = read(["."]), read(["."])
    _add_defaults(quiet, {"BUILDKIT_PROGRESS": "none"})
    _add_defaults(unknown, {"BUILDKIT_PROGRESS": "fancy"})
    assert (quiet.progress, unknown.progress) == ("quiet", "auto")
    raw = read(["."])
    _add_defaults(raw, {"BUILDKIT_PROGRESS": "rawjson", "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": ""})
    assert raw.progress == "rawjson"
    with pytest.raises(Unsupported, match="EXPERIMENTAL_BUILDKIT_SOURCE_POLICY is not supported"):
        _add_defaults(raw, {"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "policy.json"})


def bounds(text):
    return read_bounds(read([*text.split(), "."]))


def test_bounds_of_commands():
    """Docker's flags about memory and processors bound each RUN."""
    found = bounds("-m 64m --memory-swap 1g -c 512 --cpuset-cpus 0-1,3 --cpuset-mems 0")
    assert (found.memory, found.memory_swap, found.cpu_shares) == (64 << 20, 1 << 30, 512)
    assert (found.cpuset_cpus, found.cpuset_mems, found.cpus) == ("0-1,3", "0", 0)
    assert bounds("--cpu-quota 150000").cpus == 1.5
    assert bounds("--cpu-quota 5000 --cpu-period 20000").cpus == 0.25
    assert bounds("--memory 1g --memory-swap -1").memory_swap == -1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--memory lots", "--memory: "),
        ("--memory-swap 1g", "--memory-swap needs --memory"),
        ("--memory 2g --memory-swap 1g", "--memory-swap bounds memory and swap together"),
        ("--cpu-quota x", "--cpu-quota x: expected a number"),
        ("--cpu-shares -1", "--cpu-shares -1: expected a number"),
        ("--cpu-period 1", "--cpu-period 1: expected 1000 to 1000000"),
        ("--cpuset-cpus 0-", "--cpuset-cpus 0-: expected numbers and ranges"),
    ],
)
def test_bounds_that_make_no_sense(text, message):
    """A wrong bound is an error that names the flag."""
    with pytest.raises(InvalidOption) as caught:
        bounds(text)
    assert caught.value.message.startswith(message)
