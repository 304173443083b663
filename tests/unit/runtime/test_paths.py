"""Paths are resolved inside a root and cannot leave it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime import paths, stubs


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    inside = tmp_path / "root"
    (inside / "a/b").mkdir(parents=True)
    (inside / "a/file").write_text("text")
    os.symlink("/a", inside / "absolute")
    os.symlink("../../../..", inside / "a/up")
    os.symlink("loop", inside / "loop")
    os.symlink("/nowhere/deep", inside / "dangling")
    os.mkfifo(inside / "fifo")
    (tmp_path / "outside").write_text("secret")
    os.symlink(tmp_path / "outside", inside / "escape")
    fd = os.open(inside, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("absolute/b", "/a/b"),
        ("/a/up/a/file", "/a/file"),
        ("/a/b/../../../../a", "/a"),
        ("/dangling/x", "/nowhere/deep/x"),
        ("/not/there", "/not/there"),
        ("/", "/"),
        ("/a/./b//", "/a/b"),
    ],
)
def test_chase(root: int, path: str, expected: str) -> None:
    """Links are followed inside the root, what is missing stays as it is named."""
    assert paths.chase(root, path) == expected


def test_chase_ends_on_loops(root: int) -> None:
    """A link to itself is an error, not for ever."""
    with pytest.raises(OSError, match="Too many levels"):
        paths.chase(root, "/loop/x")


def test_reading_stays_inside(root: int) -> None:
    """A link out of the root reads nothing; neither do pipes, directories or absent files."""
    assert paths.read_in_root(root, "/absolute/file", 100) == b"text"
    for name in ("/escape", "/fifo", "/a", "/missing", "/a/file/x", "/loop"):
        assert paths.read_in_root(root, name, 100) == b""
    with pytest.raises(OSError, match="too large"):
        paths.read_in_root(root, "/a/file", 3)


def test_making_stays_inside(root: int, tmp_path: Path) -> None:
    """Directories are made where the links lead inside the root, and told shallowest first."""
    made = paths.make_in_root(root, "/a/up/../new/er", directory=True, mode=0o755, owner=None)
    assert made == ["/new", "/new/er"]
    assert (tmp_path / "root/new/er").is_dir()
    made = paths.make_in_root(root, "/dangling/file", directory=False, mode=0o755, owner=None)
    assert made == ["/nowhere", "/nowhere/deep", "/nowhere/deep/file"]
    assert (tmp_path / "root/nowhere/deep/file").read_bytes() == b""
    assert paths.make_in_root(root, "/a/b", directory=True, mode=0o755, owner=None) == []


names = st.sampled_from(["a", "b", "up", "..", "absolute", "escape", "dangling", "new", "."])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(names, min_size=1, max_size=6))
def test_no_path_escapes(root: int, tmp_path: Path, parts: list[str]) -> None:
    """Whatever is asked for, nothing appears outside the root."""
    before = set(os.listdir(tmp_path)), set(os.listdir("/"))
    with contextlib.suppress(OSError):
        paths.make_in_root(root, "/" + "/".join(parts), directory=True, mode=0o755, owner=None)
    assert (set(os.listdir(tmp_path)), set(os.listdir("/"))) == before
    assert (tmp_path / "outside").read_text() == "secret"


def test_ancestors() -> None:
    """From the top down, without the root and the path itself."""
    assert paths.ancestors("/a/b/c") == ["/a", "/a/b"]
    assert paths.ancestors("/a") == []


def test_stubs_are_removed_when_empty(tmp_path: Path) -> None:
    """Empty stubs go, and the times of the parent return; what was filled stays."""
    (tmp_path / "one/two").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "full").write_text("kept")
    entries = [
        {"made": ["/one", "/one/two"], "parent": "/", "times": [5_000_000_000, 7_000_000_000]},
        {"made": ["/file"], "parent": "/", "times": [6_000_000_000, 8_000_000_000]},
        {"made": ["/full", "/absent"], "parent": "/", "times": [6_000_000_000, 9_000_000_000]},
    ]
    stubs.remove(str(tmp_path), entries)
    assert os.listdir(tmp_path) == ["full"]
    assert tmp_path.stat().st_mtime_ns == 7_000_000_000


def test_stub_cleaner_follows_no_link(tmp_path: Path) -> None:
    """A directory that a step replaced by a link to elsewhere is not followed (CVE-2024-23652)."""
    victim = tmp_path / "victim"
    (victim / "empty").mkdir(parents=True)
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(victim, root / "dir")
    os.symlink("../victim", root / "relative")
    for name in ("dir", "relative"):
        stubs.remove(str(root), [{"made": [f"/{name}/empty"], "parent": f"/{name}", "times": [1, 1]}])
    assert (victim / "empty").is_dir()
    assert victim.stat().st_mtime_ns != 1
