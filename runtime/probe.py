"""
What this machine allows, found by trying it in a child process, with the reason and the remedy.

For `pybuild doctor` and for tests that need a kernel feature. Nothing tried here outlives the call.
"""

import errno
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from . import network, seccomp, userns
from . import syscalls as sc
from .bridge import BRIDGE, find_bridge
from .cgroup_hierarchies import find_hierarchies
from .namespaces import current_id_map
from .rootmount import Scratch, SetupProblem, filesystem, overlay


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One ability of the machine; `remedy` is empty where nothing needs one."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def probe() -> list[Capability]:
    """Return every ability in the order people read them; takes a few tens of milliseconds."""
    return [
        _identity(),
        _user_namespaces(),
        _subordinate_ids(),
        _namespaces(),
        _proc(),
        _overlay(),
        _seccomp(),
        _control_groups(),
        _private_network(),
        _forwarding(),
    ]


def can_sandbox() -> Capability:
    """Return whether a sandbox can run here, by root's privilege or after entering a user namespace."""
    needed = [item for item in (_namespaces(), _proc(), _overlay()) if not item.ok]
    return needed[0] if needed else Capability(name="sandbox", ok=True, detail="everything needed is there")


def _attempt(action: Callable[[], object]) -> tuple[int, str]:
    """Run an action in a child, as root of a user namespace if this process is not root; return its errno."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        number, detail = 0, ""
        try:
            if userns.needs_reentry():
                _become_root()
            action()
        except SetupProblem as problem:
            number, detail = problem.number or errno.EIO, problem.detail
        except OSError as problem:
            number, detail = problem.errno or errno.EIO, str(problem.filename)
        except BaseException as problem:  # noqa: BLE001 - a forked process must never run its caller's code
            number, detail = errno.EIO, repr(problem)
        os.write(writer, f"{number} {detail}".encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read().decode(errors="replace")
    os.waitpid(child, 0)
    text, _, detail = answer.partition(" ")
    return (int(text) if text else errno.EIO), detail


def _become_root() -> None:
    uid, gid = os.geteuid(), os.getegid()
    sc.unshare(sc.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _result(name: str, action: Callable[[], object], good: str, remedy: str) -> Capability:
    number, detail = _attempt(action)
    if not number:
        return Capability(name=name, ok=True, detail=good)
    reason = os.strerror(number) + (f" ({detail})" if detail else "")
    return Capability(name=name, ok=False, detail=reason, remedy=remedy)


def _identity() -> Capability:
    kind = current_id_map()
    return Capability(name="ids", ok=True, detail=f"uid {os.getuid()} in {kind.describe()}")


def _user_namespaces() -> Capability:
    remedy = "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone or the AppArmor restriction"
    return _result("user namespaces", lambda: sc.unshare(sc.CLONE_NEWUSER), "allowed", f"{remedy} of Ubuntu")


def _subordinate_ids() -> Capability:
    ranges = userns.subordinate_ranges(os.getuid())
    tools = shutil.which("newuidmap") and shutil.which("newgidmap")
    if ranges and tools:
        return Capability(name="subordinate ids", ok=True, detail=f"{ranges[0][1]} ids from {ranges[0][0]}")
    if os.getuid() == 0:
        return Capability(name="subordinate ids", ok=True, detail="not needed by root")
    detail = "no range for this user" if tools else "newuidmap is not installed"
    remedy = "install uidmap and add this user to /etc/subuid and /etc/subgid; without it only uid 0 exists"
    return Capability(name="subordinate ids", ok=False, detail=detail, remedy=remedy)


def _all_namespaces() -> None:
    sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWPID | sc.CLONE_NEWIPC | sc.CLONE_NEWUTS | sc.CLONE_NEWNET)
    sc.mount("", "/", "", sc.MS_SLAVE | sc.MS_REC)


def _namespaces() -> Capability:
    remedy = "run as root, or allow user namespaces (see above); in a container, permit unshare and mount"
    return _result("namespaces", _all_namespaces, "mount, pid, ipc, uts, net", remedy)


def _proc() -> Capability:
    def mount_proc() -> None:
        _all_namespaces()
        child = os.fork()
        if child == 0:
            try:
                filesystem("proc", [])
            except SetupProblem as problem:
                os._exit(problem.number or errno.EIO)
            os._exit(0)
        number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if number:
            raise OSError(number, os.strerror(number), "mount proc")

    remedy = "the surrounding container masks /proc: --security-opt systempaths=unconfined"
    return _result("proc", mount_proc, "mountable", remedy)


def _overlay() -> Capability:
    with tempfile.TemporaryDirectory(prefix="pybuild-probe-") as directory:
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{directory}/{name}")
        rootless = userns.needs_reentry() or current_id_map().kind != "root"

        def mount_overlay() -> None:
            _all_namespaces()
            lower, upper, work = (
                os.open(f"{directory}/{name}", sc.O_PATH | os.O_DIRECTORY)
                for name in ("lower", "upper", "work")
            )
            overlay(Scratch(), [lower], upper=upper, work=work, userns=rootless)

        found = _result(
            "overlay",
            mount_overlay,
            "mountable, with its upper directory in the temporary directory",
            "keep the build state on ext4, xfs, btrfs or tmpfs; an overlay cannot hold an upper directory",
        )
        with suppress(OSError):
            # The kernel leaves it with mode 000.
            os.chmod(os.path.join(directory, "work", "work"), 0o700)
        return found


def _seccomp() -> Capability:
    machine = platform.machine()
    if not seccomp.supported(machine):
        return Capability(
            name="seccomp", ok=False, detail=f"no profile for {machine}", remedy="switch it off"
        )

    def load() -> None:
        sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
        sc.seccomp_filter(seccomp.program(machine, 0))

    return _result("seccomp", load, f"profile for {machine}", "a kernel with CONFIG_SECCOMP_FILTER")


def _control_groups() -> Capability:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        found = find_hierarchies(file.read())
    places = [*found.v1.values(), *([found.unified] if found.unified else [])]
    writable = [place for place in places if os.access(place, os.W_OK)]
    detail = found.describe()
    if places and len(writable) == len(places):
        return Capability(name="control groups", ok=True, detail=detail)
    remedy = "limits need root or a delegated group (systemd: Delegate=yes); everything else works without"
    return Capability(name="control groups", ok=False, detail=f"{detail}, not writable", remedy=remedy)


def _private_network() -> Capability:
    if not network.may_make_private(current_id_map()):
        remedy = "run as root; as an ordinary user sandboxes use the machine's network"
        return Capability(name="private network", ok=False, detail="needs root", remedy=remedy)
    bridge = find_bridge()
    detail = f"{BRIDGE} with {bridge.network}" if bridge else "possible; made when first used"
    return Capability(name="private network", ok=True, detail=detail)


def _forwarding() -> Capability:
    from . import network_bridge

    if not network.may_make_private(current_id_map()):
        return Capability(name="forwarding", ok=True, detail="not needed without a private network")
    if not network_bridge.drops_forwarded():
        return Capability(name="forwarding", ok=True, detail="not dropped by policy")
    if network_bridge.is_let_through():
        return Capability(name="forwarding", ok=True, detail="dropped by policy, with rules for the bridge")
    return Capability(
        name="forwarding",
        ok=find_bridge() is None,
        detail="the FORWARD chain drops by policy (Docker sets that)",
        remedy=f"iptables -I FORWARD -i {BRIDGE} -j ACCEPT; made when the bridge is first used",
    )
