"""COPY: where things go, whose they are, and what the layer holds."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import EPOCH, directory, file, symlink

from builder.errors import BuildError, MissingSource
from builder.ops import FetchedSource, InlineSource, MakeDir, StepSource
from builder.perform.files import make_directory
from builder.snapshots import Snapshot
from oci_image.digest import Digest
from oci_image.layer.entry import Entry, Kind

SCRATCH = Snapshot()


@pytest.fixture
def tree(bench):
    """A context with a file, a directory and a nested one."""
    root = bench.context_root
    (root / "f").write_text("F")
    (root / "g").write_text("G")
    (root / "d" / "sub").mkdir(parents=True)
    (root / "d" / "x").write_text("X")
    (root / "d" / "sub" / "y").write_text("Y")
    (root / "empty").mkdir()
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


BASE = (
    directory("etc", 0o750, 7, 8, 99),
    file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/home/app:/bin/sh\n"),
    file("etc/group", "root:x:0:\nstaff:x:50:\n"),
    directory("o", 0o700, 5, 6, 42),
    file("o/old", "old"),
    file("plain", "plain"),
    symlink("to-o", "/o"),
    symlink("to-file", "o/old"),
    symlink("dangling", "/new/place"),
    symlink("usr-lib", "usr/lib"),
    symlink("out", "../../../o"),
)


@pytest.fixture
def base(bench):
    return bench.base(*BASE)


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("source", "dest", "expected"),
    [
        ("f", "/new", {"new": "F 644"}),
        ("f", "/new/", {"new": "dir 755", "new/f": "F 644"}),
        ("f", "/a/b/new", {"a": "dir 755", "a/b": "dir 755", "a/b/new": "F 644"}),
        ("f", "/o", {"o/f": "F 644"}),
        ("f", "/o/", {"o/f": "F 644"}),
        ("f", "/plain", {"plain": "F 644"}),
        ("f", "/to-o", {"o/f": "F 644"}),
        ("f", "/to-o/deep/f2", {"o/deep": "dir 755", "o/deep/f2": "F 644"}),
        ("f", "/to-file", {"o/old": "F 644"}),
        ("f", "/dangling", {"new": "dir 755", "new/place": "F 644"}),
        ("f", "/out/f", {"o/f": "F 644"}),
        ("f", "/", {"f": "F 644"}),
        ("d", "/new", {"new": "dir 755", "new/x": "X 644", "new/sub": "dir 755", "new/sub/y": "Y 644"}),
        ("d", "/new/", {"new": "dir 755", "new/x": "X 644", "new/sub": "dir 755", "new/sub/y": "Y 644"}),
        ("d", "/o", {"o/x": "X 644", "o/sub": "dir 755", "o/sub/y": "Y 644"}),
        ("d", "/to-o/", {"o/x": "X 644", "o/sub": "dir 755", "o/sub/y": "Y 644"}),
        ("d", "/", {"x": "X 644", "sub": "dir 755", "sub/y": "Y 644"}),
        ("empty", "/e", {"e": "dir 755"}),
        ("d/*", "/o", {"o/x": "X 644", "o/y": "Y 644"}),
        ("[fg]", "/o/", {"o/f": "F 644", "o/g": "G 644"}),
        ("nothing*", "/never", {}),
        (("f", "g"), "/many/", {"many": "dir 755", "many/f": "F 644", "many/g": "G 644"}),
        (("f", "g"), "/last", {"last": "G 644"}),
        (
            ("d", "empty", "f"),
            "/o/",
            {"o/x": "X 644", "o/sub": "dir 755", "o/sub/y": "Y 644", "o/f": "F 644"},
        ),
    ],
)
def test_where_things_go(bench, base, source, dest, expected):
    """Source kind, destination kind, slash, links and wildcards decide; the rest stays as it was."""
    before = bench.listing(base)
    after = bench.listing(bench.copy(base, source, dest))
    assert after == {**before, **expected}


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("source", "dest", "message"),
    [
        ("d", "/plain", "cannot copy to non-directory: /plain"),
        ("d", "/to-file", "cannot copy to non-directory: /o/old"),
        ("f", "/plain/", "cannot copy to non-directory: /plain"),
        ("f", "/plain/below", "cannot copy to non-directory: /plain"),
    ],
)
def test_a_directory_never_replaces_a_file(bench, base, source, dest, message):
    """BuildKit's error, with the place where it happens."""
    with pytest.raises(BuildError, match=message):
        bench.copy(base, source, dest)


def test_a_file_never_replaces_a_directory(bench, tree):
    """Also deep in a copied tree."""
    base = bench.base(directory("o"), directory("o/x"))
    with pytest.raises(BuildError, match="cannot replace to directory /o/x with file"):
        bench.copy(base, "d", "/o")
    (tree / "o").write_text("a file")
    with pytest.raises(BuildError, match="cannot replace to directory /o/o with file"):
        bench.copy(bench.base(directory("o"), directory("o/o")), "o", "/o/")


@pytest.mark.parametrize("there", [symlink("o/sub", "elsewhere"), file("o/sub")])
@pytest.mark.usefixtures("tree")
def test_a_directory_of_a_tree_never_replaces_a_link_or_a_file(bench, there):
    """Inside a copied tree links of the destination are not followed."""
    with pytest.raises(BuildError, match="cannot copy to non-directory: /o/sub"):
        bench.copy(bench.base(directory("o"), there), "d", "/o")


def test_a_link_of_a_tree_never_replaces_a_directory(bench, tree):
    """A symlink in the source and a directory in the destination do not mix."""
    (tree / "l").mkdir()
    (tree / "l" / "sub").symlink_to("x")
    with pytest.raises(BuildError, match="cannot replace to directory /o/sub with file"):
        bench.copy(bench.base(directory("o"), directory("o/sub")), "l", "/o")


def test_links_in_a_copied_directory_stay_links_and_replace_files(bench, tree):
    """Only a link that is named is followed."""
    (tree / "l").mkdir()
    (tree / "l" / "old").symlink_to("/nowhere")
    base = bench.base(directory("o"), file("o/old"))
    assert bench.listing(bench.copy(base, "l", "/o"))["o/old"] == "-> /nowhere"


def test_a_named_link_is_followed_and_gives_its_own_name(bench, tree):
    """The content is that of the target, the name that of the link."""
    (tree / "link").symlink_to("d/x")
    (tree / "dir-link").symlink_to("d")
    assert bench.listing(bench.copy(SCRATCH, "link", "/o/")) == {"o": "dir 755", "o/link": "X 644"}
    assert "o/sub/y" in bench.listing(bench.copy(SCRATCH, "dir-link", "/o/"))


@pytest.mark.usefixtures("tree")
def test_an_existing_directory_keeps_mode_owner_and_time(bench, base):
    """It is repeated in the layer exactly as it was, so that every tool sees the same."""
    after = bench.tree(bench.copy(base, "d", "/o"))
    assert after.lookup("o") == directory("o", 0o700, 5, 6, 42)


def test_a_nested_existing_directory_takes_the_mode_of_the_source(bench, tree):
    """As in BuildKit, only the destination itself keeps its metadata."""
    (tree / "d" / "sub").chmod(0o711)
    base = bench.base(directory("o", 0o700), directory("o/sub", 0o777, 3, 3), file("o/sub/z", "z"))
    listing = bench.listing(bench.copy(base, "d", "/o"))
    assert listing["o/sub"] == "dir 711"
    assert listing["o"] == "dir 700"
    assert listing["o/sub/z"] == "z 644"


@pytest.mark.usefixtures("tree")
def test_parents_come_first_and_nothing_twice(bench, base):
    """The order of the layer suits every reader."""
    snapshot = bench.copy(base, ("d", "f", "d", "f"), "/o/a/b/")
    names = bench.written(snapshot)
    assert sorted(names) == ["o", "o/a", "o/a/b", "o/a/b/f", "o/a/b/sub", "o/a/b/sub/y", "o/a/b/x"]
    for name in names:
        parent = name.rpartition("/")[0]
        assert not parent or names.index(parent) < names.index(name)


@pytest.mark.usefixtures("tree")
def test_times_are_the_epoch(bench):
    """Neither the times of the context nor the clock get into a layer."""
    tree = bench.tree(bench.copy(SCRATCH, "d", "/a/b"))
    assert {entry.mtime for entry in tree.walk() if entry.path} == {EPOCH}


@pytest.mark.usefixtures("tree")
def test_equal_copies_give_equal_layers(bench):
    """The same copy over the same base has the same diff_id."""
    assert bench.copy(SCRATCH, "d", "/a") == bench.copy(SCRATCH, "d", "/a")


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("5", "5:5"),
        ("5:6", "5:6"),
        ("app", "1001:1002"),
        ("app:staff", "1001:50"),
        ("app:7", "1001:7"),
        ("7:staff", "7:50"),
        ("root", ""),
    ],
)
@pytest.mark.usefixtures("tree")
def test_chown(bench, base, owner, expected):
    """Names come from the destination; a number alone is both, a name alone brings its group."""
    listing = bench.listing(bench.copy(base, "d", "/n/m", owner=owner))
    text = f" {expected}" if expected else ""
    assert listing["n"] == f"dir 755{text}"
    assert listing["n/m/sub/y"] == f"Y 644{text}"
    assert listing["o"] == "dir 700 5:6"


@pytest.mark.parametrize("owner", ["ghost", "app:ghosts", "0:ghosts", "99999999999", "a:", ":b"])
@pytest.mark.usefixtures("tree")
def test_chown_to_nobody_is_an_error(bench, base, owner):
    """A name that is not there is not silently root."""
    with pytest.raises(BuildError, match=r"no (user|group)|invalid owner"):
        bench.copy(base, "f", "/x", owner=owner)


@pytest.mark.usefixtures("tree")
def test_chown_follows_links_to_the_account_files(bench):
    """/etc/passwd may be a link inside the image."""
    base = bench.base(symlink("etc", "real"), file("real/passwd", "app:x:3:4::/:/bin/sh\n"))
    assert bench.listing(bench.copy(base, "f", "/x", owner="app"))["x"] == "F 644 3:4"


@pytest.mark.parametrize(
    ("mode", "file_mode", "directory_mode"),
    [
        ("600", "600", "600"),
        ("0755", "755", "755"),
        ("4711", "4711", "4711"),
        ("u=rwX,go=rX", "644", "755"),
        ("a+x", "755", "755"),
        ("go-r", "600", "711"),
        ("g=u", "664", "775"),
        ("u+s,a+t", "5644", "5755"),
        ("ug=srx,o=", "6550", "6550"),
        ("+w", "666", "777"),
        ("u=", "44", "55"),
    ],
)
@pytest.mark.usefixtures("tree")
def test_chmod(bench, mode, file_mode, directory_mode):
    """Octal modes are taken as they are, also for new parents; symbolic ones change those of the source."""
    listing = bench.listing(bench.copy(SCRATCH, "d", "/n/m", mode=mode))
    assert listing["n/m/sub/y"] == f"Y {file_mode}"
    assert listing["n/m/sub"] == f"dir {directory_mode}"
    assert listing["n"] == listing["n/m"] == (f"dir {directory_mode}" if mode.isdigit() else "dir 755")


@pytest.mark.usefixtures("tree")
def test_a_new_destination_is_made_as_any_directory(bench, tree):
    """The mode of a copied directory is that of directories in it only, as with BuildKit."""
    (tree / "d").chmod(0o700)
    (tree / "d" / "sub").chmod(0o700)
    listing = bench.listing(bench.copy(SCRATCH, "d", "/o"))
    assert (listing["o"], listing["o/sub"]) == ("dir 755", "dir 700")
    assert bench.listing(bench.copy(SCRATCH, "d", "/o", owner="3:4"))["o"] == "dir 755 3:4"


def test_special_bits_attributes_and_hard_links_are_kept(bench, tree):
    """setuid bits stay even with a new owner; names of one file stay names of one file."""
    (tree / "d" / "x").chmod(0o4755)
    os.link(tree / "d" / "x", tree / "d" / "z")
    os.setxattr(tree / "d" / "x", "user.colour", b"red")
    snapshot = bench.copy(SCRATCH, "d", "/o", owner="9")
    tree_ = bench.tree(snapshot)
    x, z = tree_.where("o/x"), tree_.where("o/z")
    assert x[1].mode == z[1].mode == 0o4755
    assert x[1].uid == 9
    assert x[1].xattrs == (("user.colour", b"red"),)
    assert (x[0], x[2]) == (z[0], z[2])


def test_a_file_that_gives_way_leaves_its_other_names_their_content(bench, tree):
    """A later source replaces one name of a hard-linked file only."""
    (tree / "h").mkdir()
    (tree / "h" / "a").write_text("first")
    for name in ("b", "c"):
        os.link(tree / "h" / "a", tree / "h" / name)
    (tree / "a").write_text("second")
    snapshot = bench.copy(SCRATCH, ("h", "a"), "/o/")
    assert bench.listing(snapshot) == {
        "o": "dir 755",
        "o/a": "second 644",
        "o/b": "first 644",
        "o/c": "first 644",
    }
    places = [bench.tree(snapshot).where(f"o/{name}")[2] for name in "abc"]
    assert places[1] == places[2] != places[0]


@pytest.mark.usefixtures("tree")
def test_link_does_not_depend_on_the_base(bench, base):
    """A linked copy follows no link of the destination and has the same layer over every base."""
    over_base = bench.copy(base, "f", "/to-o/", link=True)
    over_nothing = bench.copy(SCRATCH, "f", "/to-o/", link=True)
    assert over_base.layers[-1] == over_nothing.layers[-1]
    assert bench.listing(over_base)["to-o/f"] == "F 644"


@pytest.mark.usefixtures("tree")
def test_exclude_leaves_things_out(bench):
    """Patterns are relative to the source."""
    assert bench.listing(bench.copy(SCRATCH, "d", "/o", exclude=("sub",))) == {"o": "dir 755", "o/x": "X 644"}
    assert "o/x" not in bench.listing(bench.copy(SCRATCH, "d", "/o", exclude=("**", "!sub")))


@pytest.mark.usefixtures("tree")
def test_parents_keeps_directories(bench):
    """--parents keeps the path from the root or from the mark on."""
    listing = bench.listing(bench.copy(SCRATCH, ("d/sub/y", "f"), "/o/", parents=True))
    assert listing == {
        "o": "dir 755",
        "o/d": "dir 755",
        "o/d/sub": "dir 755",
        "o/d/sub/y": "Y 644",
        "o/f": "F 644",
    }
    listing = bench.listing(bench.copy(SCRATCH, "d/./sub/y", "/o/", parents=True))
    assert listing == {"o": "dir 755", "o/sub": "dir 755", "o/sub/y": "Y 644"}


def test_whiteout_names_cannot_be_copied(bench, tree):
    """A file named like a whiteout would remove another one."""
    (tree / ".wh.passwd").write_text("")
    with pytest.raises(BuildError, match=r"\.wh\."):
        bench.copy(SCRATCH, ".wh.passwd", "/etc/")


def test_a_file_that_changes_after_planning_is_an_error(bench, tree):
    """What was digested is what is copied, or nothing."""
    source = bench.selected("f")
    (tree / "f").write_text("changed meanwhile")
    with pytest.raises(BuildError, match="changed"):
        bench.copy(SCRATCH, (source,), "/x")
    assert not list(bench.blobs.digests())


def test_heredocs_become_files(bench):
    """Mode 0644 and root, under a directory by their own name."""
    sources = (InlineSource("a.txt", b"A"), InlineSource("b.txt", b"B"))
    assert bench.listing(bench.copy(SCRATCH, sources, "/o/")) == {
        "o": "dir 755",
        "o/a.txt": "A 644",
        "o/b.txt": "B 644",
    }


def test_fetched_files_are_for_their_owner_only(bench):
    """Mode 0600, and the time that the server told."""
    with bench.blobs.writer() as writer:
        writer.write(b"data")
        digest = writer.commit()
    snapshot = bench.copy(SCRATCH, (FetchedSource("pkg.bin", digest, 77),), "/o/")
    assert bench.listing(snapshot)["o/pkg.bin"] == "data 600"
    assert bench.tree(snapshot).lookup("o/pkg.bin").mtime == 77


def test_devices_and_fifos_are_copied(bench, tree):
    """Special files are entries like others."""
    (tree / "s").mkdir()
    os.mkfifo(tree / "s" / "pipe", 0o600)
    assert bench.listing(bench.copy(SCRATCH, "s", "/o"))["o/pipe"] == "fifo 600"


class TestFromAnotherStage:
    """COPY --from."""

    @pytest.fixture
    def stage(self, bench):
        lower = bench.layer(
            directory("app", 0o711, 3, 4, 1000),
            file("app/bin", "BIN", 0o4755, uid=5, gid=6, mtime=2000),
            Entry("app/also", Kind.HARDLINK, 0o4755, 5, 6, 2000, link="app/bin"),
            file("app/gone", "gone"),
            symlink("app/link", "bin"),
            symlink("abs", "/app"),
            symlink("up", "../../../app/bin"),
            directory("app/sub"),
            file("app/sub/one.txt", "1"),
            file("app/sub/two.txt", "2"),
            directory("lost"),
            file("lost/below", "below"),
        )
        upper = bench.layer(file("app/.wh.gone"), file("lost/.wh..wh..opq"), file("lost/new", "new"))
        return Snapshot((lower, upper))

    @pytest.mark.parametrize(
        ("source", "dest", "expected"),
        [
            ("/app/bin", "/x", {"x": "BIN 4755 5:6"}),
            ("/app/link", "/x", {"x": "BIN 4755 5:6"}),
            ("/up", "/o/", {"o": "dir 755", "o/up": "BIN 4755 5:6"}),
            ("/abs/sub/", "/o", {"o": "dir 755", "o/one.txt": "1 644", "o/two.txt": "2 644"}),
            ("/app/sub/*.txt", "/o/", {"o": "dir 755", "o/one.txt": "1 644", "o/two.txt": "2 644"}),
            ("/app/s*/o*", "/o/", {"o": "dir 755", "o/one.txt": "1 644"}),
            ("/lost", "/o", {"o": "dir 755", "o/new": "new 644"}),
            ("/../../app/sub/one.txt", "/x", {"x": "1 644"}),
            ("/app/none*", "/x", {}),
        ],
    )
    def test_what_is_copied(self, bench, stage, source, dest, expected):
        """Modes, owners and contents come along; whiteouts hide, and are never copied."""
        assert bench.listing(bench.copy(SCRATCH, (StepSource(1, source),), dest, stage)) == expected

    def test_a_tree_keeps_links_times_and_owners(self, bench, stage):
        """Hard links stay hard links."""
        snapshot = bench.copy(SCRATCH, (StepSource(1, "/app"),), "/o", stage)
        assert bench.listing(snapshot) == {
            "o": "dir 755",
            "o/also": "BIN 4755 5:6",
            "o/bin": "BIN 4755 5:6",
            "o/link": "-> bin",
            "o/sub": "dir 755",
            "o/sub/one.txt": "1 644",
            "o/sub/two.txt": "2 644",
        }
        tree = bench.tree(snapshot)
        assert tree.where("o/bin")[2] == tree.where("o/also")[2]
        assert tree.lookup("o/bin").mtime == 2000
        assert tree.lookup("o").mtime == EPOCH

    def test_the_whole_filesystem(self, bench, stage):
        """Copying the root gives the merged view, without whiteouts."""
        snapshot = bench.copy(SCRATCH, (StepSource(1, "/"),), "/", stage)
        assert bench.listing(snapshot) == bench.listing(stage)
        assert not any(".wh." in name for name in bench.written(snapshot))

    def test_exclude_and_parents(self, bench, stage):
        """Both work as for the build context."""
        source = (StepSource(1, "/app"),)
        assert "o/sub/one.txt" not in bench.listing(
            bench.copy(SCRATCH, source, "/o", stage, exclude=("**/one*",))
        )
        listing = bench.listing(bench.copy(SCRATCH, source, "/o", stage, exclude=("**", "!sub/two.txt")))
        assert listing == {"o": "dir 755", "o/sub": "dir 755", "o/sub/two.txt": "2 644"}
        kept = bench.copy(SCRATCH, (StepSource(1, "/app/./sub/one.txt"),), "/o/", stage, parents=True)
        assert set(bench.listing(kept)) == {"o", "o/sub", "o/sub/one.txt"}

    def test_parents_do_not_follow_links(self, bench, stage):
        """What is below a link has no directories to keep, and is told instead of left out."""
        with pytest.raises(MissingSource, match="is below a symbolic link") as caught:
            bench.copy(SCRATCH, (StepSource(1, "/abs/sub/one.txt"),), "/o/", stage, parents=True)
        assert caught.value.hint == "name the real path, app/sub/one.txt"
        kept = bench.copy(SCRATCH, (StepSource(1, "/abs/./sub/one.txt"),), "/o/", stage, parents=True)
        assert set(bench.listing(kept)) == {"o", "o/sub", "o/sub/one.txt"}

    def test_a_missing_path_is_an_error_with_a_suggestion(self, bench, stage):
        """The nearest name is a hint."""
        with pytest.raises(MissingSource, match="/app/bim is not in the stage") as caught:
            bench.copy(SCRATCH, (StepSource(1, "/app/bim"),), "/x", stage)
        assert caught.value.hint == "did you mean /app/bin?"
        with pytest.raises(MissingSource):
            bench.copy(SCRATCH, (StepSource(1, "/app/gone"),), "/x", stage)

    def test_chown_looks_names_up_in_the_destination(self, bench, base, stage):
        """The source's accounts do not count."""
        listing = bench.listing(bench.copy(base, (StepSource(1, "/app/bin"),), "/x", stage, owner="app"))
        assert listing["x"] == "BIN 4755 1001:1002"


class TestWorkdir:
    """WORKDIR."""

    def make(self, bench, base, path, owner=""):
        return make_directory(MakeDir(path=path, owner=owner, epoch=EPOCH), base, bench.supplies())

    def test_a_new_directory_belongs_to_the_user_in_force(self, bench, base):
        """New parents, too."""
        listing = bench.listing(self.make(bench, base, "/srv/app", "app"))
        assert listing["srv"] == listing["srv/app"] == "dir 755 1001:1002"

    def test_an_existing_one_stays_as_it_is(self, bench, base):
        """The layer is empty then."""
        snapshot = self.make(bench, base, "/to-o", "app")
        assert bench.written(snapshot) == []
        assert bench.listing(snapshot) == bench.listing(base)

    def test_links_are_followed(self, bench, base):
        """A directory below a link is made where the link leads."""
        assert bench.listing(self.make(bench, base, "/to-o/w"))["o/w"] == "dir 755"
        assert bench.listing(self.make(bench, base, "/dangling"))["new/place"] == "dir 755"

    def test_a_file_in_the_place_is_an_error(self, bench, base):
        """It is not replaced."""
        with pytest.raises(BuildError, match="/plain is not a directory"):
            self.make(bench, base, "/plain")
        with pytest.raises(BuildError, match="non-directory"):
            self.make(bench, base, "/plain/below")

    def test_an_unknown_user_means_root(self, bench, base):
        """The user may be created later."""
        assert bench.listing(self.make(bench, base, "/w", "later"))["w"] == "dir 755"


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None)
@given(
    links=st.dictionaries(NAMES, st.sampled_from(["/a", "b/c", "../b", "c", "/a/b/../c", "."]), max_size=3),
    dest=PATHS,
)
def test_whatever_the_links_nothing_leaves_the_root(tmp_path_factory, links, dest):
    """Every entry of the layer has a clean path below the root, or the copy is refused."""
    from stand_ins import Bench

    bench = Bench(tmp_path_factory.mktemp("links"))
    base = bench.base(*(symlink(name, target) for name, target in sorted(links.items())))
    try:
        snapshot = bench.copy(base, (InlineSource("x", b"x"),), f"/{dest}")
    except BuildError as problem:
        assert "symbolic links" in problem.message or "non-directory" in problem.message  # noqa: PT017
    else:
        for path in bench.written(snapshot):
            assert not path.startswith("/")
            assert ".." not in path.split("/")
        assert "x 644" in bench.listing(snapshot).values()
    finally:
        bench.close()


def test_a_digest_is_that_of_the_content(bench):
    """The layer's blob is its uncompressed archive."""
    layer = bench.copy(SCRATCH, (InlineSource("x", b"x"),), "/x").layers[0]
    with bench.blobs.open(layer.descriptor.digest) as stream:
        assert Digest.of(stream.read()) == layer.diff_id
    assert bench.blobs.stat(layer.diff_id) == layer.descriptor.size


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("options", "made"),
    [
        ({}, (0o2755, 0, 2000)),
        ({"owner": "5:6"}, (0o2755, 5, 6)),
        ({"owner": "0:0"}, (0o2755, 0, 0)),
        ({"mode": "751"}, (0o2751, 0, 2000)),
        ({"link": True}, (0o755, 0, 0)),
    ],
)
def test_new_folders_in_a_set_group_id_folder(bench, options, made):
    """They take its group and its bit, as from mkdir(2); what is copied into them does not."""
    below = bench.base(directory("shared", 0o3777, 0, 2000, 99))
    tree = bench.tree(bench.copy(below, "f", "/shared/one/two/f", **options))
    for path in ("shared/one", "shared/one/two"):
        entry = tree.lookup(path)
        assert (entry.mode, entry.uid, entry.gid) == made
    assert tree.lookup("shared/one/two/f").gid == (made[2] if "owner" in options else 0)


_FOLDERS = ("one", "one/sub", "one/sub/deep", "two", "two/sub", "three")
_FILES = st.tuples(st.sampled_from(_FOLDERS), st.sampled_from(["a", "b", "sub", "z"]))


@settings(max_examples=40, deadline=None)
@given(
    st.sets(_FILES, max_size=8),
    st.lists(st.sampled_from([*_FOLDERS, "one/a", "t*"]), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from(["/", "/dest/", "/one/"]),
)
def test_files_that_are_copied_as_groups_make_the_same_layer(tmp_path_factory, files, sources, links, dest):
    """Directories and all below them are wholes while nothing gets in their way, which no layer may show."""
    import stand_ins

    layers = []
    for single in ((), ("put_branch",), ("put_branch", "put_group")):
        bench = stand_ins.Bench(tmp_path_factory.mktemp("bench"))
        made = []
        for folder in _FOLDERS:
            (bench.context_root / folder).mkdir(parents=True, exist_ok=True)
        for folder, name in sorted(files):
            path = bench.context_root / folder / name
            if path.is_dir():
                continue
            if links and made:
                os.link(made[0], path)
            else:
                path.write_text(f"{folder} {name}")
            made.append(path)
        with pytest.MonkeyPatch.context() as patch:
            for method in single:
                patch.setattr(f"builder.perform.draft.Draft.{method}", lambda *_: False)
            try:
                layers.append(bench.copy(SCRATCH, tuple(sources), dest).layers[-1].diff_id)
            except (BuildError, MissingSource) as problem:
                layers.append(type(problem))
        bench.close()

    assert layers[0] == layers[1] == layers[2]
