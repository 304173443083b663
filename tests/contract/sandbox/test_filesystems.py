"""Root file systems and mounts: what is visible, what is left behind, what cannot escape."""

# The event loop has nothing else to do while a test looks at files.
# ruff: noqa: ASYNC221, ASYNC240

import contextlib
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import NotPermitted, SandboxError
from runtime.mounts import Bind, FileContent, Overlay, Tmpfs
from runtime.sandbox import LinuxSandbox
from runtime.spec import DirectoryRoot, OverlayRoot, SandboxSpec
from tests.contract.sandbox.lab import Lab, run, shell

pytestmark = pytest.mark.userns


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
    """Writing resolv.conf works and is lost, as with Docker; `readonly_etc` refuses it, as BuildKit does."""
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
    script = (
        "ls /whole/sub /part /single/sub; cat /file; echo x > /scratch/x && cat /scratch/x; "
        "touch /part/x || echo refused"
    )
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
    """While and after a run the host's mount table knows nothing of it."""
    inside: list[bytes] = []
    outside: list[str] = []
    spec = lab.spec("sh", "-c", "cat /proc/self/mountinfo; sleep 0.2")

    def on_output(_stream: int, data: bytes) -> None:
        inside.append(data)
        outside.append(Path("/proc/self/mountinfo").read_text())

    await linux.run(spec, on_output=on_output)
    outside.append(Path("/proc/self/mountinfo").read_text())
    # Other programs mount things, too: what counts are the file systems of the sandbox, by their devices.
    lines = b"".join(inside).decode().splitlines()
    own = {line.split()[2] for line in lines if " - mqueue " not in line}
    assert len(own) > 4
    for table in outside:
        assert not own & {line.split()[2] for line in table.splitlines()}


async def test_upper_directory_on_an_overlay(linux: LinuxSandbox, lab: Lab) -> None:
    """Where the kernel refuses the upper directory the error says where to put it."""
    outer = lab.overlay()
    merged = lab.base / "merged"
    merged.mkdir()
    options = f"lowerdir={lab.lower},upperdir={outer.upper},workdir={outer.work}"
    subprocess.run(["mount", "-t", "overlay", "x", "-o", options, merged], check=True)
    try:
        for name in ("upper", "work"):
            (merged / name).mkdir()
        root = OverlayRoot(lowers=(str(lab.lower),), upper=str(merged / "upper"), work=str(merged / "work"))
        with pytest.raises(NotPermitted, match="overlay for the root file system") as caught:
            await shell(linux, lab, "true", rootfs=root)
        assert "volume" in caught.value.remedy
    finally:
        subprocess.run(["umount", merged], check=True)


async def test_volatile_overlay(linux: LinuxSandbox, lab: Lab) -> None:
    """A volatile upper directory works the same."""
    root = replace(lab.overlay(), volatile=True)
    assert (await shell(linux, lab, "echo x > /x; cat /x", rootfs=root)).out == "x\n"
    assert (lab.upper / "x").read_text() == "x\n"


async def test_image_without_any_directory(linux: LinuxSandbox, lab: Lab) -> None:
    """A layer with one static program and nothing else is enough."""
    bare = lab.base / "bare"
    bare.mkdir()
    shutil.copy(lab.lower / "bin/busybox", bare / "busybox")
    upper, work = lab.base / "u", lab.base / "w"
    upper.mkdir()
    work.mkdir()
    root = OverlayRoot(lowers=(str(bare),), upper=str(upper), work=str(work))
    result = await run(linux, SandboxSpec(argv=("/busybox", "ls", "/"), rootfs=root))
    assert result.out.split() == ["busybox", "dev", "etc", "proc", "sys"]
    assert list(upper.iterdir()) == []


async def test_set_attributes_survive_an_unrelated_stub(linux: LinuxSandbox, lab: Lab) -> None:
    """Writing beside a stub copies the directory up as the image had it."""
    (lab.lower / "root").mkdir(mode=0o700)
    mounts = (Tmpfs(target="/root/.cache/pip"),)
    await shell(linux, lab, "echo x > /root/file", mounts=mounts)
    assert sorted(os.listdir(lab.upper / "root")) == ["file"]
    assert stat.S_IMODE((lab.upper / "root").stat().st_mode) == 0o700
