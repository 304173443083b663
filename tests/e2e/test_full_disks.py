"""A disk that is full at each stage: one error that names the place, nothing half-written, and on later."""

import os
import re
import subprocess

import pytest

from tests.e2e.calls import call, refused
from tests.e2e.support import Pybuild, make_base, need
from tests.e2e.test_disk import fill
from tests.e2e.traces import broken_blobs, temporary

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("as_root")]
LARGE = 5 << 20


@pytest.fixture
def disk(tmp_path):
    """A file system of 24 MB."""
    need("mount", "umount", what="root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def source(tmp_path, archives):
    """A store elsewhere with an image of one large layer, and archives of it."""
    pybuild = Pybuild(tmp_path / "source")
    make_base("busybox", pybuild, archives)
    context = tmp_path / "large"
    context.mkdir()
    (context / "large").write_bytes(os.urandom(LARGE))
    (context / "Dockerfile").write_text("FROM scratch\nCOPY large /\n")
    assert call(pybuild.root, "-t", "large", context)[0] == 0
    assert call(pybuild.root, "save", "-o", tmp_path / "large.tar", "large")[0] == 0
    assert call(pybuild.root, "export", "-o", tmp_path / "root.tar", "large")[0] == 0
    return pybuild


def leave(place, free):
    """Fill a file system but for some bytes."""
    fill(place)
    with (place / "filler").open("rb+") as file:
        file.truncate((place / "filler").stat().st_size - free)


def whole(root):
    """A store without anything half-written."""
    assert temporary(root) == []
    assert broken_blobs(root) == []


WAYS = {
    "load": ("load", "-i", "large.tar"),
    "import": ("import", "root.tar", "bad"),
    "COPY": ("-t", "bad", "large"),
    "stdin": ("-t", "bad", "-"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_into_the_store(disk, source, tmp_path, way):
    """Archives, files and contexts do not fit: the store is named, stays whole, and takes them later."""
    root = disk / "store"
    (tmp_path / "large" / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\nCOPY large /\n")
    args = [tmp_path / word if (tmp_path / word).exists() else word for word in WAYS[way]]
    stdin = (tmp_path / "root.tar").read_bytes() if way == "stdin" else b""
    small = tmp_path / "small"
    small.mkdir()
    (small / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    assert call(root, "-t", "first", small)[0] == 0
    leave(disk, 2 << 20)

    told = refused(root, *args, statuses=(3,), stdin=stdin)

    assert "no space left on the device" in told
    assert str(disk) in told
    assert "hint: free some space" in told
    assert call(root, "inspect", "bad")[0] == 1
    (disk / "filler").unlink()
    status, _, again = call(root, "--progress", "plain", *args, stdin=stdin) if way == "COPY" else (0, "", "")
    assert status == 0
    if way == "COPY":
        assert re.search(r"^#(\d+) \[1/2\] COPY Dockerfile /\n#\1 CACHED", again, re.MULTILINE)
    elif way != "stdin":
        assert call(root, *args)[0] == 0
    whole(root)


OUTPUTS = {
    "oci": ("-o", "type=oci,dest={}/out.tar"),
    "docker": ("-o", "type=docker,dest={}/out.tar,compression=gzip"),
    "layout": ("-o", "type=oci,tar=false,dest={}/out"),
    "tar": ("-o", "type=tar,dest={}/out.tar"),
    "local": ("-o", "type=local,dest={}/out"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_goes_out(disk, source, tmp_path, kind):
    """An archive or directory that does not fit is named, and no part of a file is there."""
    context = tmp_path / "large"
    args = [word.format(disk) for word in OUTPUTS[kind]]
    leave(disk, 2 << 20)

    told = refused(source.root, *args, context, statuses=(3,))

    assert f"{disk}/out" in told
    assert "no space left on" in told.lower()
    left = {path.name: path.stat().st_size for path in disk.rglob("*") if path.is_file()}
    assert left.keys() - {"filler", "oci-layout"} == set() or max(left.values()) == left["filler"]
    assert not (disk / "out.tar").exists()
    assert "large" not in left
    (disk / "filler").unlink()
    status, _, again = call(source.root, "--progress", "plain", *args, context)
    assert status == 0, again
    assert re.search(r"COPY large /\n#\d+ CACHED", again)


def test_save_and_caches_and_reports(disk, source, tmp_path):
    """The same for `save` and `export`; a cache that does not fit is a warning, a report an error."""
    leave(disk, 2 << 20)
    for verb in ("save", "export"):
        told = refused(source.root, verb, "-o", disk / "x.tar", "large", statuses=(3,))
        assert f"cannot write {disk}/x.tar: No space left on device" in told
        assert os.listdir(disk) == ["filler"]
    context = tmp_path / "large"
    status, out, told = call(source.root, "--cache-to", f"type=local,dest={disk}/cache,mode=max", context)
    assert (status, out[:7]) == (0, "sha256:")
    assert "no space left" in told
    assert broken_blobs(disk / "cache") == []
    assert temporary(disk / "cache") == []
    fill(disk)
    for flag in ("--iidfile", "--metadata-file"):
        status, _, told = call(source.root, flag, disk / "report", context)
        assert (status, "No space left" in told, f"{disk}/report" in told) == (3, True, True)
        assert not (disk / "report").exists()


def test_a_pull_and_a_base(disk, source, registry, tmp_path):
    """Layers that do not fit, when they come and when they are unpacked: the store is named."""
    name = f"{registry.name}/large"
    assert call(source.root, "tag", "large", name)[0] == 0
    assert call(source.root, "push", name)[0] == 0
    root = disk / "store"
    make_base_in(root, source, tmp_path)
    leave(disk, 2 << 20)
    told = refused(root, "pull", name, statuses=(3,))
    assert "no space left on the device" in told
    assert str(disk) in told

    (disk / "filler").unlink()
    assert call(root, "pull", name)[0] == 0
    leave(disk, 2 << 20)
    context = tmp_path / "run"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {name}\nCOPY --from=busybox / /\nRUN true\n")
    done = Pybuild(root).build(context, "-t", "bad", check=False)
    assert done.returncode == 3, done.stderr
    assert "no space left on" in done.stderr.lower()
    assert str(disk) in done.stderr
    assert "Traceback" not in done.stderr
    whole(root)
    (disk / "filler").unlink()
    Pybuild(root).build(context, "-t", "good")
    whole(root)


def make_base_in(root, source, tmp_path):
    """Let a store have busybox."""
    assert call(source.root, "save", "-o", tmp_path / "busybox.tar", "busybox")[0] == 0
    assert call(root, "load", "-i", tmp_path / "busybox.tar")[0] == 0
