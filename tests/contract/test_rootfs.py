"""The contract of root filesystem drivers: what a command did to a workspace is what its layer says."""

import importlib.util
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from builder.rootfs.copying import CopyingDriver
from builder.rootfs.open import filesystem_of, open_driver
from builder.rootfs.overlay import OverlayDriver
from builder.scratch import Scratch
from builder.snapshots import Snapshot
from oci_image.errors import UnsafeLayer, VerificationFailed
from oci_image.image import Layer
from oci_image.layer.entry import Entry, Kind
from runtime.probe import can_sandbox
from runtime.sandbox import LinuxSandbox
from runtime.spec import SandboxSpec

BUSYBOX = "/bin/busybox"
EPOCH = 315_532_800
NAMES = Path(__file__).parents[1] / "unit" / "builder" / "run" / "stand_ins.py"


def _stand_ins():
    if "stand_ins" not in sys.modules:
        spec = importlib.util.spec_from_file_location("stand_ins", NAMES)
        module = importlib.util.module_from_spec(spec)
        sys.modules["stand_ins"] = module
        spec.loader.exec_module(module)
    return sys.modules["stand_ins"]


DRIVERS = {"overlay": OverlayDriver, "copying": CopyingDriver}


class Workshop:
    """A driver over a store, a sandbox, and a short way to run a command."""

    def __init__(self, root, kind, sandbox):
        stand_ins = _stand_ins()
        self.bench = stand_ins.Bench(root)
        self.scratch = Scratch(self.bench.state)
        self.driver = DRIVERS[kind](self.bench.blobs, self.bench.layers, self.scratch, self.bench.state)
        self.sandbox = sandbox
        directory, file, symlink = stand_ins.directory, stand_ins.file, stand_ins.symlink
        self.busybox = (Entry("bin/busybox", Kind.FILE, 0o755), Path(BUSYBOX).read_bytes())
        applets = (
            "sh",
            "rm",
            "mkdir",
            "ln",
            "mv",
            "chmod",
            "chown",
            "touch",
            "cat",
            "echo",
            "rmdir",
            "mkfifo",
        )
        self.base = self.bench.base(
            directory("bin"),
            self.busybox,
            *(symlink(f"bin/{name}", "busybox") for name in applets),
            directory("etc", 0o750, mtime=5),
            file("etc/config", "old", mtime=6),
            directory("d", 0o711, 3, 4),
            file("d/a", "A"),
            file("d/b", "B"),
            directory("d/sub"),
            file("d/sub/c", "C"),
        )

    async def run(self, command, snapshot=None, *, stamp=None, skip=frozenset()):
        snapshot = snapshot or self.base
        workspace = self.driver.prepare(snapshot)
        try:
            spec = SandboxSpec(argv=("/bin/sh", "-ec", command), rootfs=workspace.root, env=("PATH=/bin",))
            output = []
            status = await self.sandbox.run(spec, on_output=lambda _, data: output.append(data))
            assert status.ok, output
            layer = workspace.capture(stamp or (lambda _: EPOCH), skip=skip)
        finally:
            workspace.release()
            workspace.release()
        return snapshot.with_layer(layer)

    def names(self, snapshot):
        return sorted(self.bench.written(snapshot))

    def listing(self, snapshot):
        tree = self.bench.tree(snapshot)
        show = sys.modules["stand_ins"]._shown
        kept = (entry for entry in tree.walk() if entry.path and not entry.path.startswith("bin"))
        return {entry.path: show(entry, tree) for entry in kept}

    def close(self):
        self.scratch.close()
        self.bench.close()


@pytest.fixture(scope="module")
def sandbox():
    required = "userns" in os.environ.get("PYBUILD_REQUIRE", "").split(",")
    ability = can_sandbox()
    reason = None if ability.ok else f"{ability.name}: {ability.detail}"
    if not os.path.exists(BUSYBOX) or os.getuid() != 0:
        reason = "needs root and busybox"
    if reason:
        pytest.fail(reason) if required else pytest.skip(reason)
    with LinuxSandbox() as made:
        yield made


@pytest.fixture(params=DRIVERS)
def shop(request, tmp_path, sandbox):
    made = Workshop(tmp_path, request.param, sandbox)
    yield made
    made.close()


pytestmark = pytest.mark.userns


async def test_new_changed_and_removed_files(shop):
    """The layer has exactly what changed."""
    after = await shop.run("echo new > /new; echo more >> /etc/config; rm /d/a")
    assert [name for name in shop.names(after) if name not in ("d", "etc")] == [
        "d/.wh.a",
        "etc/config",
        "new",
    ]
    assert shop.listing(after) == {
        "etc": "dir 750",
        "etc/config": "oldmore\n 644",
        "d": "dir 711 3:4",
        "d/b": "B 644",
        "d/sub": "dir 755",
        "d/sub/c": "C 644",
        "new": "new\n 644",
    }


def _etc_of(shop, kind):
    stand_ins = sys.modules["stand_ins"]
    directory, file, symlink = stand_ins.directory, stand_ins.file, stand_ins.symlink
    return {
        "absent": [],
        "empty": [directory("etc", 0o750, mtime=5)],
        "some": [directory("etc", 0o1755, mtime=7), file("etc/hosts", "x"), directory("proc", 0o555)],
        "all": [
            directory("etc"),
            *(file(f"etc/{name}", "x") for name in ("hosts", "hostname", "resolv.conf")),
            *(directory(name, 0o700, mtime=9) for name in ("proc", "dev", "sys")),
        ],
        "linked": [directory("etc"), symlink("etc/resolv.conf", "../run/resolv.conf")],
        "link": [directory("real"), symlink("etc", "real")],
        "owned": [directory("etc", 0o755, 3, 4)],
    }[kind]


@pytest.mark.parametrize("kind", ["absent", "empty", "some", "all", "linked", "link", "owned"])
async def test_what_the_driver_knows_to_be_missing_is_missing(tmp_path, sandbox, kind):
    """A sandbox looks the same, and leaves the same, whether it looks for the places of mounts or is told."""
    shop = Workshop(tmp_path, "overlay", sandbox)
    applets = ("sh", "stat", "ls", "cat", "touch")
    base = shop.bench.base(
        sys.modules["stand_ins"].directory("bin"),
        shop.busybox,
        *(sys.modules["stand_ins"].symlink(f"bin/{name}", "busybox") for name in applets),
        *_etc_of(shop, kind),
    )
    command = (
        "stat -c '%n %a %u:%g %Y %F' /* /etc/*; cat /etc/hosts /etc/hostname /etc/resolv.conf; touch /etc/new"
    )
    seen, known = [], []
    for told in (True, False):
        workspace = shop.driver.prepare(base)
        known.append(workspace.root.lacks)
        root = workspace.root if told else replace(workspace.root, lacks=None)
        spec = SandboxSpec(argv=("/bin/sh", "-c", command), rootfs=root, env=("PATH=/bin",))
        output = []
        await sandbox.run(spec, on_output=lambda _, data, output=output: output.append(data))
        text = b"".join(output).decode()
        # What is the sandbox's own was made just now.
        made = {"absent": ["/etc "], "linked": ["/run "]}.get(kind, [])
        own = ("/dev ", "/proc ", "/sys ", *made)
        lines = [line for line in text.splitlines() if not line.startswith(own)]
        lines = [re.sub(r"^(/etc/(hosts|hostname|resolv.conf) .*) \d{9,} ", r"\1 ", line) for line in lines]
        seen.append(
            (
                lines,
                [
                    str(entry)
                    for entry in shop.bench.written(base.with_layer(workspace.capture(lambda _: EPOCH)))
                ],
            )
        )
        workspace.release()
    assert seen[0] == seen[1]
    assert (known[0] is None) is (kind in ("linked", "link", "owned"))
    shop.close()


@pytest.mark.parametrize(
    ("command", "gone", "new"),
    [
        ("rm -r /d", ["d", "d/a", "d/b", "d/sub", "d/sub/c"], {}),
        (
            "rm -r /d; mkdir /d; echo x > /d/x",
            ["d/a", "d/b", "d/sub", "d/sub/c"],
            {"d": "dir 755", "d/x": "x\n 644"},
        ),
        ("rm -r /d; echo file > /d", ["d/a", "d/b", "d/sub", "d/sub/c"], {"d": "file\n 644"}),
        ("rm /d/a; mkdir /d/a; touch /d/a/x", [], {"d/a": "dir 755", "d/a/x": " 644"}),
        ("rm /d/a; ln -s b /d/a", [], {"d/a": "-> b"}),
        ("mv /d/sub /moved", ["d/sub", "d/sub/c"], {"moved": "dir 755", "moved/c": "C 644"}),
        ("mv /d/a /d/b", ["d/a"], {"d/b": "A 644"}),
        ("ln /d/a /d/link", [], {"d/link": "A 644"}),
        ("chmod 4755 /d/a; chown 7:8 /d/b", [], {"d/a": "A 4755", "d/b": "B 644 7:8"}),
        ("chmod 700 /d", [], {"d": "dir 700 3:4"}),
        ("mkfifo /pipe", [], {"pipe": "fifo 644"}),
        ("echo x > /tmp1; rm /tmp1", [], {}),
        ("true", [], {}),
    ],
)
async def test_what_a_command_did(shop, command, gone, new):
    """The merged view after a step is what the command left behind."""
    expected = {path: text for path, text in shop.listing(shop.base).items() if path not in gone}
    after = await shop.run(command)
    assert shop.listing(after) == {**expected, **new}


async def test_a_step_sees_what_the_one_before_left(shop):
    """Layers stack, whiteouts included, whichever way they were unpacked."""
    first = await shop.run("rm -r /d; mkdir /d; echo 1 > /d/one; ln /d/one /d/two")
    second = await shop.run("test ! -e /d/a; cat /d/one >> /etc/config; rm /d/two", first)
    third = await shop.run("test ! -e /d/two; test -e /d/one; echo 3 > /d/three", second)
    assert shop.listing(third)["d/three"] == "3\n 644"
    assert "d/two" not in shop.listing(third)
    assert shop.listing(third)["etc/config"] == "old1\n 644"


async def test_nothing_changed_gives_an_empty_layer(shop):
    """Mounting proc, dev and the files of /etc leaves no trace."""
    after = await shop.run("true")
    assert shop.names(after) == []


async def test_times_are_stamped(shop):
    """Every entry has the time that the stamp gives for its own; the next step sees it on disk."""
    after = await shop.run(
        "echo x > /now; touch -d @1000 /old", stamp=lambda mtime: int(mtime) if mtime < 2000 else 4242
    )
    tree = shop.bench.tree(after)
    assert tree.lookup("now").mtime == 4242
    assert tree.lookup("old").mtime == 1000
    if isinstance(shop.driver, OverlayDriver):
        unpacked = Path(shop.driver.unpacked(after)[-1])
        assert (unpacked / "now").lstat().st_mtime == 4242


async def test_skipped_places_are_no_part_of_the_layer(shop):
    """What was made for a mount, or lies in it, stays out."""
    after = await shop.run(
        "mkdir -p /cache/deep; echo x > /cache/deep/x; echo y > /kept", skip=frozenset(("cache",))
    )
    assert shop.names(after) == ["kept"]


async def test_a_name_like_a_whiteout_is_refused(shop):
    """It could not be told from a removal."""
    with pytest.raises(Exception, match=r"\.wh\."):
        await shop.run("echo x > /.wh.d")


async def test_equal_layers_in_one_stack(shop):
    """The same layer twice is mounted once."""
    first = await shop.run("echo x > /x")
    twice = Snapshot((*first.layers, first.layers[-1], shop.base.layers[0], first.layers[-1]))
    assert "x" in shop.listing(await shop.run("cat /x; echo y > /y", twice))


async def test_directories_without_an_entry_look_as_below(shop):
    """A layer that lacks entries for parents does not change their mode, owner or attributes."""
    below = shop.bench.layer(Entry("d", Kind.DIRECTORY, 0o1777, 3, 4, 9))
    sparse = shop.bench.layer((Entry("d/deep/file", Kind.FILE, 0o644), b"x"))
    snapshot = Snapshot((*shop.base.layers, below, sparse))
    after = await shop.run("chmod 600 /d/deep/file", snapshot)
    assert shop.listing(after)["d"] == "dir 1777 3:4"
    if isinstance(shop.driver, OverlayDriver):
        top = Path(shop.driver.unpacked(snapshot)[-1])
        assert (top / "d").stat().st_mode & 0o7777 == 0o1777
        assert shop.bench.layers.index(sparse).implied
        assert top.name != sparse.diff_id.hex


async def test_a_layer_that_hides_everything_below(shop):
    """An opaque mark at the top of a layer leaves nothing of the layers below."""
    stand_ins = sys.modules["stand_ins"]
    top = shop.bench.layer(
        stand_ins.file(".wh..wh..opq"),
        stand_ins.directory("bin"),
        shop.busybox,
        stand_ins.symlink("bin/sh", "busybox"),
    )
    after = await shop.run("test ! -e /d; echo x > /x", Snapshot((*shop.base.layers, top)))
    assert shop.listing(after) == {"x": "x\n 644"}


def test_the_empty_snapshot(shop):
    """A workspace over nothing is an empty directory tree."""
    workspace = shop.driver.prepare(Snapshot())
    assert shop.names(Snapshot((workspace.capture(lambda _: EPOCH),))) == []
    workspace.release()


def test_a_broken_layer_leaves_nothing(shop):
    """Neither a half-unpacked directory nor an index stays."""
    with shop.bench.blobs.writer() as writer:
        writer.write(b"this is no archive" * 100)
        digest = writer.commit()
    broken = Layer(digest, shop.base.layers[0].descriptor.__class__(media_type="x", digest=digest, size=1800))
    with pytest.raises((UnsafeLayer, VerificationFailed)):
        shop.driver.prepare(Snapshot((broken,)))
    kept = Path(shop.bench.state) / "rootfs"
    assert not kept.exists() or digest.hex not in os.listdir(kept)
    assert not (Path(shop.bench.state) / "index" / digest.hex).exists()


def test_released_workspaces_leave_nothing(shop):
    """Only unpacked layers stay; the temporary directory is empty."""
    shop.driver.prepare(shop.base).release()
    left = [path.name for place in (Path(shop.bench.state) / "tmp").iterdir() for path in place.iterdir()]
    assert not any(name.startswith(("run", "copy", "layer")) for name in left)


MOUNTS = r"""1 0 8:1 / / rw - ext4 /dev/a rw
2 1 8:2 / /data rw shared:1 - tmpfs t rw
3 1 8:3 / /data rw shared:1 master:2 - overlay o rw
4 3 8:4 / /data/store rw - ext4 /dev/b rw
5 1 8:5 / /a\040b rw - xfs /dev/c rw
nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/data/x", "overlay"), ("/data/store/y", "ext4"), ("/", "ext4"), ("/datax", "ext4"), ("/a b/c", "xfs")],
)
def test_the_filesystem_of_a_path(path, kind):
    """The longest mount point that holds the path, the last of several on one place."""
    assert filesystem_of(path, MOUNTS) == kind


def test_the_driver_for_an_ordinary_directory(shop):
    """Where overlayfs works it is used."""
    bench = shop.bench
    made = open_driver(bench.blobs, bench.layers, shop.scratch, bench.state, user_namespace=False)
    on_overlay = filesystem_of(bench.state, Path("/proc/self/mountinfo").read_text()) == "overlay"
    assert isinstance(made, CopyingDriver if on_overlay else OverlayDriver)
