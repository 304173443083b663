"""Removal of trees."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from oci_image.layer.remove import remove_tree


def test_everything_goes_and_nothing_else(tmp_path):
    """Symlinks are removed, not what they lead to."""
    (tmp_path / "outside/d").mkdir(parents=True)
    (tmp_path / "outside/f").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/f").write_text("x")
    os.symlink(tmp_path / "outside", tree / "a/link")
    os.symlink(tmp_path / "outside/d", tree / "d")
    os.mkfifo(tree / "fifo")
    remove_tree(str(tree) + "/")
    assert not tree.exists()
    assert (tmp_path / "outside/f").read_text() == "kept"
    assert (tmp_path / "outside/d").is_dir()


def test_a_symlink_or_file_at_the_top_is_removed_itself(tmp_path):
    """Whatever is there, and nothing being there is fine."""
    (tmp_path / "d").mkdir()
    os.symlink("d", tmp_path / "s")
    (tmp_path / "f").write_text("")
    for name in ("s", "f", "absent", "absent/deeper"):
        remove_tree(str(tmp_path / name))
    assert os.listdir(tmp_path) == ["d"]


def test_thousands_of_levels(tmp_path):
    """Neither the stack nor the descriptors run out, nor does a path get too long."""
    here = os.open(tmp_path, os.O_RDONLY)
    for name in ["top"] + ["d"] * 5000:
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    (tmp_path / "top/.removed-1").mkdir()
    remove_tree(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to an ordinary user")
def test_closed_directories_are_opened_without_being_root():
    """Mode 000 keeps an ordinary user out until the mode is changed, which the owner may."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        (tree / "closed/sub/sub").mkdir(parents=True)
        (tree / "closed/f").write_text("")
        (tree / "readonly/sub").mkdir(parents=True)
        (tree / "readonly/f").write_text("")
        for path in (tree.parent, tree, *tree.rglob("*")):
            os.chown(path, 65534, 65534)
        for path, mode in (("closed/sub", 0), ("closed", 0), ("readonly", 0o500), ("", 0o500)):
            os.chmod(tree / path, mode)
        child = os.fork()
        if not child:
            try:
                os.setresuid(65534, 65534, 65534)
                remove_tree(str(tree))
            except BaseException:  # noqa: BLE001 - the child must not run the rest of the tests
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not tree.exists()


def test_what_cannot_be_removed_is_an_error(tmp_path):
    """A mount point inside, for one."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    (tmp_path / "tree/mount").mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "tree/mount"], check=False).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        with pytest.raises(OSError, match="busy"):
            remove_tree(str(tmp_path / "tree"))
    finally:
        subprocess.run(["umount", tmp_path / "tree/mount"], check=True)
