"""
What a build grants to its RUN instructions: secrets, agents, hosts, limits, entitlements; flags as docker's.

Values of secrets are read here, go to the sandbox, and are part of no message.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InvalidOption
from ..request import Bounds
from ..ssh import AgentSource

LOCAL_DELETE = "buildx.local.delete"
ENTITLEMENTS = ("network.host", "security.insecure", "device", LOCAL_DELETE)
_LARGEST_SECRET = 500 << 10
_LONGEST_COUNT = 12
_USUAL_PERIOD = 100_000
_ULIMIT = re.compile(r"([a-z]+)=(-1|\d+)(?::(-1|\d+))?")
_ULIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Values of secrets by id, which no representation shows, and agents by id; what to say about them."""

    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh: Mapping[str, AgentSource] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def read_granted(args: argparse.Namespace, environment: Mapping[str, str]) -> Granted:
    """
    Read secrets, and find agents.

    Raises:
        InvalidOption: a value is malformed, or what it names cannot be read.
    """
    secrets, notices = {}, []
    for text in args.secret:
        name, value, notice = _secret(text, environment)
        secrets[name] = value
        notices += [notice] if notice else []
    ssh = dict(_agent(text, environment) for text in args.ssh)
    return Granted(secrets=secrets, ssh=ssh, notices=tuple(notices))


def _secret(text: str, environment: Mapping[str, str]) -> tuple[str, bytes, str]:
    """The id and the value, and a warning if there is a reason for one."""
    values = _fields(text)
    kind = values.pop("type", "")
    if kind not in ("", "file", "env"):
        raise InvalidOption(f"--secret type={kind}: expected file or env")
    name = values.pop("id", "")
    path = values.pop("source", "") or values.pop("src", "")
    variable = values.pop("env", "")
    if values:
        raise InvalidOption(
            f"--secret: unexpected key {next(iter(values))!r}", hint="as in --secret id=token,src=FILE"
        )
    if not name:
        raise InvalidOption("--secret: the id is missing", hint="as in --secret id=token,src=FILE")
    if kind == "env" and not variable:
        path, variable = "", path or name
    if not path and not variable:
        path, variable = ("", name) if name in environment else (name, "")
    if not variable:
        return name, _read_secret(name, path), ""
    # What is not set is an empty secret, as with docker: it is there also where it is required.
    unset = f"--secret id={name}: {variable} is not set in the environment, so the secret is empty"
    return name, os.fsencode(environment.get(variable, "")), "" if variable in environment else unset


def _fields(text: str) -> dict[str, str]:
    from dockerfile_grammar.golang import csv_fields

    values: dict[str, str] = {}
    try:
        words = csv_fields(text)
    except ValueError as problem:
        raise InvalidOption(
            "--secret: misplaced quotes", hint="quote a field as a whole: --secret 'id=token,\"src=a,b\"'"
        ) from problem
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            # The word is not shown: it may be the secret itself.
            raise InvalidOption(
                "--secret: every field must be KEY=VALUE", hint="as in --secret id=token,src=FILE"
            )
        values[key.lower()] = value
    return values


def _read_secret(name: str, path: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            value = stream.read(_LARGEST_SECRET + 1)
    except OSError as problem:
        raise InvalidOption(f"--secret id={name}: cannot read {path}: {problem.strerror}") from problem
    if len(value) > _LARGEST_SECRET:
        raise InvalidOption(f"--secret id={name}: {path} is larger than {_LARGEST_SECRET} bytes")
    return value


def _agent(text: str, environment: Mapping[str, str]) -> tuple[str, AgentSource]:
    name, _, rest = text.partition("=")
    if not name:
        raise InvalidOption(f"--ssh {text}: the id is missing", hint="as in --ssh default")
    paths = [path for path in rest.split(",") if path]
    if not paths:
        socket = environment.get("SSH_AUTH_SOCK", "")
        if not socket:
            raise InvalidOption(
                f"--ssh {text}: there is no agent, SSH_AUTH_SOCK is not set",
                hint=f"start one with eval $(ssh-agent), or name a key: --ssh {name}=FILE",
            )
        paths = [socket]
    paths = [os.path.abspath(os.path.expanduser(path)) for path in paths]
    sockets = [path for path in paths if _is_socket(name, path)]
    if directories := [path for path in paths if os.path.isdir(path)]:
        raise InvalidOption(f"--ssh {name}: cannot read {directories[0]}: {os.strerror(errno.EISDIR)}")
    if sockets and len(paths) > 1:
        raise InvalidOption(f"--ssh {text}: the socket of an agent cannot be combined with other paths")
    return name, AgentSource(socket=sockets[0]) if sockets else AgentSource(keys=tuple(paths))


def _is_socket(name: str, path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as problem:
        raise InvalidOption(f"--ssh {name}: cannot read {path}: {problem.strerror}") from problem


def read_bounds(args: argparse.Namespace) -> Bounds:
    """
    The limits of RUN.

    Raises:
        InvalidOption: a value is malformed.
    """
    return Bounds(
        shm_size=_size("--shm-size", args.shm_size),
        ulimits=tuple(_ulimit(text) for text in args.ulimit),
        cgroup_parent=_group(args.cgroup_parent or ""),
        memory=_size("--memory", args.memory),
        memory_swap=_memory_swap(args),
        cpus=_cpus(args),
        cpu_shares=_count("--cpu-shares", args.cpu_shares),
        cpuset_cpus=_cpuset("--cpuset-cpus", args.cpuset_cpus),
        cpuset_mems=_cpuset("--cpuset-mems", args.cpuset_mems),
    )


def _size(flag: str, text: str | None) -> int:
    from dockerfile_grammar.golang import parse_size

    if not text:
        return 0
    try:
        return parse_size(text)
    except ValueError as problem:
        raise InvalidOption(f"{flag}: {problem}", hint=f"as in {flag} 128m") from problem


def _memory_swap(args: argparse.Namespace) -> int:
    if args.memory_swap == "-1":
        return -1
    size, memory = _size("--memory-swap", args.memory_swap), _size("--memory", args.memory)
    if size and not memory:
        raise InvalidOption("--memory-swap needs --memory, too: it bounds memory and swap together")
    if 0 < size < memory:
        raise InvalidOption("--memory-swap bounds memory and swap together, and is smaller than --memory")
    return size


def _cpus(args: argparse.Namespace) -> float:
    """A quota for each period as a number of processors."""
    period = _count("--cpu-period", args.cpu_period) or _USUAL_PERIOD
    if not 1000 <= period <= 1_000_000:  # what the kernel takes, cgroups(7)
        raise InvalidOption(f"--cpu-period {period}: expected 1000 to 1000000 microseconds")
    return _count("--cpu-quota", args.cpu_quota) / period


def _count(flag: str, text: str | None) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_COUNT):
        raise InvalidOption(f"{flag} {text}: expected a number")
    return int(text)


def _cpuset(flag: str, text: str | None) -> str:
    if text and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text, re.ASCII):
        raise InvalidOption(f"{flag} {text}: expected numbers and ranges, as in 0-3,7")
    return text or ""


def _group(text: str) -> str:
    """A control group as a path from the root of the hierarchies, without slashes around it."""
    path = text.strip("/")
    parts = path.split("/")
    if text and (not path or any(part in ("", ".", "..") for part in parts) or "\n" in text):
        raise InvalidOption(f"--cgroup-parent {text}: expected the path of a control group, as in /builds")
    return path


def read_cache_limit(text: str, name: str = "--cache-limit") -> int | None:
    """
    The limit of the build cache in bytes; None for none.

    Raises:
        InvalidOption: it is no size.
    """
    from dockerfile_grammar.golang import parse_size

    if not text:
        return None
    try:
        return parse_size(text)
    except ValueError as problem:
        raise InvalidOption(f"{name}: {problem}", hint="as in 20GB") from problem


def _ulimit(text: str) -> tuple[str, int, int]:
    match = _ULIMIT.fullmatch(text)
    if match is None:
        raise InvalidOption(f"--ulimit {text}: expected NAME=SOFT[:HARD]", hint="as in nofile=1024:4096")
    name, soft, hard = match[1], int(match[2]), int(match[3] or match[2])
    if name not in _ULIMITS:
        raise InvalidOption(f"--ulimit {text}: {name} is not one of {', '.join(_ULIMITS)}")
    if max(soft, hard) >= 1 << 63:
        raise InvalidOption(f"--ulimit {text}: no limit is as high", hint="-1 is no limit")
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidOption(f"--ulimit {text}: the soft limit is above the hard one")
    return name, soft, hard


def read_hosts(texts: list[str]) -> tuple[str, ...]:
    """
    Further names for /etc/hosts.

    Raises:
        InvalidOption: a value is malformed.
    """
    from dockerfile_grammar.golang import csv_fields

    hosts: list[str] = []
    for text in texts:
        try:
            for field in csv_fields(text) if text else ():
                hosts += _host(field)
        except ValueError:
            raise InvalidOption(
                f"--add-host {text}: expected NAME:ADDRESS[,NAME:ADDRESS]",
                hint="as in db:10.0.0.7 or host.example:host-gateway",
            ) from None
    return tuple(hosts)


def _host(text: str) -> list[str]:
    """Lines for /etc/hosts; a name may have several addresses, with commas between them."""
    separators = [mark for mark in "=:" if mark in text]
    name, _, addresses = text.partition(separators[0] if separators else ":")
    if not name or re.search(r"\s", name):
        raise ValueError(text)
    if addresses == "host-gateway":
        return [f"{name}:{addresses}"]
    from ipaddress import ip_address

    return [
        f"{name}:{ip_address(address.removeprefix('[').removesuffix(']'))}"
        for address in addresses.split(",")
    ]


def read_entitlements(texts: list[str]) -> frozenset[str]:
    """
    What the Dockerfile may ask for; which devices exactly, `devices.allowing` reads.

    Raises:
        InvalidOption: there is no such entitlement.
    """
    for text in texts:
        if text not in ENTITLEMENTS and not text.startswith("device="):
            raise InvalidOption(f"--allow {text}: expected one of {', '.join(ENTITLEMENTS)}")
    return frozenset(texts)
