"""Options of ``pybuild run`` become a request, or are refused by name."""

import pytest

from builder.cli.settings import Settings
from builder.cli.verbs.run import _parser, _request
from builder.errors import BuildError, InvalidOption
from builder.running import RunRequest, Volume, argv_of, environment_of
from oci_image.config import RunConfig


def read(*words, **environment):
    settings = Settings.read("/nowhere")
    settings = Settings(
        **{name: getattr(settings, name) for name in Settings.__slots__} | {"environment": environment}
    )
    return _request(_parser().parse_args(words), settings)


def test_everything(tmp_path):
    """Docker's flags mean what they mean there."""
    (tmp_path / "env").write_text("# comment\nC=3\n\nHERE\nAWAY\n")

    request = read(
        *("-e", "A=1", "-e", "HERE", "-e", "GONE", "--env-file", tmp_path.joinpath("env").as_posix()),
        *("-w", "/w", "-u", "1:2", "-v", "/a:/b:ro", "-v", "./c:/d", "--network", "none", "--rm"),
        *("-m", "64m", "--cpus", "1.5", "image", "sh", "-c", "exit 3"),
        HERE="yes",
    )

    assert request.env == ("C=3", "HERE=yes", "A=1", "HERE=yes")
    assert request.volumes == (
        Volume(source="/a", target="/b", readonly=True),
        Volume(source="./c", target="/d"),
    )
    assert (request.memory, request.cpus, request.command) == (64 << 20, 1.5, ("sh", "-c", "exit 3"))
    assert (request.workdir, request.user, request.network) == ("/w", "1:2", "none")


@pytest.mark.parametrize(
    "words",
    [
        ["-v", "data:/x", "i"],
        ["-v", "/only", "i"],
        ["-v", "/a:relative", "i"],
        ["-v", "/a:/b:slave", "i"],
        ["-e", "=x", "i"],
        ["-m", "much", "i"],
        ["-m", "1k", "i"],
        ["--network", "bridge", "i"],
        ["-t", "i"],
    ],
    ids=" ".join,
)
def test_refused(words):
    """What is not supported, or wrong, is refused in one sentence."""
    with pytest.raises(BuildError):
        read(*words)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "request_entrypoint", "command", "argv"),
    [
        (None, ("a",), None, (), ("a",)),
        (("e",), ("a",), None, (), ("e", "a")),
        (("e",), ("a",), None, ("b",), ("e", "b")),
        (("e",), ("a",), "x", (), ("x",)),
        (("e",), ("a",), "x", ("b",), ("x", "b")),
        (("e",), ("a",), "", ("b",), ("b",)),
    ],
)
def test_command(entrypoint, cmd, request_entrypoint, command, argv):
    """Entrypoint and command of image and request combine as with docker."""
    request = RunRequest(image="i", entrypoint=request_entrypoint, command=command)

    assert argv_of(request, RunConfig(entrypoint=entrypoint, cmd=cmd)) == argv


def test_no_command():
    """An image without a command needs one."""
    with pytest.raises(InvalidOption, match="no command"):
        argv_of(RunRequest(image="i"), RunConfig())


def test_environment():
    """The request wins over the image, and the image over what is always there."""
    request = RunRequest(image="i", env=("A=3", "B=4"), tty=True)

    assert environment_of(request, RunConfig(env=("A=1", "PATH=/x")), "box") == (
        "PATH=/x",
        "HOSTNAME=box",
        "TERM=xterm",
        "A=3",
        "B=4",
    )
