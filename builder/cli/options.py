"""What the verbs' argument parsers share."""

from __future__ import annotations

import argparse


def formatter(prog: str) -> argparse.HelpFormatter:
    """Help with a wide first column, so that flags and their texts stay on one line."""
    return argparse.HelpFormatter(prog, max_help_position=34, width=100)


def add_root(parser: argparse.ArgumentParser) -> None:
    """``--root``, which every verb that touches the store has."""
    parser.add_argument(
        "--root", metavar="DIR", help="store to use (default: PYBUILD_ROOT or the user's own)"
    )


def add_progress(parser: argparse.ArgumentParser) -> None:
    """``--progress`` and ``-q``, which every verb that takes a while has."""
    parser.add_argument(
        "--progress",
        default="auto",
        choices=("auto", "plain", "tty", "json", "rawjson", "quiet"),
        help="how to report; rawjson is BuildKit's form",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_const", dest="progress", const="quiet", help="print the result only"
    )


def add_granted(p: argparse.ArgumentParser) -> None:
    """What a build grants to its RUN instructions; `granted` reads the values."""
    p.add_argument(
        "--build-context",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="directory, address or docker-image://IMAGE in the place of an image or stage",
    )
    p.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="id=ID[,src=FILE|,env=NAME]",
        help="secret for RUN --mount=type=secret",
    )
    p.add_argument(
        "--ssh",
        action="append",
        default=[],
        metavar="ID[=SOCKET|KEY[,KEY]]",
        help='agent for RUN --mount=type=ssh; "default" is that of SSH_AUTH_SOCK',
    )
    p.add_argument(
        "--add-host", action="append", default=[], metavar="NAME:ADDRESS", help="line of /etc/hosts for RUN"
    )
    p.add_argument("--shm-size", metavar="BYTES", help="size of /dev/shm for RUN, as in 128m")
    p.add_argument(
        "--ulimit", action="append", default=[], metavar="NAME=SOFT[:HARD]", help="resource limit for RUN"
    )
    p.add_argument("--cgroup-parent", metavar="GROUP", help="control group whose bounds hold for RUN, too")
    p.add_argument("-m", "--memory", metavar="BYTES", help="memory limit of each RUN, as in 512m")
    p.add_argument("--memory-swap", metavar="BYTES", help="memory and swap of each RUN; -1 is no limit")
    p.add_argument("-c", "--cpu-shares", metavar="N", help="weight of each RUN, 1024 is usual")
    p.add_argument("--cpu-period", metavar="MICROSECONDS", help="period of --cpu-quota, usually 100000")
    p.add_argument("--cpu-quota", metavar="MICROSECONDS", help="processor time of each RUN in a period")
    p.add_argument("--cpuset-cpus", metavar="LIST", help="processors that RUN may use, as in 0-3,7")
    p.add_argument("--cpuset-mems", metavar="LIST", help="memory nodes that RUN may use")
    p.add_argument(
        "--no-cache-filter", action="append", default=[], metavar="STAGE", help="stage to run again"
    )
    p.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="ENTITLEMENT",
        help="let the Dockerfile use network.host, security.insecure or device[=NAME]",
    )


def add_caches(p: argparse.ArgumentParser) -> None:
    """``--cache-from`` and ``--cache-to``, how large the own cache may be, and why it was no use."""
    p.add_argument("--cache-limit", default="", metavar="BYTES", help="what the build cache may take")
    p.add_argument("--explain", action="store_true", help="say of each step that runs why it does")
    p.add_argument(
        "--cache-from",
        action="append",
        default=[],
        metavar="NAME|type=TYPE[,KEY=VALUE]",
        help="cache to import: a registry's (ref=NAME) or a local one (src=DIRECTORY)",
    )
    p.add_argument(
        "--cache-to",
        action="append",
        default=[],
        metavar="NAME|type=TYPE[,KEY=VALUE]",
        help="where to export the cache: registry (ref=NAME), local (dest=DIRECTORY) or inline",
    )


def verb(name: str, description: str, *, usage: str = "", root: bool = True) -> argparse.ArgumentParser:
    """A parser for one verb."""
    parser = argparse.ArgumentParser(
        prog=f"pybuild {name}",
        usage=f"pybuild {name} {usage}" if usage else None,
        description=description,
        formatter_class=formatter,
    )
    if root:
        add_root(parser)
    return parser
