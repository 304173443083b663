"""
The child's way from a fresh process in new namespaces to the user's program.

Privilege at each phase: `wait`, `_join` and `_mount` hold every capability and still see the host's files;
after `_pivot` only the sandbox's files exist; `privileges.drop` gives up user, capabilities and system calls;
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

from . import accounts, devicenodes, netlink, paths, privileges, program, terminal
from . import syscalls as sc
from .ground import Ground
from .rootmount import Root, SetupProblem, operation

MAX_FDS = 6
_READY = b"ready"


class Surety:
    """What every child of a helper gets from it, whatever it will run."""

    __slots__ = ("guard", "host_netlink", "own")

    def __init__(self, guard: int, own: tuple[int, int], host_netlink: socket.socket | None) -> None:
        self.guard = guard
        self.own = own
        self.host_netlink = host_netlink


class Given:
    """What the helper process hands to a child for one sandbox."""

    __slots__ = ("cgroup", "plan", "stdio", "step", "surety", "unshare")

    def __init__(self, surety: Surety, step: socket.socket, plan: int, stdio: tuple[int, int, int]) -> None:
        self.surety = surety
        self.step = step
        self.plan = plan
        self.stdio = stdio
        # Set where clone3 is missing and the child has to do these itself.
        self.unshare = 0
        self.cgroup = -1


def wait(surety: Surety, orders: socket.socket, needs: dict[str, Any]) -> None:
    """
    Prepare for a sandbox that is not known yet, wait for it, and run it; or exit when there is none.

    The helper is told on `orders` that this child is ready, and sends it the descriptors of a sandbox there.
    """
    try:
        privileges.die_with_parent()
        if _is_over(surety.guard):
            os._exit(125)
        _join(needs["cgroup_procs"])
        ground = Ground(needs)
        ground.lay_ahead()
        orders.send(_READY, socket.MSG_NOSIGNAL)
        _, fds, _, _ = socket.recv_fds(orders, len(_READY), MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    except BaseException:  # noqa: BLE001 - a forked process must never run its caller's code
        # The helper makes the next child as ever, and that one says what is wrong.
        os._exit(125)
    if not fds:
        os._exit(0)
    run(Given(surety, socket.socket(fileno=fds[0]), fds[1], (fds[2], fds[3], fds[4])), ground)


def run(given: Given, ground: Ground | None = None) -> None:
    """Become the program of the plan, on a ground that may be there; report why not and exit otherwise."""
    code = 125
    try:
        _become_program(given, ground)
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


def _become_program(given: Given, ground: Ground | None) -> None:
    privileges.die_with_parent()
    if _is_over(given.surety.guard):
        os._exit(125)
    with open(given.plan, "rb") as file:
        file.seek(0)
        plan = json.load(file)
    if ground is None:
        _join(plan["cgroup_procs"], given.cgroup, given.unshare)
        ground = Ground(plan)
    account = _mount(plan, given, ground)
    os.chdir("/")
    _enter(plan)
    _stdio(plan, given)
    privileges.drop(plan, account)
    env = dict(entry.split("=", 1) for entry in plan["env"])
    if not env.get("HOME"):
        env["HOME"] = account.home
    sc.close_range_on_exec(3)
    program.execute(plan["argv"], env, given.surety.own)


def _is_over(guard: int) -> bool:
    """Tell whether the helper died before the kernel knew to kill us with it."""
    poller = select.poll()
    poller.register(guard, select.POLLIN)
    return bool(poller.poll(0))


def _join(cgroup_procs: list[str], cgroup: int = -1, unshare: int = 0) -> None:
    """Leave the helper's session and control groups."""
    os.setsid()
    os.umask(0o022)
    for path in cgroup_procs:
        with operation(f"enter control group {path}"):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, b"0")
            os.close(fd)
    if cgroup >= 0:
        with operation("enter the control group"):
            fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=cgroup)
            os.write(fd, b"0")
            os.close(fd)
    if unshare:
        with operation("make namespaces"):
            sc.unshare(unshare)


def _mount(plan: dict[str, Any], given: Given, ground: Ground) -> accounts.Account:
    """Build the file system of the sandbox and make it the root."""
    root = Root(plan["root"], plan)
    builder = ground.builder
    builder.plan = plan
    # Binds are opened first: the ground and the root will cover the directory they are attached to.
    builder.prepare([mount for mount in plan["mounts"] if mount["kind"] == "Bind"])
    ground.lay(root.anchor)
    builder.prepare([mount for mount in plan["mounts"] if mount["kind"] != "Bind"])
    fixed = [(mount["target"], True) for mount in plan["fixed"]]
    ground.settle(root.attach([*fixed, *_outside_fixed(builder.targets())], ground.scratch))
    if plan["link"] is not None and given.surety.host_netlink is not None:
        with operation("connect to the private network"):
            netlink.connect(given.surety.host_netlink, plan["link"])
    builder.attach_prepared(plan["mounts"])
    account = _account(plan, builder.root)
    devicenodes.own(builder.scratch, plan["mounts"], account)
    _make_cwd(plan, builder.root, account)
    if plan["fixed_targets"]:
        # A mount that was asked for inside /proc or /sys may cover what hides them.
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
