"""
What a build reads before it is planned: which context, which Dockerfile with its bytes, and values of ARGs.

Loaded before a recorded build is looked for, so it imports nothing but the standard library's smallest parts
(and the errors, once there is one).
"""

from __future__ import annotations

import os
import sys

from .roots import home

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take the name for True; importing typing would take long
    import argparse
    from collections.abc import Mapping

DOCKERFILE_LIMIT = 32 << 20
_CONFIG_LIMIT = 1 << 20
_PROXIES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "ftpProxy": "FTP_PROXY",
    "noProxy": "NO_PROXY",
    "allProxy": "ALL_PROXY",
}
DOCKERFILES = ("Dockerfile", "dockerfile", "Containerfile")
"""What a Dockerfile may be called that ``-f`` does not name; the first that is there is taken."""


class Inputs:
    """
    A context directory and a Dockerfile; no dataclass, whose machinery takes longer to load than a replay.

    `name` is how messages call the Dockerfile, `path` where it is (None for standard input). `context_time`
    is the time of a context that is no directory here, in Unix seconds.
    """

    __slots__ = ("build_args", "context", "context_time", "dockerfile", "name", "path")

    def __init__(
        self, context: str, dockerfile: bytes, name: str, path: str | None, build_args: dict[str, str]
    ) -> None:
        self.context = context
        self.dockerfile = dockerfile
        self.name = name
        self.path = path
        self.build_args = build_args
        self.context_time: int | None = None


def read_inputs(args: argparse.Namespace, environment: Mapping[str, str]) -> Inputs:
    """
    Find and read what the arguments name.

    Raises:
        InvalidContext: the context or the Dockerfile cannot be read.
        InvalidOption: a build argument without a name.
    """
    context = context_directory(args.context)
    dockerfile, name, path = _dockerfile(args.file, context)
    return Inputs(context, dockerfile, name, path, build_args(args.build_arg, environment))


def ignore_file(inputs: Inputs) -> bytes | None:
    """
    The bytes of the ignore file that applies, None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    names = [f"{inputs.path}.dockerignore"] if inputs.path else []
    for path in [*names, os.path.join(inputs.context, ".dockerignore")]:
        try:
            with open(path, "rb") as stream:
                return stream.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
    return None


def is_remote(context: str) -> bool:
    """Whether a context has to be fetched, or read from standard input, before it is a directory."""
    if os.path.isdir(context):
        return False
    is_scp = "@" in context and ":" in context.partition("@")[2]
    return context == "-" or "://" in context or is_scp or context.startswith("github.com/")


def is_address(file: str | None) -> bool:
    """Whether a Dockerfile has to be fetched."""
    return file is not None and file.startswith(("http://", "https://"))


def context_directory(text: str) -> str:
    """
    The absolute path of a build context.

    Raises:
        InvalidContext: it is no directory.
    """
    if not os.path.isdir(text):
        from ..errors import InvalidContext

        found = "is not a directory" if os.path.exists(text) else "does not exist"
        raise InvalidContext(f"the build context {text} {found}")
    return os.path.abspath(text)


def _dockerfile(file: str | None, context: str) -> tuple[bytes, str, str | None]:
    if file == "-":
        raw = sys.stdin.buffer.read(DOCKERFILE_LIMIT + 1)
        if os.geteuid() != 0:
            _give_back(raw)
        return _bounded(raw, "standard input"), "-", None
    if file:
        path = file
    else:
        paths = [os.path.join(context, name) for name in DOCKERFILES]
        path = next((path for path in paths if os.path.exists(path)), paths[0])
    name = file or os.path.basename(path)
    try:
        with open(path, "rb") as stream:
            raw = stream.read(DOCKERFILE_LIMIT + 1)
    except OSError as problem:
        raise _unreadable(path, problem, named=bool(file)) from problem
    return _bounded(raw, path), name, os.path.abspath(path)


def _give_back(raw: bytes) -> None:
    """Let standard input be read once more: an ordinary user's call may execute itself again."""
    spool = os.memfd_create("stdin")
    with os.fdopen(spool, "wb", closefd=False) as stream:
        stream.write(raw)
    os.lseek(spool, 0, os.SEEK_SET)
    os.dup2(spool, 0, inheritable=True)
    os.close(spool)


def _unreadable(path: str, problem: OSError, *, named: bool) -> Exception:
    from ..errors import InvalidContext

    if isinstance(problem, FileNotFoundError):
        return InvalidContext(
            f"cannot read the Dockerfile: {path} does not exist",
            hint=None if named else "name it with -f FILE",
        )
    return InvalidContext(f"cannot read the Dockerfile: {path}: {problem.strerror}")


def _bounded(raw: bytes, where: str) -> bytes:
    if len(raw) > DOCKERFILE_LIMIT:
        from ..errors import InvalidContext

        raise InvalidContext(f"the Dockerfile {where} is larger than {DOCKERFILE_LIMIT} bytes")
    return raw


def build_args(texts: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    """
    The values of ``--build-arg``; a bare name takes that of the environment.

    Proxies that Docker's config.json has for builds are among them, unless they are given in whatever case.

    Raises:
        InvalidOption: a name is empty.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            from ..errors import InvalidOption

            raise InvalidOption(f"--build-arg {text!r}: the name is empty")
        if equals:
            pairs[name] = value
        elif name in environment:
            pairs[name] = environment[name]
        # A bare name that the environment does not have is not passed at all, as docker does.
    given = {name.upper() for name in pairs}
    pairs |= {name: value for name, value in _proxies(environment).items() if name.upper() not in given}
    return pairs


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """What ``proxies`` of Docker's config.json lets builds have; a broken file is told where it is needed."""
    folder = environment.get("DOCKER_CONFIG") or os.path.join(home(environment), ".docker")
    try:
        with open(os.path.join(folder, "config.json"), "rb") as stream:
            raw = stream.read(_CONFIG_LIMIT)
    except OSError:
        return {}
    import json

    try:
        found = json.loads(raw)["proxies"]["default"]
        values = {name: found[key] for key, name in _PROXIES.items() if found.get(key)}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}
    return {
        spelt: value
        for name, value in values.items()
        if isinstance(value, str)
        for spelt in (name, name.lower())
    }
