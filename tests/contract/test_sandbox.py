"""Every sandbox keeps the same promises; the Linux one keeps its walls as well."""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime import network
from runtime.errors import NotPermitted, ProgramNotFound, SandboxError, UnknownUser
from runtime.mounts import Bind, FileContent, Overlay, Tmpfs
from runtime.probe import can_sandbox
from runtime.recording import NoSandbox
from runtime.sandbox import Control, ExitStatus, LinuxSandbox, Sandbox
from runtime.spec import DirectoryRoot, Limits, NetworkMode, OverlayRoot, SandboxSpec, Ulimit

APPLETS = "sh ls cat id mount ps echo sleep true false env hostname ip stat touch mkdir rm kill dd head wc tty nc chown mknod tail stty test pwd umask grep yes nslookup ping".split()
BUSYBOX = "/bin/busybox"
# In CI a missing feature is a failure, not a reason to skip.
REQUIRED = "userns" in os.environ.get("PYBUILD_REQUIRE", "").split(",")
ROOT = os.getuid() == 0


def need(ok: bool, reason: str) -> None:
    if not ok:
        if REQUIRED:
            pytest.fail(f"required here: {reason}")
        pytest.skip(reason)


@pytest.fixture(scope="module")
def machine() -> None:
    need(os.path.exists(BUSYBOX), "busybox is not installed")
    need(ROOT, "these run as root; test_ordinary_user covers the other case")
    ability = can_sandbox()
    need(ability.ok, f"{ability.name}: {ability.detail} ({ability.remedy})")


def make_lower(path: Path) -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "tmp").mkdir()
    (path / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    for name in APPLETS:
        os.symlink("busybox", path / "bin" / name)
    (path / "etc").mkdir()
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\napp:x:1001:\nwheel:x:10:root,app\n")
    for directory in (path, path / "bin", path / "etc"):
        directory.chmod(0o755)
    return path


class Lab:
    """A base layer, and a fresh overlay on it for every specification."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.lower = make_lower(base / "lower")
        self.count = 0
        self.upper = base

    def overlay(self, *more: Path) -> OverlayRoot:
        self.count += 1
        self.upper = self.base / f"upper{self.count}"
        work = self.base / f"work{self.count}"
        self.upper.mkdir(mode=0o755)
        work.mkdir()
        return OverlayRoot(lowers=(str(self.lower), *map(str, more)), upper=str(self.upper), work=str(work))

    def spec(self, *argv: str, **changes: object) -> SandboxSpec:
        rootfs = changes.pop("rootfs", None) or self.overlay()
        return SandboxSpec(argv=argv, rootfs=rootfs, env=("PATH=/bin", "A=b"), **changes)


@pytest.fixture
def lab(machine: None, tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def linux(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LinuxSandbox]:
    with LinuxSandbox(state_directory=str(tmp_path_factory.mktemp("state"))) as sandbox:
        yield sandbox


class Result:
    def __init__(self, status: ExitStatus, out: bytes, err: bytes) -> None:
        self.status = status
        self.out = out.decode()
        self.err = err.decode()


async def run(sandbox: Sandbox, spec: SandboxSpec, **options: object) -> Result:
    chunks: dict[int, bytes] = {1: b"", 2: b""}

    def on_output(stream: int, data: bytes) -> None:
        chunks[stream] += data

    status = await asyncio.wait_for(sandbox.run(spec, on_output=on_output, **options), 60)
    return Result(status, chunks[1], chunks[2])


async def shell(sandbox: Sandbox, lab: Lab, script: str, **changes: object) -> Result:
    return await run(sandbox, lab.spec("sh", "-c", script, **changes))


# -- promises of the protocol, kept by every implementation ------------------------------------------------


@pytest.fixture(params=["linux", "none"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return NoSandbox() if request.param == "none" else request.getfixturevalue("linux")


pytestmark = pytest.mark.userns


def directory_spec(lab: Lab, *argv: str, **changes: object) -> SandboxSpec:
    path = "/bin" if changes.pop("bare", False) else f"/bin:{lab.lower}/bin"
    return SandboxSpec(argv=argv, rootfs=DirectoryRoot(str(lab.lower)), env=(f"PATH={path}",), **changes)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
async def test_exit_code_is_passed_on(sandbox: Sandbox, lab: Lab, code: int) -> None:
    """The program's own code comes back, whatever it is."""
    result = await run(sandbox, directory_spec(lab, "/bin/sh", "-c", f"exit {code}"))
    assert result.status == ExitStatus(code=code)
    assert result.status.ok is (code == 0)


async def test_streams_are_kept_apart(sandbox: Sandbox, lab: Lab) -> None:
    """Standard output and standard error arrive complete, each under its own number."""
    result = await run(sandbox, directory_spec(lab, "/bin/sh", "-c", "echo out; echo err >&2; echo again"))
    assert (result.out, result.err) == ("out\nagain\n", "err\n")


async def test_output_arrives_while_running(sandbox: Sandbox, lab: Lab) -> None:
    """The first line is delivered long before the program ends."""
    seen: list[float] = []
    begin = time.monotonic()
    spec = directory_spec(lab, "/bin/sh", "-c", "echo first; sleep 1")
    await sandbox.run(spec, on_output=lambda _stream, _data: seen.append(time.monotonic() - begin))
    assert seen[0] < 0.8 < time.monotonic() - begin


async def test_much_output_is_complete(sandbox: Sandbox, lab: Lab) -> None:
    """Several pipe capacities arrive without loss."""
    result = await run(sandbox, directory_spec(lab, "/bin/sh", "-c", "yes | head -c 3000000"))
    assert len(result.out) == 3_000_000


async def test_standard_input(sandbox: Sandbox, lab: Lab, tmp_path: Path) -> None:
    """A descriptor given as stdin is read by the program and stays open for the caller."""
    (tmp_path / "input").write_text("hello")
    fd = os.open(tmp_path / "input", os.O_RDONLY)
    result = await run(sandbox, directory_spec(lab, "/bin/sh", "-c", "cat"), stdin=fd)
    assert result.out == "hello"
    os.close(fd)


async def test_no_standard_input_is_end_of_file(sandbox: Sandbox, lab: Lab) -> None:
    """Without stdin the program sees the end at once instead of waiting."""
    assert (await run(sandbox, directory_spec(lab, "/bin/sh", "-c", "cat; echo done"))).out == "done\n"


async def test_missing_program(sandbox: Sandbox, lab: Lab) -> None:
    """A program that is not there is 127, in the words Docker uses."""
    with pytest.raises(
        ProgramNotFound, match=r'exec: "nosuch": executable file not found in \$PATH'
    ) as caught:
        await run(sandbox, directory_spec(lab, "nosuch"))
    assert caught.value.exit_code == 127


async def test_signal_from_outside(sandbox: Sandbox, lab: Lab) -> None:
    """A signal sent through the control reaches the program."""
    control = Control()

    def on_output(_stream: int, _data: bytes) -> None:
        control.send_signal(signal.SIGTERM)

    spec = directory_spec(
        lab, "/bin/sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
    )
    status = await asyncio.wait_for(sandbox.run(spec, on_output=on_output, control=control), 30)
    assert status == ExitStatus(code=42)
    assert control.pidfd == -1


async def test_cancelling_ends_the_program(sandbox: Sandbox, lab: Lab) -> None:
    """Cancellation waits for the death of the program and then propagates."""
    started = asyncio.Event()
    argv = ("/bin/sh", "-c", "echo $$; sleep 4321 & sleep 4321")
    task = asyncio.create_task(sandbox.run(directory_spec(lab, *argv), on_output=lambda *_: started.set()))
    await asyncio.wait_for(started.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "4321" not in processes()


def processes() -> str:
    lines = []
    for pid in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            lines.append(
                Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
    return "\n".join(line for line in lines if "sleep" in line)


# -- executing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("/nosuch",), 127, "no such file or directory"),
        (("/etc/passwd",), 126, "permission denied"),
        (("/etc",), 126, "is a directory"),
        (("/etc/nointerpreter",), 127, "no such file or directory"),
        (("/etc/garbage",), 126, "exec format error"),
    ],
)
async def test_programs_that_cannot_run(
    linux: LinuxSandbox, lab: Lab, argv: tuple[str], code: int, message: str
) -> None:
    """127 says nothing was found, 126 says that it may not be run, and the sentence says why."""
    for name, text in (("nointerpreter", "#!/nosuch\n"), ("garbage", "\x01\x02")):
        (lab.lower / "etc" / name).write_text(text)
        (lab.lower / "etc" / name).chmod(0o755)
    with pytest.raises(ProgramNotFound, match=message) as caught:
        await run(linux, lab.spec(*argv))
    assert caught.value.exit_code == code


async def test_own_interpreter_is_not_executed(linux: LinuxSandbox, lab: Lab) -> None:
    """An image cannot have the interpreter of the host executed through /proc/self/exe (CVE-2019-5736)."""
    os.symlink("/proc/self/exe", lab.lower / "bin/trap")
    with pytest.raises(ProgramNotFound, match="refers to the program that starts the sandbox"):
        await run(linux, lab.spec("trap", "-c", "print(1)"))


async def test_interpreter_cannot_be_written_from_inside(linux: LinuxSandbox, lab: Lab) -> None:
    """A script whose interpreter is /proc/self/exe gets a file that nobody can write to."""
    script = lab.lower / "bin/trap"
    script.write_text("#!/proc/self/exe\nprint(open('/proc/self/exe', 'r+b'))\n")
    script.chmod(0o755)
    before = Path(os.path.realpath(sys.executable)).stat().st_mtime_ns
    with contextlib.suppress(ProgramNotFound):
        assert not (await run(linux, lab.spec("trap"))).status.ok
    assert Path(os.path.realpath(sys.executable)).stat().st_mtime_ns == before


async def test_killed_by_signal(linux: LinuxSandbox, lab: Lab) -> None:
    """A death by signal is told as one, and as 128 plus its number for a shell."""
    control = Control()
    spec = lab.spec("sh", "-c", "echo x; sleep 100")
    status = await linux.run(spec, on_output=lambda *_: control.send_signal(signal.SIGKILL), control=control)
    assert status == ExitStatus(signal=9)
    assert status.shell_code == 137


async def test_foreground_uses_the_callers_descriptors(linux: LinuxSandbox, lab: Lab, tmp_path: Path) -> None:
    """With stdio the program writes straight to what the caller has open."""
    with open(tmp_path / "out", "w+b") as out, open("/dev/null", "rb") as null:
        stdio = (null.fileno(), out.fileno(), out.fileno())
        status = await linux.run(lab.spec("sh", "-c", "echo direct; exit 3"), stdio=stdio)
        out.seek(0)
        assert (status.code, out.read()) == (3, b"direct\n")


async def test_many_at_once(linux: LinuxSandbox, lab: Lab) -> None:
    """Concurrent sandboxes do not disturb each other."""
    specs = [lab.spec("sh", "-c", f"sleep 0.1; echo {number}; exit {number}") for number in range(12)]
    results = await asyncio.gather(*(run(linux, spec) for spec in specs))
    assert [(result.out, result.status.code) for result in results] == [(f"{n}\n", n) for n in range(12)]


async def test_large_argument(linux: LinuxSandbox, lab: Lab) -> None:
    """An argument as long as the kernel allows passes through."""
    result = await run(linux, lab.spec("sh", "-c", 'echo ${#0}; echo "$A"', "x" * 130_000))
    assert result.out == "130000\nb\n"


# -- what is inside -------------------------------------------------------------------------------------


async def test_only_standard_descriptors(linux: LinuxSandbox, lab: Lab) -> None:
    """Nothing of the host leaks in: only 0, 1 and 2 are open (CVE-2024-21626)."""
    result = await shell(linux, lab, "ls /proc/$$/fd; true")
    assert result.out.split() == ["0", "1", "2"]


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
    assert result.out.split()[1::2] == ["0022", "0" * 16, "0" * 16]


async def test_host_name(linux: LinuxSandbox, lab: Lab) -> None:
    """The name is set, in the kernel and in the two files."""
    result = await shell(linux, lab, "hostname; cat /etc/hostname; grep -c box /etc/hosts", hostname="box")
    assert result.out == "box\nbox\n1\n"


async def test_device_nodes(linux: LinuxSandbox, lab: Lab) -> None:
    """The six usual devices work."""
    script = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c; cat /dev/full | head -c 1 | wc -c; ls /dev"
    result = await shell(linux, lab, script)
    assert result.out.split()[:3] == ["3", "3", "1"]
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
    result = await shell(
        linux,
        lab,
        "cat /proc/keys /proc/timer_list /proc/interrupts | wc -c; ls /sys/firmware | wc -l; head -c1 /proc/kcore | wc -c",
    )
    assert result.out.split() == ["0", "0", "0"]


# -- seccomp ---------------------------------------------------------------------------------------------

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


# -- file systems ----------------------------------------------------------------------------------------


async def test_changes_land_in_the_upper_directory(linux: LinuxSandbox, lab: Lab) -> None:
    """Only what the program changed is in the upper directory: no stub, no /dev, no /etc."""
    await shell(linux, lab, "echo x > /new; rm /etc/group; touch /tmp/t")
    found = sorted(str(path.relative_to(lab.upper)) for path in lab.upper.rglob("*"))
    assert found == ["etc", "etc/group", "new", "tmp", "tmp/t"]


async def test_a_step_that_does_nothing_leaves_nothing(linux: LinuxSandbox, lab: Lab) -> None:
    """Mounts on missing targets do not show in the layer, not even as a time stamp."""
    source = lab.base / "source"
    source.mkdir()
    mounts = (
        Bind(source=str(source), target="/root/.cache/pip"),
        FileContent(target="/run/secrets/token", content=b"s3cret", mode=0o400),
        Tmpfs(target="/var/tmp/scratch"),
    )
    before = lab.lower.stat().st_mtime_ns
    result = await shell(
        linux,
        lab,
        "cat /run/secrets/token; ls -d /root/.cache/pip /var/tmp/scratch; stat -c %a /run/secrets/token",
        mounts=mounts,
    )
    assert result.out == "s3cret/root/.cache/pip\n/var/tmp/scratch\n400\n"
    assert list(lab.upper.iterdir()) == []
    assert lab.lower.stat().st_mtime_ns == before


async def test_ancestors_of_stubs_keep_their_looks(linux: LinuxSandbox, lab: Lab) -> None:
    """A directory that lends its place to a mount keeps mode, owner and time."""
    home = lab.lower / "home"
    home.mkdir()
    os.chown(home, 12, 34)
    home.chmod(0o2750)
    os.utime(home, (1_000_000, 1_000_000))
    mounts = (Tmpfs(target="/home/x/y"),)
    result = await shell(linux, lab, "stat -c %u:%g:%a:%Y /home", mounts=mounts)
    assert result.out == "12:34:2750:1000000\n"


async def test_etc_files_are_not_in_the_layer(linux: LinuxSandbox, lab: Lab) -> None:
    """Writing resolv.conf works, as with Docker, and is lost; with `readonly_etc` it is refused, as with BuildKit."""
    result = await shell(linux, lab, "echo nameserver 9.9.9.9 > /etc/resolv.conf; cat /etc/resolv.conf")
    assert result.out == "nameserver 9.9.9.9\n"
    assert list(lab.upper.iterdir()) == []
    assert not (await shell(linux, lab, "echo > /etc/hosts", readonly_etc=True)).status.ok


async def test_directory_root_is_cleaned(linux: LinuxSandbox, lab: Lab) -> None:
    """A plain directory is changed in place; the stubs vanish and the times of their parents return."""
    os.utime(lab.lower, (1_000_000, 1_000_000))
    os.utime(lab.lower / "etc", (1_000_000, 1_000_000))
    names = sorted(os.listdir(lab.lower))
    mounts = (Tmpfs(target="/cache/deep"), Tmpfs(target="/kept"))
    result = await shell(
        linux,
        lab,
        "ls -d /proc/self /cache/deep; echo x > /tmp/new",
        mounts=mounts,
        rootfs=DirectoryRoot(str(lab.lower)),
    )
    assert result.status.ok
    assert sorted(os.listdir(lab.lower)) == names
    assert (lab.lower / "tmp/new").read_text() == "x\n"
    assert not (lab.lower / "etc/hosts").exists()
    assert lab.lower.stat().st_mtime == (lab.lower / "etc").stat().st_mtime == 1_000_000


async def test_layers_are_bottom_to_top(linux: LinuxSandbox, lab: Lab) -> None:
    """The last lower directory wins over the ones before it."""
    layers = []
    for name in ("one", "two"):
        (lab.base / name).mkdir()
        (lab.base / name / "which").write_text(name)
        layers.append(lab.base / name)
    assert (await shell(linux, lab, "cat /which", rootfs=lab.overlay(*layers))).out == "two"


async def test_awkward_paths(linux: LinuxSandbox, lab: Lab) -> None:
    """Separators of overlay options and very long paths are just characters."""
    odd = lab.base / "a:b,c\\d" / ("long" * 50) / ("longer" * 30)
    odd.mkdir(parents=True)
    (odd / "odd").write_text("yes")
    assert (await shell(linux, lab, "cat /odd", rootfs=lab.overlay(odd))).out == "yes"


async def test_a_hundred_layers(linux: LinuxSandbox, lab: Lab) -> None:
    """As many layers as the deepest images have."""
    layers = []
    for number in range(120):
        layer = lab.base / f"layer{number}"
        layer.mkdir()
        (layer / f"file{number}").touch()
        layers.append(layer)
    assert (await shell(linux, lab, "ls / | grep -c file", rootfs=lab.overlay(*layers))).out == "120\n"


async def test_bind_mounts(linux: LinuxSandbox, lab: Lab) -> None:
    """Directories and files bind, read-only ones refuse, writable ones write through."""
    source = lab.base / "source"
    source.mkdir()
    (source / "file").write_text("content")
    mounts = (
        Bind(source=str(source), target="/rw"),
        Bind(source=str(source), target="/ro", readonly=True),
        Bind(source=str(source / "file"), target="/one", readonly=True),
    )
    result = await shell(linux, lab, "echo w > /rw/w; cat /one; echo x > /ro/x", mounts=mounts)
    assert result.out == "content"
    assert "Read-only" in result.err
    assert sorted(os.listdir(source)) == ["file", "w"]


async def test_subpath_cannot_leave_its_source(linux: LinuxSandbox, lab: Lab) -> None:
    """A link inside the source that points out of it resolves inside it."""
    source = lab.base / "source"
    (source / "etc").mkdir(parents=True)
    (source / "etc/hostname").write_text("inside")
    os.symlink("/etc", source / "link")
    mounts = (Bind(source=str(source), subpath="link/hostname", target="/name"),)
    assert (await shell(linux, lab, "cat /name", mounts=mounts)).out == "inside"


async def test_overlay_mounts(linux: LinuxSandbox, lab: Lab) -> None:
    """Another stack of layers mounts at a target, whole or in part, and writes to it are lost."""
    layers = []
    for name in ("one", "two"):
        (lab.base / name / "sub").mkdir(parents=True)
        (lab.base / name / "sub" / name).write_text(name)
        layers.append(str(lab.base / name))
    mounts = (
        Overlay(lowers=tuple(layers), target="/whole"),
        Overlay(lowers=tuple(layers), target="/part", subpath="/sub"),
        Overlay(lowers=tuple(layers), target="/file", subpath="/sub/two"),
        Overlay(lowers=tuple(layers), target="/scratch", readonly=False),
        Overlay(lowers=(layers[0],), target="/single"),
    )
    script = "ls /whole/sub /part /single/sub; cat /file; echo x > /scratch/x && cat /scratch/x; touch /part/x || echo refused"
    result = await shell(linux, lab, script, mounts=mounts)
    words = result.out.replace("two", "two ").split()
    assert words.count("one") == 3
    assert words[-2:] == ["x", "refused"]
    assert sorted(os.listdir(layers[0])) == ["sub"]


async def test_mount_order_is_by_depth(linux: LinuxSandbox, lab: Lab) -> None:
    """A mount below another is visible whatever order they are given in."""
    mounts = (FileContent(target="/a/b/file", content=b"deep"), Tmpfs(target="/a/b"), Tmpfs(target="/a"))
    assert (await shell(linux, lab, "cat /a/b/file; ls /a", mounts=mounts)).out == "deepb\n"


async def test_read_only_root(linux: LinuxSandbox, lab: Lab) -> None:
    """The root refuses writes, mounts on it do not."""
    mounts = (Tmpfs(target="/scratch"),)
    result = await shell(
        linux,
        lab,
        "echo x > /scratch/x && cat /scratch/x; touch /y || echo refused",
        mounts=mounts,
        readonly_root=True,
    )
    assert result.out == "x\nrefused\n"


async def test_missing_source_is_named(linux: LinuxSandbox, lab: Lab) -> None:
    """An error says which mount failed and why."""
    mounts = (Bind(source="/nonexistent/source", target="/x"),)
    with pytest.raises(SandboxError, match="mount on /x: No such file or directory"):
        await shell(linux, lab, "true", mounts=mounts)


@pytest.mark.parametrize("target", ["/proc", "/proc/sys/kernel", "/", "/x/../proc/1"])
async def test_forbidden_targets(linux: LinuxSandbox, lab: Lab, target: str) -> None:
    """Nothing is mounted over /proc or the root."""
    with pytest.raises(SandboxError, match="mount target"):
        await shell(linux, lab, "true", mounts=(Tmpfs(target=target),))


async def test_target_through_a_link_into_proc(linux: LinuxSandbox, lab: Lab) -> None:
    """A link of the image does not lead a mount into /proc either."""
    os.symlink("/proc/sys", lab.lower / "innocent")
    with pytest.raises(SandboxError, match="lies inside /proc"):
        await shell(linux, lab, "true", mounts=(Tmpfs(target="/innocent"),))


@pytest.mark.parametrize("name", ["dev", "proc", "sys", "etc"])
@pytest.mark.parametrize("link", ["/host-victim", "../../../../host-victim", "host-victim"])
async def test_links_in_the_image_do_not_reach_the_host(
    linux: LinuxSandbox, lab: Lab, name: str, link: str
) -> None:
    """An image whose /dev, /proc, /sys or /etc is a link gets nothing written outside (CVE-2026-41579)."""
    if name == "etc":
        shutil.rmtree(lab.lower / "etc")
    os.symlink(link, lab.lower / name)
    before = set(os.listdir("/")), set(os.listdir("/dev")), set(os.listdir("/etc"))
    with contextlib.suppress(SandboxError):
        await shell(linux, lab, "ls / /dev; echo x > /etc/hosts")
    assert (set(os.listdir("/")), set(os.listdir("/dev")), set(os.listdir("/etc"))) == before
    assert sorted(path.name for path in lab.base.parent.iterdir() if "victim" in path.name) == []


async def test_dangling_resolv_conf(linux: LinuxSandbox, lab: Lab) -> None:
    """The link that systemd images carry is followed to a place that is made for it."""
    os.symlink("../run/systemd/resolve/stub-resolv.conf", lab.lower / "etc/resolv.conf")
    assert "nameserver" in (await shell(linux, lab, "cat /etc/resolv.conf")).out
    assert list(lab.upper.iterdir()) == []


async def test_inode_numbers_survive_a_write(linux: LinuxSandbox, lab: Lab) -> None:
    """A file keeps its identity when it is first written to."""
    result = await shell(
        linux, lab, "stat -c %d:%i /etc/passwd; echo >> /etc/passwd; stat -c %d:%i /etc/passwd"
    )
    first, second = result.out.split()
    assert first == second


async def test_host_mounts_do_not_change(linux: LinuxSandbox, lab: Lab) -> None:
    """Before, while and after a run the host's mount table is the same."""
    before = Path("/proc/self/mountinfo").read_text()
    during: list[str] = []
    spec = lab.spec("sh", "-c", "echo x; sleep 0.2")
    await linux.run(spec, on_output=lambda *_: during.append(Path("/proc/self/mountinfo").read_text()))
    assert during == [before]
    assert Path("/proc/self/mountinfo").read_text() == before


# -- limits ----------------------------------------------------------------------------------------------


async def test_memory_limit(linux: LinuxSandbox, lab: Lab) -> None:
    """A program that takes more memory than allowed is killed, and the status says so."""
    limits = Limits(memory=32 << 20, memory_swap=32 << 20)
    result = await shell(linux, lab, "dd if=/dev/zero of=/dev/null bs=120M count=1", limits=limits)
    assert result.status.oom_killed
    assert not result.status.ok


async def test_process_limit(linux: LinuxSandbox, lab: Lab) -> None:
    """A fork bomb ends at the bound."""
    result = await shell(
        linux, lab, "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait", limits=Limits(pids=4)
    )
    assert "an't fork" in result.err


async def test_processor_limits(linux: LinuxSandbox, lab: Lab) -> None:
    """Quota, weight and set are taken, and visible to the program where version 1 shows them."""
    limits = Limits(cpus=0.5, cpu_shares=512, cpuset_cpus="0")
    result = await shell(linux, lab, "grep Cpus_allowed_list /proc/self/status", limits=limits)
    assert result.out.split()[1] == "0"


async def test_limits_leave_no_groups(linux: LinuxSandbox, lab: Lab) -> None:
    """After the run no control group of ours is left."""
    await shell(linux, lab, "true", limits=Limits(memory=64 << 20, pids=10, cpus=1.0))
    left = [
        path
        for path in Path("/sys/fs/cgroup").glob("*/pybuild/*/")
        if path.name.startswith(f"{os.getpid()}-")
    ]
    assert left == []


async def test_ulimits_and_shm(linux: LinuxSandbox, lab: Lab) -> None:
    """Resource limits and the size of /dev/shm are as asked."""
    limits = Limits(ulimits=(Ulimit("nofile", 77, 99),), shm_size=1 << 20)
    result = await shell(linux, lab, "ulimit -n; ulimit -Hn; grep shm /proc/mounts", limits=limits)
    assert result.out.split()[:2] == ["77", "99"]
    assert "size=1024k" in result.out


async def test_unknown_ulimit(linux: LinuxSandbox, lab: Lab) -> None:
    """A limit nobody knows is an error, not ignored."""
    with pytest.raises(SandboxError, match="unknown ulimit 'nofiles'"):
        await shell(linux, lab, "true", limits=Limits(ulimits=(Ulimit("nofiles", 1, 1),)))


# -- networks --------------------------------------------------------------------------------------------


async def test_no_network_has_only_loopback(linux: LinuxSandbox, lab: Lab) -> None:
    """`none` leaves a loopback interface that is up, and no route."""
    result = await shell(
        linux,
        lab,
        "ip -o link | wc -l; ip -o addr show lo; ip route; ping -c1 -W1 127.0.0.1 >/dev/null && echo alive",
    )
    assert result.out.startswith("1\n")
    assert "127.0.0.1/8" in result.out
    assert result.out.endswith("alive\n")


async def test_host_network(linux: LinuxSandbox, lab: Lab) -> None:
    """`host` shares the machine's interfaces."""
    result = await shell(linux, lab, "ls /sys/class/net", network=NetworkMode.HOST)
    assert set(os.listdir("/sys/class/net")) >= set(result.out.split()) - {network.BRIDGE}
    assert "lo" in result.out.split()


class Server:
    """A TCP server that says hello, on an address of the host."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_server((address, 0))
        self.port = self.socket.getsockname()[1]
        self.peers: list[str] = []
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = self.socket.accept()
                self.peers.append(peer[0])
                connection.sendall(b"hello\n")
                connection.close()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def bridge(machine: None, linux: LinuxSandbox) -> network.Bridge:
    need(network.may_make_private(network.current_id_map()), "a private network needs root")
    return network.ensure_bridge(linux._state_directory)


async def test_private_network_reaches_the_host(
    linux: LinuxSandbox, lab: Lab, bridge: network.Bridge
) -> None:
    """A sandbox gets an address, a route, and reaches a server on the bridge's address."""
    server = Server(bridge.gateway)
    try:
        result = await shell(
            linux,
            lab,
            f"ip -o -4 addr show eth0; ip route; nc -w 5 {bridge.gateway} {server.port} < /dev/null",
            network=NetworkMode.PRIVATE,
        )
    finally:
        server.close()
    assert result.out.endswith("hello\n")
    assert f"default via {bridge.gateway}" in result.out
    assert server.peers[0] in result.out
    assert network.ipaddress.IPv4Address(server.peers[0]) in bridge.network


async def test_private_network_is_masqueraded(linux: LinuxSandbox, lab: Lab, bridge: network.Bridge) -> None:
    """Beyond the bridge the machine's own address is seen: the outside is a second namespace here."""
    outside = Outside()
    try:
        result = await shell(
            linux, lab, f"nc -w 5 {outside.far} 7777 < /dev/null", network=NetworkMode.PRIVATE
        )
    finally:
        answer = outside.close()
    assert result.out == "hello\n", result.err
    assert answer.strip() == outside.near


class Outside:
    """A network namespace that the host reaches over a pair of links."""

    near, far = "203.0.113.1", "203.0.113.2"

    def __init__(self) -> None:
        code = (
            "import socket,sys\nprint('up', flush=True)\nsys.stdin.readline()\n"
            f"s=socket.create_server(('{self.far}',7777))\nprint('ready', flush=True)\n"
            "c,p=s.accept()\nc.sendall(b'hello\\n')\nc.close()\nprint(p[0], flush=True)\n"
        )
        self.process = subprocess.Popen(
            ["unshare", "-n", sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "up\n"
        for words in (
            f"ip link add pbtest0 type veth peer name eth0 netns {self.process.pid}",
            f"ip addr add {self.near}/24 dev pbtest0",
            "ip link set pbtest0 up",
            f"nsenter -n -t {self.process.pid} ip addr add {self.far}/24 dev eth0",
            f"nsenter -n -t {self.process.pid} ip link set eth0 up",
        ):
            subprocess.run(words.split(), check=True)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ready\n"

    def close(self) -> str:
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        answer = self.process.stdout.read()
        self.process.stdout.close()
        self.process.wait()
        subprocess.run(["ip", "link", "del", "pbtest0"], check=False, capture_output=True)
        return answer


async def test_private_addresses_differ(linux: LinuxSandbox, lab: Lab, bridge: network.Bridge) -> None:
    """Concurrent sandboxes never share an address."""
    specs = [
        lab.spec("sh", "-c", "ip -o -4 addr show eth0; sleep 0.3", network=NetworkMode.PRIVATE)
        for _ in range(6)
    ]
    results = await asyncio.gather(*(run(linux, spec) for spec in specs))
    assert len({result.out.split()[3] for result in results}) == 6


async def test_private_network_opens_low_ports_to_everybody(
    linux: LinuxSandbox, lab: Lab, bridge: network.Bridge
) -> None:
    """In its own network a user other than root may ping and listen on port 80."""
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
    result = await shell(linux, lab, script, network=NetworkMode.PRIVATE, user="app")
    assert result.out.split() == ["0", "0", "2147483647"]


FORWARD = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from runtime import network_bridge
subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
print(network_bridge.is_let_through())
network_bridge.let_forwarded_through()
network_bridge.let_forwarded_through()
print(network_bridge.is_let_through())
listed = subprocess.run(["iptables", "-S", "FORWARD"], check=True, capture_output=True, text=True)
print(listed.stdout.count("pybuild0"))
"""


def test_forward_policy_is_handled(machine: None) -> None:
    """On a machine that drops forwarded packets by policy, our two rules appear once, and are recognised."""
    if shutil.which("iptables") is None:
        pytest.skip("no iptables")
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", FORWARD, str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False\nTrue\n2\n", done.stderr


async def test_hosts_and_name_servers(linux: LinuxSandbox, lab: Lab) -> None:
    """Extra hosts and name servers are where programs look for them."""
    result = await shell(
        linux,
        lab,
        "cat /etc/hosts /etc/resolv.conf",
        extra_hosts=("db:10.9.8.7",),
        dns=("192.0.2.53",),
        dns_search=("example.org",),
    )
    assert "10.9.8.7\tdb\n" in result.out
    assert result.out.endswith("nameserver 192.0.2.53\nsearch example.org\n")


# -- terminals -------------------------------------------------------------------------------------------


async def test_terminal(linux: LinuxSandbox, lab: Lab) -> None:
    """With a terminal the program has a controlling tty of its own devpts, of the asked-for size."""
    result = await run(
        linux,
        lab.spec(
            "sh",
            "-c",
            "tty; stty size; echo err >&2; ls -1 /dev/pts; test -c /dev/console && echo console",
            tty=True,
        ),
        control=Control(33, 101),
    )
    assert result.out.replace("\r\n", "\n") == "/dev/pts/0\n33 101\nerr\n0\nptmx\nconsole\n"


async def test_terminal_input_and_resize(linux: LinuxSandbox, lab: Lab) -> None:
    """What is typed arrives, Ctrl-C interrupts, and a new size is seen."""
    reader, writer = os.pipe()
    control = Control()
    seen = bytearray()

    def on_output(_stream: int, data: bytes) -> None:
        seen.extend(data)
        if b"ready" in data:
            control.resize(50, 60)
            os.write(writer, b"hello\n")
        if b"got hello" in data:
            os.write(writer, b"\x03")

    script = "trap 'echo interrupted; stty size; exit 5' INT; echo ready; read x; echo got $x; while :; do sleep 0.05; done"
    status = await asyncio.wait_for(
        linux.run(lab.spec("sh", "-c", script, tty=True), stdin=reader, on_output=on_output, control=control),
        30,
    )
    os.close(reader)
    os.close(writer)
    assert status.code == 5
    assert b"interrupted\r\n50 60\r\n" in seen


# -- ending ----------------------------------------------------------------------------------------------


async def test_cancel_leaves_nothing(linux: LinuxSandbox, lab: Lab) -> None:
    """After cancellation no process, mount, group or link of the sandbox is left."""
    before = Path("/proc/self/mountinfo").read_text()
    started = asyncio.Event()
    spec = lab.spec(
        "sh", "-c", "(sleep 7654 &) ; echo x; sleep 7654", network=NetworkMode.PRIVATE, limits=Limits(pids=50)
    )
    task = asyncio.create_task(linux.run(spec, on_output=lambda *_: started.set()))
    await asyncio.wait_for(started.wait(), 30)
    assert "7654" in processes()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "7654" not in processes()
    assert Path("/proc/self/mountinfo").read_text() == before
    groups = Path("/sys/fs/cgroup").glob("*/pybuild/*/")
    assert not [path for path in groups if path.name.startswith(f"{os.getpid()}-")]


async def test_cancel_before_it_began(linux: LinuxSandbox, lab: Lab) -> None:
    """A run that is cancelled at once ends as cleanly as any other."""
    for _ in range(5):
        task = asyncio.create_task(linux.run(lab.spec("sleep", "8765")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "8765" not in processes()


async def test_closing_ends_what_runs(machine: None, lab: Lab) -> None:
    """Leaving the context kills every sandbox, and the run says that it did not end by itself."""
    started = asyncio.Event()
    with LinuxSandbox() as own:
        task = asyncio.create_task(
            own.run(lab.spec("sh", "-c", "echo x; sleep 6543"), on_output=lambda *_: started.set())
        )
        await asyncio.wait_for(started.wait(), 30)
    assert "6543" not in processes()
    assert (await task).signal == 9
    with pytest.raises(SandboxError, match="closed"):
        await own.run(lab.spec("true"))


ORPHAN = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from runtime.sandbox import LinuxSandbox
from runtime.spec import SandboxSpec
async def main():
    with LinuxSandbox() as sandbox:
        await sandbox.run(SandboxSpec.from_json(sys.argv[2]), on_output=lambda s, d: print("up", flush=True))
asyncio.run(main())
"""


@pytest.mark.parametrize("victim", ["parent", "helper"])
def test_killing_the_parent_kills_everything(lab: Lab, victim: str) -> None:
    """When pybuild or its helper is killed, no sandbox survives it."""
    spec = lab.spec("sh", "-c", "echo x; (sleep 5432 &); sleep 5432")
    command = [sys.executable, "-c", ORPHAN, str(Path(__file__).parents[2]), spec.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout.readline() == "up\n"
        helper = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
        os.kill(parent.pid if victim == "parent" else helper, signal.SIGKILL)
        parent.wait(20)
    deadline = time.monotonic() + 10
    while "5432" in processes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "5432" not in processes()


# -- older kernels and filters around us ------------------------------------------------------------------

WITHOUT_CLONE3 = """
import asyncio, ctypes, os, struct, sys
sys.path.insert(0, sys.argv[1])
from runtime import syscalls as sc
from runtime.sandbox import LinuxSandbox
from runtime.spec import SandboxSpec
# Answer clone3 with ENOSYS, as container runtimes do, for this process and all it starts.
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 435), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7FFF0000)]
sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
sc.seccomp_filter(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
async def main():
    with LinuxSandbox() as sandbox:
        for _ in range(2):
            status = await sandbox.run(SandboxSpec.from_json(sys.argv[2]), on_output=lambda s, d: os.write(s, d))
            print(status.code, flush=True)
asyncio.run(main())
"""


def test_without_clone3(lab: Lab) -> None:
    """Where clone3 is refused, fork and unshare make the same sandbox, more than once."""
    script = "echo pid $$; ip -o link | wc -l; grep -c pybuild/ /proc/self/cgroup; ls / >/dev/null; rm -rf /etc; exit 4"
    spec = lab.spec("sh", "-c", script, limits=Limits(pids=20))
    command = [sys.executable, "-c", WITHOUT_CLONE3, str(Path(__file__).parents[2]), spec.to_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.replace("rm: can't remove", "").count("Traceback") == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[0] == "pid 1"
    assert lines[1] == "1"
    assert int(lines[2]) >= 1
    assert done.stdout.count("pid 1\n") == 2
    assert lines[3] == "4"


OLD_OVERLAY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from runtime import syscalls as sc
from runtime.rootmount import Scratch, overlay
known = sc.fsconfig_string
# What a kernel before 6.5 says to the option.
sc.fsconfig_string = lambda fd, key, value: known(fd, key.replace("lowerdir+", "lowerdir++"), value)
sc.unshare(sc.CLONE_NEWNS)
sc.mount("", "/", "", sc.MS_SLAVE | sc.MS_REC)
layers = [os.open(path, sc.O_PATH) for path in sys.argv[4:]]
upper, work = (os.open(path, sc.O_PATH) for path in sys.argv[2:4])
scratch = Scratch()
scratch.attach(os.open("/mnt", sc.O_PATH))
fd = overlay(scratch, layers, upper=upper, work=work, userns=False)
root = os.open(".", os.O_RDONLY, dir_fd=fd)
print(sorted(os.listdir(root)))
os.close(os.open("written", os.O_CREAT | os.O_WRONLY, dir_fd=root))
"""


def test_overlay_on_older_kernels(machine: None, tmp_path: Path) -> None:
    """Without `lowerdir+` one option string does, even for a hundred layers with awkward names."""
    layers = []
    for number in range(100):
        layer = tmp_path / f"layer:{number},x"
        layer.mkdir()
        (layer / f"f{number:03}").touch()
        layers.append(str(layer))
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    command = [
        sys.executable,
        "-c",
        OLD_OVERLAY,
        str(Path(__file__).parents[2]),
        str(upper),
        str(work),
        *layers,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == f"{[f'f{number:03}' for number in range(100)]}\n", done.stderr
    assert (upper / "written").exists()


# -- without root ----------------------------------------------------------------------------------------

ROOTLESS = """
import asyncio, json, os, sys
sys.path.insert(0, sys.argv[1])
from runtime import userns
from runtime.namespaces import current_id_map
from runtime.network import choose_network
from runtime.sandbox import LinuxSandbox
from runtime.spec import Limits, NetworkMode, OverlayRoot, SandboxSpec
base, want = sys.argv[2], sys.argv[3]
if userns.needs_reentry():
    if want == "single":
        userns.subordinate_ranges = lambda uid: None
    userns.reenter(sys.argv, dict(os.environ))
assert os.environ[userns.MARK] == want == current_id_map().kind
answers = {}
async def attempt(name, *argv, **changes):
    for part in ("upper", "work"):
        os.makedirs(f"{base}/{part}{name}")
    root = OverlayRoot(lowers=(f"{base}/lower",), upper=f"{base}/upper{name}", work=f"{base}/work{name}")
    out = []
    try:
        spec = SandboxSpec(argv=argv, rootfs=root, env=("PATH=/bin",), **changes)
        status = await sandbox.run(spec, on_output=lambda s, d: out.append(d.decode()))
        answers[name] = [status.code, "".join(out)]
    except Exception as problem:
        answers[name] = [type(problem).__name__, str(problem)]
async def main():
    await attempt("id", "sh", "-c", "id -u; echo $$; grep CapEff /proc/self/status; echo x > /dev/null && ls /proc/1 >/dev/null")
    await attempt("chown", "sh", "-c", "touch /f; chown 5:6 /f && stat -c %u:%g /f")
    await attempt("user", "id", "-u", user="app")
    await attempt("host", "ls", "/sys/class/net", network=NetworkMode.HOST)
    await attempt("private", "true", network=NetworkMode.PRIVATE)
    await attempt("limit", "true", limits=Limits(pids=5))
    await attempt("tty", "tty", tty=True)
    await attempt("whiteout", "sh", "-c", "rm /etc/passwd; rm -r /tmp; mkdir /tmp; ls /etc")
    answers["network"] = list(choose_network(None))
with LinuxSandbox(state_directory=base + "/state") as sandbox:
    asyncio.run(main())
print(json.dumps(answers))
sys.exit(9)
"""


def ordinary_user() -> pwd.struct_passwd:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("pybuildtest")
    subprocess.run(["useradd", "--no-create-home", "pybuildtest"], check=True, capture_output=True)
    return pwd.getpwnam("pybuildtest")


@pytest.fixture
def shared_directory(machine: None) -> Iterator[Path]:
    need(shutil.which("useradd") is not None, "no useradd to make an ordinary user with")
    user = ordinary_user()
    base = Path(
        subprocess.run(
            ["mktemp", "-d", "/var/tmp/pybuild-test-XXXXXX"], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    package = base / "code/runtime"
    shutil.copytree(
        Path(__file__).parents[2] / "runtime", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    make_lower(base / "lower")
    (base / "script.py").write_text(ROOTLESS)
    subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", base], check=True)
    yield base
    subprocess.run(["rm", "-rf", base], check=True)


def interpreter_for(user: pwd.struct_passwd) -> str:
    """An interpreter that another user may execute; the test's own may live in a private home."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        check = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        with contextlib.suppress(OSError):
            if (
                subprocess.run(
                    check,
                    user=user.pw_uid,
                    group=user.pw_gid,
                    extra_groups=[],
                    check=False,
                    capture_output=True,
                    cwd="/",
                ).returncode
                == 0
            ):
                return candidate
    pytest.skip("no Python 3.11 that another user may execute")


@pytest.mark.parametrize("kind", ["subid", "single"])
def test_ordinary_user(shared_directory: Path, kind: str) -> None:
    """An ordinary user gets sandboxes by entering a user namespace, and hears what is not possible there."""
    user = ordinary_user()
    if kind == "subid":
        need(shutil.which("newuidmap") is not None, "newuidmap is not installed")
    command = [
        interpreter_for(user),
        shared_directory / "script.py",
        shared_directory / "code",
        shared_directory,
        kind,
    ]
    done = subprocess.run(
        command,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    answers = json.loads(done.stdout)
    assert answers["id"] == [0, "0\n1\nCapEff:\t00000000a80425fb\n"]
    assert answers["host"][0] == 0, answers["host"]
    assert "lo" in answers["host"][1]
    assert answers["private"][0] == "NotPermitted"
    assert answers["limit"][0] == "NotPermitted"
    assert answers["tty"] == [0, "/dev/pts/0\r\n"]
    assert answers["network"][0] == "host"
    assert answers["whiteout"][0] == 0
    if kind == "subid":
        assert answers["chown"] == [0, "5:6\n"]
        assert answers["user"] == [0, "1000\n"]
    else:
        assert answers["chown"][0] == 1
        assert answers["user"][0] == "NotPermitted"


def test_reentry_passes_signals_on(shared_directory: Path) -> None:
    """A signal to the first process reaches the second, whose end is the end of both."""
    user = ordinary_user()
    code = (
        "import os,signal,sys,time\nsys.path.insert(0, sys.argv[1])\nfrom runtime import userns\n"
        "if userns.needs_reentry(): userns.reenter(sys.argv, dict(os.environ))\n"
        "def end(*_): os._exit(17)\nsignal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(60)\n"
    )
    (shared_directory / "wait.py").write_text(code)
    command = [interpreter_for(user), shared_directory / "wait.py", shared_directory / "code"]
    with subprocess.Popen(
        command,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 17


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
