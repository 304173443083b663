"""
Becoming root in a user namespace: how an ordinary user gets sandboxes.

The whole program is executed a second time inside a user and mount namespace, where it is uid 0 and may
mount and make further namespaces; everything after that is the same as for root. The first process stays
outside, forwards signals and passes the exit status on. See user_namespaces(7), newuidmap(1), subuid(5).
"""

import errno
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from . import syscalls as sc
from .errors import NotPermitted, SetupFailed
from .namespaces import current_id_map

MARK = "PYBUILD_USERNS"
"""Environment variable that tells the second execution which kind of id map it got."""

_CAP_SYS_ADMIN = 21
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH, signal.SIGUSR1)


def needs_reentry() -> bool:
    """Tell whether this process lacks the privilege to make sandboxes and could gain it by `reenter`."""
    if current_id_map().kind != "root" and os.getuid() == 0:
        return False
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        effective = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    return not int(effective, 16) >> _CAP_SYS_ADMIN & 1


def reenter(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """
    Execute `sys.executable argv` as root of a new user namespace, and exit with its status.

    `env` is the environment of the second execution, to which `MARK` is added. Only for a process with a
    single thread. Raise `NotPermitted` when user namespaces are not allowed here.
    """
    from shutil import which

    ranges = subordinate_ranges(os.geteuid())
    if ranges is not None and which("newuidmap") and which("newgidmap"):
        with suppress(_MapsRefused):
            _follow(_enter(argv, env, ranges))
    try:
        child = _enter(argv, env, None)
    except _MapsRefused as problem:
        raise SetupFailed("map ids", problem.errno or 0, str(problem.filename)) from problem
    _follow(child)


class _MapsRefused(OSError):
    """The id maps could not be written; the child that waited for them is gone."""


def _enter(argv: Sequence[str], env: Mapping[str, str], ranges: "Ranges | None") -> int:
    """Start the second execution in a namespace with the given map and return its process id."""
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    mapped_read, mapped_write = os.pipe2(os.O_CLOEXEC)
    uid, gid = os.geteuid(), os.getegid()
    child = os.fork()
    if child == 0:
        _child(argv, {**env, MARK: "subid" if ranges else "single"}, ready_write, mapped_read)
    os.close(ready_write)
    os.close(mapped_read)
    with open(ready_read, "rb") as pipe:
        answer = pipe.read(16)
    try:
        if answer != b"ok":
            os.waitpid(child, 0)
            raise _refused(int(answer or b"0"))
        try:
            _write_maps(child, uid, gid, ranges)
        except OSError as problem:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise _MapsRefused(problem.errno, problem.strerror, problem.filename) from problem
        os.write(mapped_write, b"ok")
    finally:
        os.close(mapped_write)
    return child


def _child(argv: Sequence[str], env: dict[str, str], ready: int, mapped: int) -> NoReturn:
    parent = os.getppid()
    try:
        sc.unshare(sc.CLONE_NEWUSER)
    except OSError as problem:
        os.write(ready, str(problem.errno).encode())
        os._exit(1)
    os.write(ready, b"ok")
    os.close(ready)
    if not os.read(mapped, 16):
        os._exit(1)
    try:
        os.setgid(0)
        os.setuid(0)
        sc.unshare(sc.CLONE_NEWNS)
        sc.mount("", "/", "", sc.MS_SLAVE | sc.MS_REC)
        sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        # The same program once more, now as root of the namespace.
        os.execve(  # noqa: S606
            sys.executable, [sys.executable, *argv], env
        )
    except OSError as problem:
        remedy = f"pybuild: cannot enter a user namespace: {problem.filename}: {problem.strerror}\n"
        os.write(2, remedy.encode())
    os._exit(1)


def _write_maps(child: int, uid: int, gid: int, ranges: "Ranges | None") -> None:
    """Map ids for the child: our own and a range by the setuid helpers, or our own alone; raise `OSError`."""
    if ranges is None:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/{child}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        return
    for tool, own, (first, count) in (("newuidmap", uid, ranges[0]), ("newgidmap", gid, ranges[1])):
        numbers = map(str, (0, own, 1, 1, first, count))
        done = subprocess.run([tool, str(child), *numbers], capture_output=True, check=False)
        if done.returncode:
            raise OSError(errno.EPERM, done.stderr.decode(errors="replace").strip(), tool)


Ranges = tuple[tuple[int, int], tuple[int, int]]


def subordinate_ranges(uid: int, directory: str = "/etc") -> Ranges | None:
    """Return (first, count) of the user's subordinate uids and gids, or None when either is missing."""
    names = {str(uid)}
    with suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    found = []
    for file in ("subuid", "subgid"):
        try:
            with open(f"{directory}/{file}", encoding="utf-8") as text:
                one = parse_ranges(text.read(), names)
        except OSError:
            return None
        if one is None:
            return None
        found.append(one)
    return found[0], found[1]


def parse_ranges(text: str, names: set[str]) -> tuple[int, int] | None:
    """Return the largest range that the text of /etc/subuid gives to one of the names."""
    best: tuple[int, int] | None = None
    for line in text.splitlines():
        row = line.strip().split(":")
        if len(row) == 3 and row[0] in names and row[1].isdigit() and row[2].isdigit():
            one = (int(row[1]), int(row[2]))
            if one[1] > 0 and (best is None or one[1] > best[1]):
                best = one
    return best


def _refused(number: int) -> NotPermitted:
    if number == errno.ENOSPC:
        remedy = "raise the sysctl user.max_user_namespaces"
    elif number == errno.EPERM:
        remedy = (
            "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, or on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0, or, in a container, a seccomp profile that "
            "permits unshare"
        )
    else:
        remedy = "run as root, or on a kernel with user namespaces"
    return NotPermitted(f"user namespaces are not allowed here: {os.strerror(number)}", remedy)


def _follow(child: int) -> NoReturn:
    """Forward signals to the child and exit as it does."""

    def forward(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _FORWARDED:
        # The terminal sends these to the whole foreground group, the child included.
        from_terminal = number in (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH) and os.isatty(0)
        signal.signal(number, signal.SIG_IGN if from_terminal else forward)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        ended_by = os.WTERMSIG(status)
        if ended_by not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)
    sys.stdout.flush()
    os._exit(os.waitstatus_to_exitcode(status))
