"""
Becoming root in a user namespace: how an ordinary user gets sandboxes.

The whole program is executed a second time inside a user and mount namespace, where it is uid 0 and may
mount and make further namespaces; everything after that is the same as for root. The first process stays
outside, forwards signals and passes the exit status on. See user_namespaces(7), newuidmap(1), subuid(5).
"""

import errno
import os
import pwd
import shutil
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
    uid, gid = os.geteuid(), os.getegid()
    ranges = subordinate_ranges(uid)
    mapper = ranges is not None and shutil.which("newuidmap") and shutil.which("newgidmap")
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    mapped_read, mapped_write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _child(argv, {**env, MARK: "subid" if mapper else "single"}, ready_write, mapped_read)
    os.close(ready_write)
    os.close(mapped_read)
    answer = os.read(ready_read, 16)
    os.close(ready_read)
    if answer != b"ok":
        os.waitpid(child, 0)
        raise _refused(int(answer or b"0"))
    kind = _write_maps(child, uid, gid, ranges if mapper else None)
    os.write(mapped_write, kind.encode())
    os.close(mapped_write)
    _follow(child)


def _child(argv: Sequence[str], env: dict[str, str], ready: int, mapped: int) -> NoReturn:
    parent = os.getppid()
    try:
        # Not dumpable, /proc/PID/uid_map would belong to root and the mapping fail.
        sc.unshare(sc.CLONE_NEWUSER)
    except OSError as problem:
        os.write(ready, str(problem.errno).encode())
        os._exit(1)
    os.write(ready, b"ok")
    kind = os.read(mapped, 16)
    if not kind:
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
            sys.executable, [sys.executable, *argv], {**env, MARK: kind.decode()}
        )
    except OSError as problem:
        remedy = f"pybuild: cannot enter a user namespace: {problem.filename}: {problem.strerror}\n"
        os.write(2, remedy.encode())
    os._exit(1)


def _write_maps(child: int, uid: int, gid: int, ranges: "Ranges | None") -> str:
    """Map ids for the child: a range with the setuid helpers where they work, else our own id alone."""
    if ranges is not None:
        uids = [0, uid, 1, 1, *ranges[0]]
        gids = [0, gid, 1, 1, *ranges[1]]
        done = [
            subprocess.run(
                [tool, str(child), *map(str, numbers)], capture_output=True, check=False
            ).returncode
            for tool, numbers in (("newgidmap", gids), ("newuidmap", uids))
        ]
        if not any(done):
            return "subid"
        if _is_mapped(child):
            # Half a map cannot be replaced: the kernel accepts each file once.
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise NotPermitted(
                "newuidmap failed after newgidmap succeeded", "check /etc/subuid and /etc/subgid"
            )
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        try:
            with open(f"/proc/{child}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        except OSError as problem:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise SetupFailed(f"write {name}", problem.errno or 0) from problem
    return "single"


def _is_mapped(child: int) -> bool:
    with open(f"/proc/{child}/gid_map", encoding="ascii") as gids:
        return bool(gids.read().strip())


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
