"""The merged view, extraction onto a directory and an overlay mount agree on what a stack of layers means."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from oci_image.errors import UnsafeLayer
from oci_image.layer.apply import apply_layer, remove_tree
from oci_image.layer.diff import diff_upper
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.index import LayerIndex, build_index
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and overlay mounts need root")

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.sampled_from(["a", "/a", "../b", "b/c", "/", "nowhere", "../../../c", "c"])
MODES = st.sampled_from([0o755, 0o700, 0o1777, 0o644])


def files(path):
    return st.builds(
        lambda data, mode: (Entry(path, Kind.FILE, mode, mtime=5, size=len(data)), data),
        st.binary(max_size=4),
        MODES,
    )


def members(path):
    parent, slash, name = path.rpartition("/")
    return st.one_of(
        files(path),
        files(path),
        st.builds(lambda mode: (Entry(path, Kind.DIRECTORY, mode, mtime=7), None), MODES),
        st.builds(lambda mode: (Entry(path, Kind.DIRECTORY, mode, mtime=7), None), MODES),
        st.builds(lambda target: (Entry(path, Kind.SYMLINK, 0o777, link=target), None), TARGETS),
        st.builds(lambda target: (Entry(path, Kind.HARDLINK, 0o644, link=target), None), PATHS),
        st.just((Entry(f"{parent}{slash}.wh.{name}", Kind.FILE, 0), b"")),
        st.just((Entry(f"{path}/.wh..wh..opq", Kind.FILE, 0), b"")),
    )


LAYERS = st.lists(PATHS.flatmap(members), max_size=8)
STACKS = st.lists(LAYERS, min_size=1, max_size=4)


def layer_tar(layer):
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    for entry, content in layer:
        writer.add(entry, content)
    writer.finish()
    return out.getvalue()


def described(kind, mode, size, link, content, *, implied):
    """What is compared; the mode of an implied directory is left open."""
    if kind is Kind.DIRECTORY:
        return ("directory", None if implied else mode)
    if kind is Kind.SYMLINK:
        return ("symlink", link)
    return ("file", mode, size, content)


def on_disk(root, implied):
    found = {}
    for directory, directories, names in os.walk(root):
        for name in directories + names:
            place = Path(directory) / name
            path = str(place.relative_to(root))
            try:
                status = place.lstat()
            except FileNotFoundError:
                # overlayfs lists a removed name if no other layer has its directory.
                continue
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                found[path] = described(Kind.SYMLINK, 0, 0, str(place.readlink()), b"", implied=False)
            elif stat.S_ISDIR(status.st_mode):
                found[path] = described(Kind.DIRECTORY, mode, 0, "", b"", implied=path in implied)
            else:
                assert stat.S_ISREG(status.st_mode)
                content = place.read_bytes()
                found[path] = described(Kind.FILE, mode, len(content), "", content, implied=False)
    return found


def in_tree(tree, implied):
    found = {}
    for entry in tree.walk():
        if entry.path:
            content = tree.read(entry.path, 100) if entry.kind is Kind.FILE else b""
            found[entry.path] = described(
                entry.kind, entry.mode, entry.size, entry.link, content, implied=entry.path in implied
            )
    return found


def outcome(layer):
    """The archive and index of a layer, or the text of its refusal."""
    tar = layer_tar(layer)
    try:
        return tar, build_index(io.BytesIO(tar))
    except UnsafeLayer as problem:
        return tar, str(problem)


def tree_of(tars, indexes):
    return LayerTree(indexes, lambda number, offset, size: tars[number][offset : offset + size])


def parts_are_sound(tars, indexes, roots, *, whiteouts):
    """Apply each layer; returns the directories that are implied somewhere."""
    implied = set()
    for tar, index, root in zip(tars, indexes, roots, strict=True):
        applied = apply_layer(io.BytesIO(tar), root, whiteouts=whiteouts)
        assert set(applied.implied) == index.implied
        implied.update(applied.implied)
    return implied


@needs_root
@given(STACKS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_merging_agrees_with_the_tree(stack):
    """Applying layers onto one directory gives what the merged view shows."""
    results = [outcome(layer) for layer in stack]
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        for tar, index in results:
            if isinstance(index, str):
                with pytest.raises(UnsafeLayer) as refusal:
                    apply_layer(io.BytesIO(tar), root, whiteouts="merge")
                assert str(refusal.value) == index
                return
        tars, indexes = zip(*results, strict=True)
        implied = parts_are_sound(tars, indexes, [root] * len(tars), whiteouts="merge")
        assert on_disk(root, implied) == in_tree(tree_of(tars, indexes), implied)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    """A directory for overlay mounts; a tmpfs, because the tests may themselves run on overlayfs."""
    base = tmp_path_factory.mktemp("overlay")
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", base], check=False).returncode:
        pytest.skip("needs root and mount(8)")
    try:
        yield base
    finally:
        subprocess.run(["umount", base], check=True)


def mounted(lowers, upper, work, place):
    options = f"lowerdir={':'.join(reversed(lowers))}"
    if upper:
        options += f",upperdir={upper},workdir={work},redirect_dir=off,metacopy=off,index=off"
    done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, place], check=False)
    if done.returncode:
        pytest.skip("overlayfs cannot be mounted here")


@given(STACKS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_overlay_mount_agrees_with_the_tree(overlay, stack):
    """Layers applied one by one and mounted over one another give what the merged view shows."""
    results = [outcome(layer) for layer in stack]
    assume(not any(isinstance(index, str) or "" in index.hidden for _, index in results))
    tars, indexes = zip(*results, strict=True)
    place = tempfile.mkdtemp(dir=overlay)
    try:
        roots = [f"{place}/{number}" for number in range(len(tars))]
        # overlayfs wants two lower directories at least when there is no upper one.
        for directory in [*roots, f"{place}/base", f"{place}/merged"]:
            os.mkdir(directory, 0o755)
        implied = parts_are_sound(tars, indexes, roots, whiteouts="overlay")
        mounted([f"{place}/base", *roots], "", "", f"{place}/merged")
        try:
            assert on_disk(f"{place}/merged", implied) == in_tree(tree_of(tars, indexes), implied)
        finally:
            subprocess.run(["umount", f"{place}/merged"], check=True)
    finally:
        remove_tree(place)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["write", "remove", "mkdir", "symlink", "link", "chmod", "rename"]), PATHS, PATHS
    ),
    max_size=10,
)


def perform(root, operation, path, other):
    place, second = f"{root}/{path}", f"{root}/{other}"
    inside = [os.path.realpath(os.path.dirname(name)) for name in (place, second)]
    if any(os.path.commonpath([directory, root]) != root for directory in inside) or os.path.islink(place):
        # Without chroot, symlinks of the tree would lead to the machine that runs the test.
        return
    try:
        if operation == "write":
            Path(place).write_text("new")
        elif operation == "remove":
            shutil.rmtree(place) if os.path.isdir(place) and not os.path.islink(place) else os.unlink(place)
        elif operation == "mkdir":
            os.mkdir(place)
        elif operation == "symlink":
            os.symlink("a", place)
        elif operation == "link":
            os.link(place, second, follow_symlinks=False)
        elif operation == "chmod":
            os.chmod(place, 0o711)
        else:
            os.rename(place, second)
    except OSError as problem:
        if problem.errno in (errno.EIO, errno.ESTALE):
            raise


@given(LAYERS, OPERATIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_diff_of_the_upper_directory_reproduces_the_mount(overlay, base, operations):
    """The layer made from an upper directory turns the tree below into what was seen in the mount."""
    tar, index = outcome(base)
    assume(isinstance(index, LayerIndex) and "" not in index.hidden)
    place = tempfile.mkdtemp(dir=overlay)
    try:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{place}/{name}", 0o755)
        apply_layer(io.BytesIO(tar), f"{place}/lower", whiteouts="overlay")
        mounted([f"{place}/lower"], f"{place}/upper", f"{place}/work", f"{place}/merged")
        try:
            for operation, path, other in operations:
                perform(f"{place}/merged", operation, path, other)
            expected = on_disk(f"{place}/merged", set())
        finally:
            subprocess.run(["umount", f"{place}/merged"], check=True)
        out = io.BytesIO()
        writer = LayerWriter(out.write)
        below = tree_of([tar], [index])
        diff_upper(f"{place}/upper", write=writer, lower=below, stamp=lambda _: 0)
        writer.finish()
        made = build_index(io.BytesIO(out.getvalue()))
        assert not made.implied
        for hidden in made.hidden:
            assert below.exists(hidden)
        assert in_tree(tree_of([tar, out.getvalue()], [index, writer.index()]), set()) == expected
    finally:
        remove_tree(place)
