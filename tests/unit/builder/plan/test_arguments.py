"""ARG: scopes, defaults, what wins over what, and predefined arguments."""

import pytest

from builder.errors import InvalidOption
from builder.lowering.run import proxy_variables
from builder.lowering.state import add_variable, split_variable


def environment(plans, text, **options):
    """What the last RUN sees."""
    return dict(item.partition("=")[::2] for item in plans.op(text, **options).env)


def test_an_arg_is_in_the_environment_of_run_only(plans):
    """An ARG should reach RUN but not the image."""
    text = "FROM alpine\nARG A=1\nRUN x\n"
    assert environment(plans, text)["A"] == "1"
    assert plans.run_config(text).env == ("PATH=/usr/bin:/bin",)


def test_build_arg_beats_the_default(plans):
    """--build-arg should win, an empty one too."""
    text = "FROM alpine\nARG A=1\nRUN x\n"
    assert environment(plans, text, build_args={"A": "2"})["A"] == "2"
    assert environment(plans, text, build_args={"A": ""})["A"] == ""


def test_a_bare_arg_is_unset(plans):
    """ARG without default and value should be unset, unlike one that is empty."""
    text = "FROM alpine\nARG A\nARG B=\nENV X=${A-unset} Y=${B-unset}\n"
    assert plans.run_config(text).env[1:] == ("X=unset", "Y=")


def test_defaults_see_earlier_variables(plans):
    """The default of an ARG should be expanded with ENV and ARG from above."""
    text = "FROM alpine\nENV E=e\nARG A=$E-a B=x\nARG C=$A-$B\nRUN x\n"
    assert environment(plans, text)["C"] == "e-a-x"


@pytest.mark.parametrize(
    ("text", "value"),
    [("ARG A=arg\nENV A=env", "env"), ("ENV A=env\nARG A=arg", "arg"), ("ENV A=env\nARG A", "env")],
)
def test_the_later_one_of_arg_and_env_wins(plans, text, value):
    """ENV below ARG should win, and ARG below ENV as in BuildKit; the image has the ENV in any case."""
    text = f"FROM alpine\n{text}\nRUN x\n"
    assert environment(plans, text)["A"] == value
    assert plans.run_config(text).env[1:] == ("A=env",)


def test_global_args_are_for_from_lines(plans):
    """An ARG in front of FROM should be invisible in stages until it is declared there."""
    text = "ARG A=1\nFROM alpine\nRUN x\n"
    assert "A" not in environment(plans, text)
    text = "ARG A=1\nFROM alpine\nARG A\nRUN x\n"
    assert environment(plans, text)["A"] == "1"
    assert environment(plans, text, build_args={"A": "2"})["A"] == "2"
    text = "ARG A=1\nFROM alpine\nARG A=own\nRUN x\n"
    assert environment(plans, text)["A"] == "own"


def test_global_args_choose_the_base(plans):
    """FROM should be expanded with global ARGs, which may use each other."""
    text = "ARG A=alp B=${A}ine\nFROM $B\n"
    assert plans(text).targets[0].config.config.env == ("PATH=/usr/bin:/bin",)
    plans(text, build_args={"B": "app"})
    assert plans.resolver.asked[-1][0] == "app:latest"


def test_args_are_inherited_from_parent_stages_not_from_siblings(plans):
    """A stage FROM another should see its ARGs; a sibling should not."""
    text = "FROM alpine AS a\nARG A=1\nFROM a\nRUN x\n"
    assert environment(plans, text)["A"] == "1"
    text = "FROM alpine AS a\nARG A=1\nRUN y\nFROM alpine\nCOPY --from=a /x /x\nRUN x\n"
    assert "A" not in environment(plans, text)


def test_history_shows_the_args_in_scope(plans):
    """RUN's history should begin with the number of ARGs and their current values."""
    text = "FROM alpine\nARG A=1 B\nENV A=2\nRUN x\n"
    assert plans.history(text)[-1] == "RUN |2 A=2 B= /bin/sh -c x # buildkit"
    text = "FROM alpine\nARG A=1\nARG A=3\nRUN x\n"
    assert plans.history(text)[-1] == "RUN |1 A=3 /bin/sh -c x # buildkit"


def test_platform_args_have_to_be_declared(plans):
    """TARGETPLATFORM and its family should be global, and overridable."""
    text = "FROM --platform=$BUILDPLATFORM alpine\nARG TARGETPLATFORM TARGETARCH BUILDOS TARGETSTAGE\nRUN x\n"
    seen = environment(plans, text)
    assert seen["TARGETPLATFORM"] == "linux/amd64"
    assert (seen["TARGETARCH"], seen["BUILDOS"], seen["TARGETSTAGE"]) == ("amd64", "linux", "default")
    assert "BUILDPLATFORM" not in seen
    assert environment(plans, text, build_args={"TARGETARCH": "mine"})["TARGETARCH"] == "mine"


def test_targetstage_is_the_target(plans):
    """TARGETSTAGE should be the name that was asked for, or of the last stage."""
    text = "FROM alpine AS one\nARG TARGETSTAGE\nRUN x\nFROM alpine AS two\nARG TARGETSTAGE\nRUN x\n"
    assert environment(plans, text)["TARGETSTAGE"] == "two"
    assert environment(plans, text, target="one")["TARGETSTAGE"] == "one"


def test_proxies_reach_run_but_not_its_key(plans):
    """Proxy arguments that nobody declares should be hidden variables in both spellings."""
    text = "FROM alpine\nRUN x\n"
    plain = plans(text).targets[0]
    proxied = plans(text, build_args={"HTTP_PROXY": "http://p", "no_proxy": "n"}).targets[0]
    assert proxied.head.digest == plain.head.digest
    assert proxied.config == plain.config
    assert proxied.head.op.hidden_env == (
        "HTTP_PROXY=http://p",
        "http_proxy=http://p",
        "NO_PROXY=n",
        "no_proxy=n",
    )


def test_a_declared_proxy_is_an_ordinary_arg(plans):
    """A proxy that an ARG declares should be in the key and the history."""
    text = "FROM alpine\nARG HTTP_PROXY\nRUN x\n"
    first, second = (plans(text, build_args={"HTTP_PROXY": value}).targets[0] for value in "ab")
    assert first.head.digest != second.head.digest
    assert first.head.op.hidden_env == ("http_proxy=a",)
    assert "HTTP_PROXY=a" in first.head.op.env


def test_unused_build_args_are_a_warning(plans):
    """Arguments that no ARG declares should be named; predefined ones should not."""
    build_args = {"X": "1", "Y": "2", "A": "3", "https_proxy": "p", "BUILDKIT_INLINE_CACHE": "1"}
    graph = plans("FROM alpine\nARG A\nRUN x\n", build_args=build_args)
    assert graph.warnings == ("[Warning] One or more build-args [X Y] were not consumed",)


def test_source_date_epoch_is_added_for_run(plans):
    """RUN should see SOURCE_DATE_EPOCH unless the Dockerfile sets it."""
    assert environment(plans, "FROM alpine\nRUN x\n")["SOURCE_DATE_EPOCH"] == "315532800"
    assert environment(plans, "FROM alpine\nRUN x\n", epoch=7)["SOURCE_DATE_EPOCH"] == "7"
    text = "FROM alpine\nENV SOURCE_DATE_EPOCH=1\nRUN x\n"
    assert environment(plans, text)["SOURCE_DATE_EPOCH"] == "1"


def test_the_epoch_may_come_from_arguments(plans):
    """SOURCE_DATE_EPOCH should be taken from the request, a build argument or a global ARG, in this order."""
    text = "ARG SOURCE_DATE_EPOCH=5\nFROM alpine\nRUN x\n"
    assert plans.op(text).epoch == 5
    assert plans.op(text).clamp
    assert plans.op(text, build_args={"SOURCE_DATE_EPOCH": "6"}).epoch == 6
    assert plans.op(text, build_args={"SOURCE_DATE_EPOCH": "6"}, epoch=7).epoch == 7
    assert not plans.op("FROM alpine\nRUN x\n").clamp
    assert plans.config(text).created == "1970-01-01T00:00:05Z"


def test_an_epoch_that_is_no_number(plans):
    """A SOURCE_DATE_EPOCH that cannot be used should be an error that says so."""
    with pytest.raises(InvalidOption, match="invalid SOURCE_DATE_EPOCH: soon"):
        plans("FROM alpine\n", build_args={"SOURCE_DATE_EPOCH": "soon"})
    with pytest.raises(InvalidOption, match="invalid SOURCE_DATE_EPOCH: 253402300800"):
        plans("FROM alpine\n", build_args={"SOURCE_DATE_EPOCH": "253402300800"})


def test_arguments_for_the_builder_are_no_variables(plans):
    """ARGs that steer SBOM scans should not reach commands."""
    text = "FROM alpine\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN x\n"
    assert "BUILDKIT_SBOM_SCAN_STAGE" not in environment(plans, text)


def test_proxy_variables_prefer_lower_case():
    """Of two spellings the lower-case one should win, in any order."""
    args = {"http_proxy": "low", "HTTP_PROXY": "up", "ALL_PROXY": "all", "other": "x"}
    expected = ("HTTP_PROXY=low", "http_proxy=low", "ALL_PROXY=all", "all_proxy=all")
    assert proxy_variables(args) == expected
    assert proxy_variables(dict(reversed(args.items()))) == expected


def test_variables_as_a_list():
    """A bare name should be an empty variable, and be replaced in place."""
    assert split_variable("a") == ("a", "")
    assert split_variable("a=b=c") == ("a", "b=c")
    assert add_variable(("x=1", "y", "z=2"), "y", "3") == ("x=1", "y=3", "z=2")
