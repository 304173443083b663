"""Instructions that change the configuration only."""

import pytest

from builder.errors import InvalidOption
from builder.lowering.durations import format_duration
from builder.lowering.signals import is_signal
from dockerfile_grammar.errors import SyntaxProblem
from oci_image.config import Healthcheck


def test_metadata_makes_no_step(plans):
    """Metadata instructions should not become steps, whatever they say."""
    text = """FROM alpine
ENV A=1
LABEL a=b
MAINTAINER me
CMD ["x"]
ENTRYPOINT ["y"]
SHELL ["/bin/ash", "-c"]
EXPOSE 80
VOLUME /data
USER app
HEALTHCHECK NONE
STOPSIGNAL 9
ARG X=1
ONBUILD RUN true
WORKDIR /
"""
    assert [type(step.op).__name__ for step in plans(text).steps()] == ["BaseImage"]


def test_history_texts_are_those_of_buildkit(plans):
    """History entries should read as BuildKit writes them, and have no layer for metadata."""
    text = """FROM alpine
ARG X=1 Y
ENV A=1 B="two words"
LABEL k=v "a b"=c
MAINTAINER Me <me@example.com>
SHELL ["/bin/ash", "-o", "pipefail", "-c"]
CMD echo "hi"
ENTRYPOINT ["/init", "-x"]
EXPOSE 80 53/UDP
VOLUME /data /logs
USER app:app
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=90s --retries=3 CMD ["curl", "x"]
ONBUILD RUN true
"""
    assert plans.history(text) == [
        "ARG X=1 Y",
        "ENV A=1 B=two words",
        "LABEL k=v a b=c",
        "MAINTAINER Me <me@example.com>",
        "SHELL [/bin/ash -o pipefail -c]",
        r'CMD ["/bin/ash" "-o" "pipefail" "-c" "echo \"hi\""]',
        'ENTRYPOINT ["/init" "-x"]',
        "EXPOSE [53/udp 80/tcp]",
        "VOLUME [/data /logs]",
        "USER app:app",
        "STOPSIGNAL SIGTERM",
        "HEALTHCHECK {Test:[CMD curl x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
    ]
    added = plans.config(text).history[1:]
    assert all(entry.empty_layer and entry.created == "1980-01-01T00:00:00Z" for entry in added)


@pytest.mark.parametrize("flags", ["", "--interval=5s --retries=2 "])
def test_no_healthcheck_has_no_intervals(plans, flags):
    """NONE should be stored so that it hides the check of the base, without anything else."""
    base = plans.image_of("base", healthcheck=Healthcheck(test=("CMD", "x"), interval=1))
    plans.resolver.images[str(plans.reference("checked"))] = base
    config = plans.config(f"FROM checked\nHEALTHCHECK {flags}NONE\n")
    assert config.config.healthcheck == Healthcheck(test=("NONE",))


def test_a_line_of_env_sees_the_variables_from_before_it(plans):
    """All values of one ENV should be expanded with the old environment."""
    config = plans.run_config("FROM alpine\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n")
    assert config.env == ("PATH=/usr/bin:/bin", "abc=bye", "def=hello", "ghi=bye")


def test_the_old_form_of_env_is_one_pair(plans):
    """`ENV name value` should keep the blanks inside the value and make one variable."""
    config = plans.run_config("FROM alpine\nENV X a  b=c d\n")
    assert config.env[1:] == ("X=a  b=c d",)


def test_a_variable_is_replaced_in_place(plans):
    """A variable that is there already should keep its place."""
    config = plans.run_config("FROM alpine\nENV A=1 B=2\nENV A=3 PATH=/x:$PATH\n")
    assert config.env == ("PATH=/x:/usr/bin:/bin", "A=3", "B=2")


@pytest.mark.parametrize(
    ("text", "cmd", "entrypoint"),
    [
        ('CMD ["a"]', ("a",), ("/old",)),
        ('ENTRYPOINT ["e"]', None, ("e",)),
        ('CMD ["a"]\nENTRYPOINT ["e"]', ("a",), ("e",)),
        ('ENTRYPOINT ["e"]\nCMD ["a"]', ("a",), ("e",)),
        ("CMD []", None, ("/old",)),
        ("ENTRYPOINT []", None, None),
        ("CMD exec me", ("/bin/sh", "-c", "exec me"), ("/old",)),
        ('CMD ["a", b]', ("/bin/sh", "-c", '["a", b]'), ("/old",)),
        ('CMD one\nSHELL ["/s"]\nENTRYPOINT two', ("/bin/sh", "-c", "one"), ("/s", "two")),
    ],
)
def test_cmd_and_entrypoint(plans, text, cmd, entrypoint):
    """ENTRYPOINT should drop a CMD from below but not one of its own stage; shell forms use SHELL then."""
    config = plans.run_config(f"FROM app\n{text}\n")
    assert (config.cmd, config.entrypoint) == (cmd, entrypoint)


def test_cmd_of_a_parent_stage_counts_as_from_below(plans):
    """A CMD of the stage that FROM names should be dropped by an ENTRYPOINT of this one."""
    config = plans.run_config('FROM alpine AS a\nCMD ["x"]\nFROM a\nENTRYPOINT ["e"]\n')
    assert config.cmd is None


def test_expose_splits_after_expansion_and_joins_equal_ports(plans):
    """A variable may hold several ports; equal ports should be one."""
    config = plans.run_config('FROM alpine\nENV P="  99 100 "\nEXPOSE $P 80 80/tcp 8000-8001\n')
    assert config.exposed_ports == ("100/tcp", "80/tcp", "8000/tcp", "8001/tcp", "99/tcp")


def test_a_wrong_port_names_the_line(plans):
    """An impossible port should be an error at its line."""
    with pytest.raises(SyntaxProblem, match="invalid proto") as caught:
        plans("FROM alpine\nEXPOSE 80/foo\n")
    assert caught.value.span.start_line == 2


def test_volume_wants_a_path(plans):
    """A VOLUME that expands to nothing should be an error."""
    with pytest.raises(InvalidOption, match="empty string"):
        plans("FROM alpine\nVOLUME $NOTHING\n")


def test_volumes_labels_and_user(plans):
    """Values should be expanded and collected."""
    config = plans.run_config(
        "FROM alpine\nENV D=/d U=me\nVOLUME $D /a\nVOLUME /d\nLABEL x=1\nLABEL x=$U '$U'=y\nUSER $U:grp\n"
    )
    assert config.volumes == ("/a", "/d")
    assert dict(config.labels) == {"x": "me", "$U": "y"}
    assert config.user == "me:grp"


def test_labels_of_the_request_win(plans):
    """--label should beat LABEL and leave no history."""
    text = "FROM alpine\nLABEL a=1 b=2\n"
    graph = plans(text, labels={"b": "3", "c": "4"})
    assert dict(graph.targets[0].config.config.labels) == {"a": "1", "b": "3", "c": "4"}
    assert plans.history(text, labels={"b": "3"}) == ["LABEL a=1 b=2"]


def test_maintainer_sets_the_author(plans):
    """MAINTAINER should be the author of the image."""
    assert plans.config("FROM alpine\nMAINTAINER Me\n").author == "Me"


@pytest.mark.parametrize("signal", ["9", "SIGKILL", "kill", "SIGRTMIN+3", "RTMAX-1", "+9", "$S"])
def test_stopsignal(plans, signal):
    """Names with and without SIG and numbers should be kept as they are after expansion."""
    config = plans.run_config(f"FROM alpine\nENV S=USR1\nSTOPSIGNAL {signal}\n")
    assert config.stop_signal == signal.replace("$S", "USR1")


def test_a_wrong_stopsignal_names_the_line(plans):
    """An unknown signal should be an error at its line."""
    with pytest.raises(InvalidOption, match="invalid signal") as caught:
        plans("FROM alpine\nSTOPSIGNAL foo\n")
    assert caught.value.span.start_line == 2


@pytest.mark.parametrize(
    "text", ["0", "-1", "", "SIGFOO", "RTMIN+16", "RTMIN-1", "SIG", "RTMAX-15", "RTMIN+01", "+0", "1.5"]
)
def test_no_signal(text):
    """What is no signal should not be taken for one."""
    assert not is_signal(text)


def test_healthcheck(plans):
    """HEALTHCHECK should be stored as Docker stores it, NONE included."""
    text = "FROM alpine\nHEALTHCHECK --interval=5s --timeout=1s --start-period=2s --retries=4 CMD true\n"
    assert plans.run_config(text).healthcheck == Healthcheck(
        test=("CMD-SHELL", "true"),
        interval=5_000_000_000,
        timeout=1_000_000_000,
        start_period=2_000_000_000,
        retries=4,
    )
    assert plans.run_config("FROM alpine\nHEALTHCHECK NONE\n").healthcheck == Healthcheck(test=("NONE",))


def test_onbuild_is_stored_without_history(plans):
    """ONBUILD should be kept for children and leave no history entry."""
    text = "FROM alpine\nONBUILD RUN  a  b\nONBUILD COPY f /\n"
    assert plans.run_config(text).on_build == ("RUN  a  b", "COPY f /")
    assert plans.history(text) == []


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (250_000_000, "250ms"),
        (1_000_000_000, "1s"),
        (1_050_000_000, "1.05s"),
        (60_000_000_000, "1m0s"),
        (3_600_000_000_000, "1h0m0s"),
        (5_430_500_000_000, "1h30m30.5s"),
        (-1_000_000, "-1ms"),
    ],
)
def test_durations_read_as_in_go(nanoseconds, text):
    """Durations should be written as Go writes them."""
    assert format_duration(nanoseconds) == text


def test_the_shell_of_the_image_is_used(plans):
    """SHELL should be stored and used by what follows only."""
    config = plans.run_config('FROM alpine\nSHELL ["/bin/bash", "-c"]\nCMD x\n')
    assert config.shell == ("/bin/bash", "-c")
    assert config.cmd == ("/bin/bash", "-c", "x")
