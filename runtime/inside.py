"""
The child's way from a fresh process in new namespaces to the user's program.

Privilege at each phase: `_join` and `_mount` hold every capability and still see the host's files; after
`_pivot` only the sandbox's files exist; `privileges.drop` gives up user, capabilities and system calls;
then execve. The process never returns to its caller: it ends in execve or in `os._exit`. Standard library
only, nothing is imported after the pivot. See namespaces(7), pivot_root(2).
"""

import errno
import json
import os
import select
import socket
import stat
from contextlib import suppress
from typing import Any

from . import accounts, netlink, paths, privileges, program, terminal
from . import syscalls as sc
from .filesystems import Builder
from .rootmount import Root, Scratch, SetupProblem, operation


class Given:
    """What the helper process hands to a child."""

    __slots__ = ("cgroup", "guard", "host_netlink", "own", "plan", "stdio", "step", "unshare")

    def __init__(
        self,
        *,
        step: socket.socket,
        plan: int,
        stdio: tuple[int, int, int],
        guard: int,
        own: tuple[int, int],
        host_netlink: socket.socket | None,
    ) -> None:
        self.step = step
        self.plan = plan
        self.stdio = stdio
        self.guard = guard
        self.own = own
        self.host_netlink = host_netlink
        # Set where clone3 is missing and the child has to do these itself.
        self.unshare = 0
        self.cgroup = -1


def run(given: Given) -> None:
    """Become the program of the plan; report why not and exit otherwise."""
    code = 125
    try:
        _become_program(given)
    except SetupProblem as problem:
        _tell(given.step, {"failed": problem.operation, "errno": problem.number, "detail": problem.detail})
    except accounts.AccountUnknown as problem:
        _tell(given.step, {"unknown_user": str(problem)})
    except program.CannotExecute as problem:
        code = problem.exit_code
        _tell(given.step, {"cannot_execute": str(problem), "exit_code": code})
    except OSError as problem:
        _tell(given.step, {"failed": str(problem.filename), "errno": problem.errno or 0, "detail": ""})
    except BaseException as problem:  # noqa: BLE001 - a forked process must never run its caller's code
        _tell(given.step, {"failed": "set up the sandbox", "errno": 0, "detail": repr(problem)})
    os._exit(code)


def _tell(step: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    with suppress(OSError):
        raw = json.dumps(message).encode()
        if fds:
            socket.send_fds(step, [raw], list(fds), socket.MSG_NOSIGNAL)
        else:
            step.send(raw, socket.MSG_NOSIGNAL)


def _become_program(given: Given) -> None:
    privileges.die_with_parent()
    if _is_over(given.guard):
        os._exit(125)
    with open(given.plan, "rb") as file:
        file.seek(0)
        plan = json.load(file)
    _join(plan, given)
    account = _mount(plan, given)
    os.chdir("/")
    _enter(plan)
    _stdio(plan, given)
    privileges.drop(plan, account)
    env = dict(entry.split("=", 1) for entry in plan["env"])
    if not env.get("HOME"):
        env["HOME"] = account.home
    sc.close_range_on_exec(3)
    program.execute(plan["argv"], env, given.own)


def _is_over(guard: int) -> bool:
    """Tell whether the helper died before the kernel knew to kill us with it."""
    poller = select.poll()
    poller.register(guard, select.POLLIN)
    return bool(poller.poll(0))


def _join(plan: dict[str, Any], given: Given) -> None:
    """Leave the helper's session and control groups."""
    os.setsid()
    os.umask(0o022)
    for path in plan["cgroup_procs"]:
        with operation(f"enter control group {path}"):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, b"0")
            os.close(fd)
    if given.cgroup >= 0:
        with operation("enter the control group"):
            fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=given.cgroup)
            os.write(fd, b"0")
            os.close(fd)
    if given.unshare:
        with operation("make namespaces"):
            sc.unshare(given.unshare)


def _mount(plan: dict[str, Any], given: Given) -> accounts.Account:
    """Build the file system of the sandbox and make it the root."""
    with operation("make mounts private"):
        sc.mount("", "/", "", sc.MS_SLAVE | sc.MS_REC)
    root = Root(plan["root"], plan)
    scratch = Scratch()
    builder = Builder(plan, scratch)
    # Binds are opened first: the scratch and the root will cover the directory they are attached to.
    builder.prepare([mount for mount in plan["mounts"] if mount["kind"] == "Bind"])
    scratch.attach(root.anchor)
    builder.prepare([mount for mount in plan["mounts"] if mount["kind"] != "Bind"])
    fixed = [(mount["target"], True) for mount in plan["fixed"] if mount["kind"] != "CgroupView"]
    builder.root = root.attach([*fixed, *_outside_fixed(builder.targets())], scratch)
    builder.fixed(plan["fixed"])
    _network(plan, given, builder)
    builder.attach_prepared(plan["mounts"])
    account = _account(plan, builder.root)
    _make_cwd(plan, builder.root, account)
    builder.hide(plan["masked"], plan["readonly"])
    if plan["readonly_root"]:
        sc.mount_setattr(builder.root, sc.MOUNT_ATTR_RDONLY)
    if plan["tty"]:
        master = terminal.open_inside(builder, plan["tty"], account.uid)
        _tell(given.step, {"terminal": True}, (master,))
        os.close(master)
    if builder.stubs:
        _tell(given.step, {"stubs": builder.stubs})
    _pivot(builder.root)
    return account


def _outside_fixed(targets: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    return [(path, kind) for path, kind in targets if path.split("/")[1] not in ("dev", "proc", "sys")]


def _network(plan: dict[str, Any], given: Given, builder: Builder) -> None:
    """Bring up what the new network namespace needs, before /proc/sys becomes read-only."""
    if not plan["new_network"]:
        return
    with operation("bring the loopback interface up"):
        netlink.loopback_up()
    if plan["link"] is not None and given.host_netlink is not None:
        with operation("connect to the private network"):
            netlink.connect(given.host_netlink, plan["link"])
    for name, value in plan["sysctls"]:
        # Opened below the descriptor of our own proc mount: a path could lead somewhere else by now.
        with operation(f"set {name}"):
            fd = os.open(f"sys/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=builder.proc)
            os.write(fd, value.encode())
            os.close(fd)


def _account(plan: dict[str, Any], root: int) -> accounts.Account:
    with operation("read the users of the root file system"):
        passwd = paths.read_in_root(root, "/etc/passwd", accounts.READ_LIMIT).decode(errors="surrogateescape")
        group = paths.read_in_root(root, "/etc/group", accounts.READ_LIMIT).decode(errors="surrogateescape")
    return accounts.lookup(plan["user"], passwd, group)


def _make_cwd(plan: dict[str, Any], root: int, account: accounts.Account) -> None:
    try:
        os.close(paths.open_in_root(root, plan["cwd"]))
    except FileNotFoundError:
        with operation(f"make working directory {plan['cwd']}"):
            owner = (account.uid, account.gid)
            paths.make_in_root(root, plan["cwd"], directory=True, mode=0o755, owner=owner)


def _pivot(root: int) -> None:
    with operation("change the root"):
        old = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(root)
        sc.pivot_root(".", ".")
        os.fchdir(old)
        # Nothing that is unmounted here may be unmounted on the host as well.
        sc.mount("", ".", "", sc.MS_SLAVE | sc.MS_REC)
        sc.umount2(".", sc.MNT_DETACH)
        os.close(old)


def _enter(plan: dict[str, Any]) -> None:
    with operation("set the host name"):
        sc.sethostname(plan["hostname"])
    with operation(f"enter working directory {plan['cwd']}"):
        os.chdir(plan["cwd"])
        here = os.getcwd()
    if not here.startswith("/"):
        # "(unreachable)/...": a descriptor of the host leaked in and the program would start outside.
        raise SetupProblem("enter working directory", errno.EXDEV, here)


def _stdio(plan: dict[str, Any], given: Given) -> None:
    if plan["tty"]:
        terminal.take()
        return
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number, fd in enumerate(given.stdio):
        os.dup2(null if fd < 0 or _is_null(fd) else fd, number)
    os.close(null)


def _is_null(fd: int) -> bool:
    """Tell whether it is the host's /dev/null, which the sandbox's own replaces."""
    found = os.fstat(fd)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)
