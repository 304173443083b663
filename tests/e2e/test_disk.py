"""What takes space, how it is given back beside running builds, and what a full disk does."""

import json
import os
import subprocess
import time

import pytest

from tests.e2e.support import Pybuild, wait_for

pytestmark = pytest.mark.userns


def written(path, text, **files):
    """A build context."""
    path.mkdir(exist_ok=True)
    for name, content in {"Dockerfile": text, **files}.items():
        (path / name).write_text(content)
    return path


def holders(pybuild, kind, *flags):
    """What `du` knows of one type."""
    found = json.loads(pybuild("du", "--format", "json", *flags).stdout)["holders"]
    return [one for one in found if one["type"] == kind]


@pytest.fixture
def context(tmp_path):
    """A build with a cache mount and two steps of different size."""
    text = (
        "FROM busybox\nRUN --mount=type=cache,target=/c,id=things echo 12345 > /c/x\n"
        "RUN head -c 300000 /dev/urandom > /big\nCOPY f /f\n"
    )
    return written(tmp_path / "c", text, f="F" * 1000)


def test_who_holds_what(busybox, context):
    """Images, steps, unpacked layers and mounts have a line each; shared bytes belong to nobody alone."""
    busybox.build(context, "-t", "app:1")
    steps = {one["description"]: one for one in holders(busybox, "regular")}
    assert steps["RUN head -c 300000 /dev/urandom > /big"]["size"] > 300000
    assert all(one["shared"] and not one["exclusive"] for one in steps.values())
    app, base = sorted(holders(busybox, "image"), key=lambda one: one["description"])
    assert (app["description"], base["description"]) == ("app:1", "busybox:latest")
    assert 0 < app["exclusive"] < 300000 < app["size"]  # its layers are those of cached steps, too
    (mount,) = holders(busybox, "exec.cachemount")
    assert (mount["description"], mount["reclaimable"]) == ("cache mount things", True)
    text = busybox("du", "--verbose").stdout
    assert "COPY f /f" in text
    assert "Cache mounts" in text

    busybox("rmi", "app:1")
    alone = {one["description"]: one for one in holders(busybox, "regular")}
    assert alone["RUN head -c 300000 /dev/urandom > /big"]["exclusive"] == 0  # the COPY above needs it
    assert alone["COPY f /f"]["exclusive"] > 1000


def test_prune_by_filter(busybox, context):
    """Only what all filters mean goes, and what is asked for is seen before with --dry-run."""
    busybox.build(context)
    dry = busybox("prune", "--force", "--filter", "type=exec.cachemount", "--dry-run").stdout
    assert "1 cache mounts" in dry
    assert len(holders(busybox, "exec.cachemount")) == 1
    busybox("prune", "--force", "--filter", "type=exec.cachemount")
    assert not holders(busybox, "exec.cachemount")
    assert len(holders(busybox, "regular")) == 3

    busybox("prune", "--force", "--filter", "until=1h")
    assert len(holders(busybox, "regular")) == 3
    (copy,) = holders(busybox, "regular", "--filter", "description~=^COPY")
    busybox("prune", "--force", "--filter", f"id={copy['id']}")
    assert len(holders(busybox, "regular")) == 2
    time.sleep(1.1)
    busybox("prune", "--force", "--filter", "unused-for=1s", "--filter", "type!=unpacked")
    assert not holders(busybox, "regular")
    assert holders(busybox, "unpacked")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--filter", "colour=red"], "no such filter"),
        (["--filter", "type=red"], "no such type"),
        (["--filter", "until=soon"], "a duration, as in 24h"),
        (["--filter", "until=1h", "--filter", "unused-for=2h"], "a duration is given already"),
        (["--filter", "id~=("], "--filter id~=("),
        (["--keep-storage", "much"], "as in 10GB"),
        (["--all", "--filter", "shared"], "--all leaves nothing to choose"),
    ],
)
def test_wrong_choices(pybuild, flags, message):
    """Each is an error that says what is possible."""
    done = pybuild("prune", "--force", *flags, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_prune_down_to_a_size(busybox, tmp_path):
    """What was unused for longest goes first, and no more than has to."""
    for name in ("old", "new"):
        text = f"FROM scratch\nCOPY f /{name}\n"
        busybox.build(written(tmp_path / name, text, f=name * 50000))
        time.sleep(0.05)
    busybox.build(tmp_path / "old")  # used once more: now the other one is the older
    busybox("prune", "--force", "--keep-storage", "200000")
    assert [one["description"] for one in holders(busybox, "regular")] == ["COPY f /old"]
    busybox("prune", "--force", "--keep-storage", "0")
    assert not holders(busybox, "regular")


def test_prune_all_beside_a_running_build(busybox, tmp_path):
    """Nothing that the build needs goes: layers below, what is unpacked, results of its finished steps."""
    text = (
        "FROM busybox AS one\nRUN echo 1 > /one\nFROM busybox\nRUN echo 2 > /two\n"
        "RUN --mount=type=cache,target=/c touch /c/began; sleep 3; cat /two > /three\n"
        "COPY --from=one /one /one\n"
    )
    context = written(tmp_path / "c", text)
    idle = written(tmp_path / "idle", "FROM busybox\nRUN echo idle > /idle\n")
    busybox.build(idle)
    mounts = busybox.root / "pybuild" / "mounts"
    build = busybox.start("--progress", "plain", "-t", "x", context)
    wait_for(lambda: list(mounts.glob("*/data/began")), "the step with the mount runs")
    assert any(one["in_use"] for one in holders(busybox, "exec.cachemount"))
    assert "In use by running builds: 1" in busybox("du").stdout
    busybox("rmi", "busybox")
    busybox("prune", "--all", "--force")
    assert not [one for one in holders(busybox, "regular") if "idle" in one["description"]]
    told = build.communicate(timeout=60)[1].decode()
    assert build.returncode == 0, told
    assert busybox("run", "x", "cat", "/one", "/two", "/three").stdout == "1\n2\n2\n"
    assert not list((busybox.root / "pybuild" / "leases").iterdir())


@pytest.fixture
def small_disk(tmp_path, as_root):
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place):
    """Leave no byte free."""
    with (place / "filler").open("wb", buffering=0) as file:
        for block in (1 << 20, 4096, 1):
            try:
                while file.write(b"x" * block) == block:
                    pass
            except OSError:
                continue


def test_a_cached_build_on_a_full_disk(small_disk, tmp_path):
    """All is known already, so nothing has to be written: it is done, and so is one step's miss not."""
    pybuild = Pybuild(small_disk / "store")
    context = written(tmp_path / "c", "FROM scratch\nCOPY f /f\nCOPY g /g\n", f="F", g="G")
    pybuild.build(context, "-t", "x")
    first = pybuild.build(context, "-t", "x")
    fill(small_disk)
    again = pybuild.build(context, "-t", "x", "--label", "a=b", check=False)
    assert "no space left" in again.stderr  # another image: its configuration has to be written
    done = pybuild.build(context, "-t", "x", "--build-arg", "unused=1")
    assert done.stdout == first.stdout
    assert "disk I/O error" not in done.stderr + again.stderr
    (context / "g").write_text("changed")
    failed = pybuild.build(context, "-t", "x", check=False)
    assert failed.returncode == 3
    assert "no space left" in failed.stderr.lower()
    assert "disk I/O error" not in failed.stderr


def test_prune_on_a_full_disk(small_disk, tmp_path):
    """Space can be given back where none is left to note it."""
    pybuild = Pybuild(small_disk / "store")
    pybuild.build(written(tmp_path / "c", "FROM scratch\nCOPY f /f\n", f="F" * 5_000_000))
    fill(small_disk)
    pybuild("prune", "--all", "--force")
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > 4_000_000
    assert not holders(pybuild, "regular")
