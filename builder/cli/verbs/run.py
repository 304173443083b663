"""
``pybuild run``: a command in an image, in the foreground; flags as ``docker run`` has them.

The container and its changes are gone when the command ends. Exit status: the command's own, 125 when pybuild
failed, 126 when the command cannot be executed, 127 when there is no such command.
"""

from __future__ import annotations

import argparse
import sys

from ...errors import InvalidOption, Unsupported
from ...running import RunRequest, Volume
from ..options import verb
from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Run the verb."""
    args = _parser().parse_args(arguments)
    settings = Settings.read(args.root)
    request = _request(args, settings)
    from ..foreground import run

    return run(request, settings, pull=args.pull)


def _parser() -> argparse.ArgumentParser:
    p = verb("run", "Run a command in an image.", usage="[OPTIONS] IMAGE [COMMAND] [ARG...]")
    p.add_argument("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="environment")
    p.add_argument("--env-file", action="append", default=[], metavar="FILE", help="file of such lines")
    p.add_argument("-w", "--workdir", default="", metavar="DIR", help="working directory")
    p.add_argument("-u", "--user", default="", metavar="USER[:GROUP]", help="user, by name or number")
    p.add_argument(
        "-v", "--volume", action="append", default=[], metavar="HOST:DIR[:ro]", help="bind a host path"
    )
    p.add_argument("--rm", action="store_true", help="nothing is kept anyway; accepted as docker has it")
    p.add_argument("--network", default="default", metavar="MODE", help="default, none, host or private")
    p.add_argument("--entrypoint", metavar="COMMAND", help="instead of the image's")
    p.add_argument("--hostname", default="", metavar="NAME", help="name of the machine inside")
    p.add_argument("-i", "--interactive", action="store_true", help="pass standard input on")
    p.add_argument("-t", "--tty", action="store_true", help="make a terminal (default: if there is one)")
    p.add_argument("--read-only", action="store_true", help="make the root filesystem read-only")
    p.add_argument("--privileged", action="store_true", help="keep all capabilities, drop the filters")
    p.add_argument("-m", "--memory", default="", metavar="BYTES", help="memory limit, as in 512m")
    p.add_argument("--cpus", type=float, default=0.0, metavar="N", help="limit on processors, as in 1.5")
    p.add_argument("--pids-limit", type=int, default=0, metavar="N", help="limit on processes")
    p.add_argument("--pull", action="store_true", help="ask the registry for a newer image first")
    p.add_argument("image", metavar="IMAGE", help="name or ID")
    p.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="instead of the image's")
    return p


def _request(args: argparse.Namespace, settings: Settings) -> RunRequest:
    if args.network not in ("default", "none", "host", "private"):
        raise InvalidOption(f"--network {args.network}: expected default, none, host or private")
    wants_tty = args.tty or (not args.interactive and sys.stdin.isatty() and sys.stdout.isatty())
    if args.tty and not sys.stdin.isatty():
        raise InvalidOption("the input device is not a TTY", hint="leave -t out, or run in a terminal")
    return RunRequest(
        image=args.image,
        command=tuple(args.command),
        entrypoint=args.entrypoint,
        env=tuple(_environment(args, settings)),
        workdir=args.workdir,
        user=args.user,
        volumes=tuple(_volume(text) for text in args.volume),
        network=args.network,
        hostname=args.hostname,
        tty=wants_tty,
        interactive=args.interactive or wants_tty,
        read_only=args.read_only,
        privileged=args.privileged,
        memory=_bytes(args.memory) if args.memory else 0,
        cpus=args.cpus,
        pids=args.pids_limit,
    )


def _environment(args: argparse.Namespace, settings: Settings) -> list[str]:
    lines = []
    for path in args.env_file:
        with open(path, encoding="utf-8") as stream:
            lines += [line.rstrip("\n") for line in stream if line.strip() and not line.startswith("#")]
    out = []
    for text in [*lines, *args.env]:
        name, equals, _ = text.partition("=")
        if not name:
            raise InvalidOption(f"--env {text!r}: the name is empty")
        if equals:
            out.append(text)
        elif name in settings.environment:
            out.append(f"{name}={settings.environment[name]}")
        # docker: a bare name that is not set here is not set there.
    return out


def _volume(text: str) -> Volume:
    source, colon, rest = text.partition(":")
    target, _, options = rest.partition(":")
    if not colon:
        raise Unsupported(
            f"--volume {text}: anonymous volumes are not supported", hint="HOST:DIR binds a path"
        )
    if not source.startswith(("/", ".", "~")):
        raise Unsupported(
            f"--volume {text}: named volumes are not supported", hint="bind a path: ./data:/data"
        )
    if not target.startswith("/"):
        raise InvalidOption(f"--volume {text}: {target!r} is not an absolute path in the container")
    words = [word for word in options.split(",") if word]
    unknown = [word for word in words if word not in ("ro", "rw", "z", "Z")]
    if unknown:
        raise Unsupported(f"--volume {text}: option {unknown[0]!r} is not supported")
    return Volume(source=source, target=target, readonly="ro" in words)


_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _bytes(text: str) -> int:
    number, unit = text.lower().removesuffix("b") or text, "b"
    if number[-1:] in _UNITS:
        number, unit = number[:-1], number[-1]
    try:
        count = int(float(number) * _UNITS[unit])
    except ValueError as problem:
        raise InvalidOption(f"--memory {text}: expected a number of bytes, as in 512m") from problem
    if count < 6 << 20:
        raise InvalidOption(f"--memory {text}: the minimum is 6m")
    return count
