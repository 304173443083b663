"""What a program finds inside, and what it may not do there."""

# The event loop has nothing else to do while a test looks at files.
# ruff: noqa: ASYNC221, ASYNC240

import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import NotPermitted, UnknownUser
from runtime.sandbox import LinuxSandbox
from tests.contract.sandbox.lab import Lab, run, shell

pytestmark = pytest.mark.userns


async def test_only_standard_descriptors(linux: LinuxSandbox, lab: Lab) -> None:
    """Nothing of the host leaks in: only 0, 1 and 2 are open (CVE-2024-21626)."""
    result = await shell(linux, lab, "ls /proc/$$/fd; true")
    assert result.out.split() == ["0", "1", "2"]


async def test_no_mount_of_the_host_is_left(linux: LinuxSandbox, lab: Lab) -> None:
    """The root is one mount that nothing lies over or under, and all others are the sandbox's own."""
    result = await shell(linux, lab, "cut -d' ' -f5 /proc/self/mountinfo; echo; stat -c %d:%i / /..")
    mounts, roots = result.out.split("\n\n")
    points = mounts.split("\n")
    assert points.count("/") == 1
    own = ("/proc", "/dev", "/sys", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
    assert not [point for point in points if point != "/" and not point.startswith(own)]
    assert len(set(roots.split())) == 1


async def test_is_process_one(linux: LinuxSandbox, lab: Lab) -> None:
    """The program is process 1 of its own pid namespace and of its own session."""
    result = await shell(linux, lab, "echo $$; cat /proc/1/stat")
    fields = result.out.split()
    assert fields[0] == "1"
    # pid, command, state, parent, group, session
    assert fields[4:7] == ["0", "1", "1"]


async def test_default_capabilities(linux: LinuxSandbox, lab: Lab) -> None:
    """Root inside has Docker's fourteen capabilities and no inheritable or ambient ones."""
    result = await shell(linux, lab, "grep Cap /proc/self/status")
    held = dict(line.split() for line in result.out.splitlines())
    mask = "00000000a80425fb"
    assert held == {
        "CapInh:": "0" * 16,
        "CapPrm:": mask,
        "CapEff:": mask,
        "CapBnd:": mask,
        "CapAmb:": "0" * 16,
    }


async def test_ordinary_user_has_no_capabilities(linux: LinuxSandbox, lab: Lab) -> None:
    """Another user has an empty effective set and still the bounding one."""
    result = await shell(linux, lab, "grep -E 'Cap(Eff|Bnd)' /proc/self/status", user="app")
    assert result.out.split()[1::2] == ["0" * 16, "00000000a80425fb"]


async def test_privileged_has_what_we_have(linux: LinuxSandbox, lab: Lab) -> None:
    """`privileged` gives exactly our own bounding set, and no filter."""
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line)
    result = await shell(linux, lab, "grep -E 'CapEff|Seccomp:' /proc/self/status", privileged=True)
    assert result.out.split()[1::2] == [own.split()[1], "0"]


async def test_user_and_groups(linux: LinuxSandbox, lab: Lab) -> None:
    """Names are looked up in the image; groups come with a user, not with an explicit group."""
    assert (await shell(linux, lab, "id", user="app")).out.startswith("uid=1000(app) gid=1001(app)")
    assert "10(wheel)" in (await shell(linux, lab, "id", user="app")).out
    assert (await shell(linux, lab, "id", user="app:root")).out.startswith("uid=1000(app) gid=0(root)")
    assert "wheel" not in (await shell(linux, lab, "id", user="app:root")).out
    assert (await shell(linux, lab, "id -u; id -g", user="4242")).out == "4242\n0\n"


async def test_unknown_user(linux: LinuxSandbox, lab: Lab) -> None:
    """An unknown name fails with Docker's sentence before anything runs."""
    with pytest.raises(UnknownUser, match="unable to find user joe: no matching entries in passwd file"):
        await shell(linux, lab, "touch /ran", user="joe")
    assert not (lab.upper / "ran").exists()


async def test_home_and_environment(linux: LinuxSandbox, lab: Lab) -> None:
    """HOME comes from the image unless given, nothing else is added, and the last of a name wins."""
    spec = replace(lab.spec("env"), env=("PATH=/bin", "A=1", "A=2"), user="app")
    assert sorted((await run(linux, spec)).out.split()) == ["A=2", "HOME=/home/app", "PATH=/bin"]
    spec = replace(lab.spec("env"), env=("PATH=/bin", "HOME=/x"))
    assert "HOME=/x" in (await run(linux, spec)).out


async def test_working_directory_is_made(linux: LinuxSandbox, lab: Lab) -> None:
    """A missing working directory is made in the layer, owned by the step's user."""
    result = await shell(linux, lab, "pwd; stat -c %u:%g:%a .", cwd="/srv/deep/er", user="app")
    assert result.out == "/srv/deep/er\n1000:1001:755\n"
    assert (lab.upper / "srv/deep/er").is_dir()


async def test_working_directory_symlink_stays_inside(linux: LinuxSandbox, lab: Lab) -> None:
    """A working directory that is a link to an absolute path means that path of the sandbox."""
    os.symlink("/escape/here", lab.lower / "link")
    assert (await shell(linux, lab, "pwd -P", cwd="/link/sub")).out == "/escape/here/sub\n"
    assert not os.path.exists("/escape")


async def test_umask_and_signals_are_default(linux: LinuxSandbox, lab: Lab) -> None:
    """The program starts with umask 0022 and ignores no signal."""
    result = await run(linux, lab.spec("grep", "-E", "Umask|SigIgn|SigBlk", "/proc/self/status"))
    umask, *masks = result.out.split()[1::2]
    # The C library keeps signals 32 and 33 to itself; its posix_spawn(3) leaves 32 ignored in whoever it
    # starts (make starts us so), and no program can change that through it.
    own = 0b11 << 31
    assert umask == "0022"
    assert [int(mask, 16) & ~own for mask in masks] == [0, 0]


async def test_host_name(linux: LinuxSandbox, lab: Lab) -> None:
    """The name is set, in the kernel and in the two files."""
    result = await shell(linux, lab, "hostname; cat /etc/hostname; grep -c box /etc/hosts", hostname="box")
    assert result.out == "box\nbox\n1\n"


async def test_device_nodes(linux: LinuxSandbox, lab: Lab) -> None:
    """The six usual devices work."""
    counts = "; ".join(f"head -c 3 /dev/{name} | wc -c" for name in ("zero", "urandom", "full"))
    script = f"echo x > /dev/null && {counts}; ls /dev"
    result = await shell(linux, lab, script)
    assert result.out.split()[:3] == ["3", "3", "3"]
    names = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert result.out.split()[3:] == names.split()


async def test_other_devices_cannot_be_opened(linux: LinuxSandbox, lab: Lab) -> None:
    """A node can be made, as image builds do, but the disk of the host cannot be read through it."""
    disk = os.stat("/").st_dev
    script = "; ".join(
        f"mknod {place}/disk b {os.major(disk)} {os.minor(disk)} && cat {place}/disk"
        for place in ("/tmp", "/dev", "/dev/shm", "")
    )
    result = await shell(linux, lab, script)
    assert result.err.count("Permission denied") == 4
    assert stat.S_ISBLK((lab.upper / "disk").stat().st_mode)


@pytest.mark.parametrize(
    "script",
    [
        "mount -t tmpfs x /tmp",
        "echo 1 > /proc/sys/kernel/panic",
        "echo x > /proc/sysrq-trigger",
        "mkdir /sys/fs/cgroup/x",
        "echo 0 > /sys/kernel/mm/ksm/run",
        "hostname other",
        "touch /proc/irq/x",
    ],
)
async def test_what_root_may_not_do(linux: LinuxSandbox, lab: Lab, script: str) -> None:
    """Root inside changes nothing of the host."""
    assert not (await shell(linux, lab, script)).status.ok


async def test_masked_paths_are_empty(linux: LinuxSandbox, lab: Lab) -> None:
    """What tells about the host's memory, keys and firmware shows nothing."""
    files = "cat /proc/keys /proc/timer_list /proc/interrupts | wc -c; head -c1 /proc/kcore | wc -c"
    result = await shell(linux, lab, f"{files}; ls /sys/firmware | wc -l")
    assert result.out.split() == ["0", "0", "0"]


SYSCALLS = r"""
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TRY(name, ...) errno = 0; printf("%s %d\n", name, syscall(__VA_ARGS__) < 0 ? errno : 0);
int main(void) {
  TRY("unshare", SYS_unshare, 0x10000000)
  TRY("mount", SYS_mount, "x", "/", "tmpfs", 0, 0)
  TRY("keyctl", SYS_keyctl, 0, 0, 0, 0, 0)
  TRY("bpf", SYS_bpf, 0, 0, 0)
  TRY("clone3", SYS_clone3, 0, 0)
  TRY("io_uring", 425, 1, 0)
  TRY("vsock", SYS_socket, 40, 1, 0)
  TRY("unix", SYS_socket, 1, 1, 0)
  TRY("unknown", 9999)
  TRY("personality", SYS_personality, 0xffffffff)
  TRY("norandom", SYS_personality, 0x0040000)
  TRY("ptrace", SYS_ptrace, 0, 0, 0, 0)
  return 0;
}
"""


async def test_seccomp(linux: LinuxSandbox, lab: Lab) -> None:
    """Refused calls say EPERM, those programs probe for say ENOSYS, the rest works."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (lab.base / "calls.c").write_text(SYSCALLS)
    program = lab.lower / "bin/calls"
    subprocess.run([compiler, "-static", "-o", program, lab.base / "calls.c"], check=True)
    found = {
        name: int(number)
        for name, number in map(str.split, (await shell(linux, lab, "calls")).out.splitlines())
    }
    refused = {"unshare", "mount", "keyctl", "bpf", "io_uring", "vsock", "norandom"}
    assert {name for name, number in found.items() if number == 1} == refused
    assert {name for name, number in found.items() if number == 38} == {"clone3", "unknown"}
    assert {name for name, number in found.items() if number == 0} == {"unix", "personality", "ptrace"}
    off = (await shell(linux, lab, "calls", seccomp=False)).out
    # Without the filter the kernel itself judges the nonsense: a bad argument, not a refusal.
    assert "keyctl 22" in off


async def test_no_new_privileges(linux: LinuxSandbox, lab: Lab) -> None:
    """Off by default so that sudo works, on when asked, with the filter in both cases."""
    script = "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status"
    assert (await shell(linux, lab, script)).out.split()[1::2] == ["0", "2"]
    assert (await shell(linux, lab, script, no_new_privileges=True)).out.split()[1::2] == ["1", "2"]


async def test_capability_beyond_ours_is_refused(linux: LinuxSandbox, lab: Lab) -> None:
    """A capability this process does not hold is an error when asked for by name."""
    bound = int(
        next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line).split()[
            1
        ],
        16,
    )
    if bound >> 24 & 1:
        pytest.skip("this process holds every capability")
    with pytest.raises(NotPermitted, match="SYS_RESOURCE"):
        await run(linux, lab.spec("true", capabilities=("SYS_RESOURCE",)))
