"""The build context: what patterns select, what the digest covers, and what happens to files that change."""

import os
import posixpath
import socket
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.contexts import filedigests
from builder.contexts.context import open_context
from builder.contexts.finding import has_magic, normalised
from builder.contexts.missing import IgnoreFile, hiding_rule
from builder.contexts.statcache import StatCache
from builder.errors import InvalidContext, MissingSource
from dockerfile_grammar.errors import InvalidPattern
from dockerfile_grammar.ignorefile import IgnoreMatcher
from dockerfile_grammar.wildcards import match_wildcard
from oci_image.digest import Digest


def make(root, files):
    """Write {path: content}: text for files, None for directories, ("->", target) for links."""
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            place.mkdir(exist_ok=True)
        elif isinstance(content, tuple):
            place.symlink_to(content[1])
        else:
            place.write_text(content)
            place.chmod(0o644)
    return root


class Opened:
    """A context over a fresh tree, with a stat cache beside it."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.stats = StatCache(str(tmp_path / "stats"))
        self.opened = []

    def __call__(self, files=(), **options):
        make(self.root, dict(files))
        context = open_context(str(self.root), self.stats, **options)
        self.opened.append(context)
        return context

    def names(self, files, pattern, **options):
        """(source name, entry name) of everything that a pattern selects."""
        selection = self(files).select(pattern, **options)
        return [(source.name, entry.name) for source in selection.sources for entry in source.entries]


@pytest.fixture
def context(tmp_path):
    opened = Opened(tmp_path)
    yield opened
    for one in opened.opened:
        one.close()


TREE = {
    "a.txt": "a",
    "b.txt": "b",
    "d/x.txt": "x",
    "d/sub/y.txt": "y",
    "d/sub/empty": None,
    "e/x.txt": "ex",
    "[odd]*": "odd",
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.txt", [("a.txt", "")]),
        ("./a.txt", [("a.txt", "")]),
        ("/../a.txt", [("a.txt", "")]),
        ("*.txt", [("a.txt", ""), ("b.txt", "")]),
        ("?.txt", [("a.txt", ""), ("b.txt", "")]),
        ("[^a].txt", [("b.txt", "")]),
        ("*/x.txt", [("x.txt", ""), ("x.txt", "")]),
        ("**/y.txt", []),
        ("d/*/y.txt", [("y.txt", "")]),
        ("d/**/y.txt", [("y.txt", "")]),
        ("d", [("d", ""), ("d", "x.txt"), ("d", "sub"), ("d", "sub/y.txt"), ("d", "sub/empty")]),
        ("e*", [("e", ""), ("e", "x.txt")]),
        ("nothing*", []),
        ("nothing/*.txt", []),
        (r"\[odd\]\*", [("[odd]*", "")]),
        ("a.txt/*", []),
    ],
)
def test_patterns(context, pattern, expected):
    """Wildcards should match within components; directories should come with their content, parents first."""
    assert context.names(TREE, pattern) == expected


def test_the_whole_context(context):
    """The root should be selected by ".", "/" and "", under the same digest."""
    opened = context(TREE)
    names = [entry.name for entry in opened.select(".").entries()]
    assert names[0] == ""
    assert sorted(names[1:]) == sorted(["[odd]*", *(n for n in TREE if n != "[odd]*"), "d", "d/sub", "e"])
    assert opened.select(".").digest == opened.select("/").digest == opened.select("").digest


def test_selections_are_remembered(context):
    """The same question should give the same object, also after the files changed."""
    opened = context(TREE)
    first = opened.select("*.txt")
    make(context.root, {"a.txt": "changed"})
    assert opened.select("*.txt") is first
    assert context().select("*.txt") != first


@pytest.mark.parametrize("pattern", ["missing", "d/missing", "a.txt/below", "d/../../missing", "li/nk"])
def test_a_path_that_is_not_there(context, pattern):
    """A missing path should be an error that names it and the context."""
    opened = context({**TREE, "li/nk": ("->", "nowhere")})
    with pytest.raises(MissingSource, match="is not in the build context") as caught:
        opened.select(pattern)
    assert pattern in caught.value.message
    assert str(context.root) in caught.value.message


def test_the_deciding_rule_is_named():
    """Of several rules the one that decides should be named, by its line where it can be found."""
    matcher = IgnoreMatcher(["*", "!a", "a/b", "x"])
    assert hiding_rule("a/b/c", matcher, None) == "'a/b'"
    assert hiding_rule("other", matcher, IgnoreFile("i", "*\n")) == "line 1 of i (*)"
    assert hiding_rule("other", matcher, IgnoreFile("i", "")) == "* in i"


def test_malformed_patterns(context):
    """A malformed pattern should be an error even where nothing could match."""
    opened = context({"d": None})
    for pattern in ("d/[", "x/[]a]"):
        with pytest.raises(InvalidPattern):
            opened.select(pattern)


def test_links_that_are_named_are_followed(context):
    """A link should stand for what it leads to, under its own name, and never lead out of the context."""
    files = {
        "f": "content",
        "d/x": "x",
        "to-f": ("->", "f"),
        "to-d": ("->", "/d"),
        "chain": ("->", "to-d/../to-f"),
        "up": ("->", "../../../d"),
        "loop": ("->", "loop"),
        "inner/link": ("->", "../f"),
    }
    opened = context(files)
    for pattern in ("to-f", "chain"):
        (source,) = opened.select(pattern).sources
        assert (source.name, source.entries[0].path, source.entries[0].kind) == (pattern, "f", "file")
    for pattern in ("to-d", "up"):
        (source,) = opened.select(pattern).sources
        assert (source.name, source.is_dir) == (pattern, True)
    assert [e.name for e in opened.select("to-d/x").entries()] == [""]
    with pytest.raises(MissingSource) as caught:
        opened.select("loop")
    assert caught.value.hint.startswith("it is a symbolic link to loop, ")
    (_, link) = opened.select("inner").entries()
    assert (link.kind, link.link, link.mode) == ("symlink", "../f", 0o777)


def test_ignored_files_are_not_there(context):
    """What the ignore file excludes should not be selected, unless a later line takes it back."""
    files = {
        ".dockerignore": "*.log\nbuild\n!build/keep/this\nDockerfile\n",
        "x.log": "",
        "build/a": "",
        "build/keep/this": "kept",
        "build/keep/that": "",
        "build/other/deep/file": "",
        "src/x.log": "not at the root",
    }
    names = [name for _, name in context.names(files, ".")]
    assert names == ["", ".dockerignore", "build", "build/keep", "build/keep/this", "src", "src/x.log"]


def test_an_ignored_directory_shows_only_what_is_taken_back(context):
    """A directory in which nothing is taken back should not be there, even if a rule could have done so."""
    files = {".dockerignore": "b\n!b/*/keep\n", "b/x/no": "", "b/y/keep": "", "b/z": None, "c/b": ""}
    names = [name for _, name in context.names(files, ".")]
    assert names == ["", ".dockerignore", "b", "b/y", "b/y/keep", "c", "c/b"]


def test_a_link_to_something_ignored_leads_nowhere(context):
    """A link should not show what the ignore file hides."""
    opened = context({".dockerignore": "secret\n", "secret": "s", "link": ("->", "secret")})
    with pytest.raises(MissingSource):
        opened.select("link")


def test_the_ignore_file_of_the_dockerfile_replaces_the_other(context):
    """<Dockerfile>.dockerignore should be used instead of .dockerignore."""
    files = {".dockerignore": "a\n", "ci.Dockerfile.dockerignore": "b\n", "a": "", "b": ""}
    opened = context(files, dockerfile=str(context.root / "ci.Dockerfile"))
    assert [e.name for e in opened.select("*").entries()] == ["", "", ""]
    assert "a" in [s.name for s in opened.select("*").sources]
    with pytest.raises(MissingSource) as caught:
        opened.select("b")
    assert caught.value.hint == "it exists, but is excluded by line 1 of ci.Dockerfile.dockerignore (b)"


def test_a_broken_ignore_file_is_named(context):
    """A malformed line should be an error that names the file."""
    with pytest.raises(InvalidPattern) as caught:
        context({".dockerignore": "!\n"})
    assert caught.value.message.startswith(".dockerignore: ")


def test_exclusions(context):
    """`exclude` should follow ignore rules relative to the source, for directories and for single files."""
    files = {"d/a.o": "", "d/b.c": "", "d/s/c.o": "", "d/s/keep.o": "", "d/t/x.o": "", "f.o": "", "f.c": ""}
    names = context.names(files, "d", exclude=("**/*.o", "!s/keep.o"))
    assert names == [("d", ""), ("d", "b.c"), ("d", "s"), ("d", "s/keep.o"), ("d", "t")]
    assert context.names({}, "d", exclude=("s",)) == [
        *(("d", ""), ("d", "a.o"), ("d", "b.c"), ("d", "t"), ("d", "t/x.o"))
    ]
    assert context.names({}, "f.*", exclude=("*.o",)) == [("f.c", "")]
    assert context.names({}, "f.o", exclude=("*.o",)) == []
    names = context.names({}, "d", exclude=("s", "!s/nothing"))
    assert ("d", "s") not in names


def test_parents(context):
    """`parents` should keep directories from the pivot on, with `**` for any number of them."""
    files = {"a/b/f.txt": "", "a/b/g.c": "", "a/c/d/h.txt": "", "z": ""}
    tree = [("", ""), ("", "a"), ("", "a/b"), ("", "a/b/f.txt")]
    assert context.names(files, "a/b/f.txt", parents=True) == tree
    assert context.names({}, "a/**/*.txt", parents=True) == [
        *tree,
        *(("", "a/c"), ("", "a/c/d"), ("", "a/c/d/h.txt")),
    ]
    assert context.names({}, "a/./*/f.txt", parents=True) == [("", ""), ("", "b"), ("", "b/f.txt")]
    assert context.names({}, "a/b", parents=True)[-2:] == [("", "a/b/f.txt"), ("", "a/b/g.c")]
    assert context.names({}, "a/b", parents=True, exclude=("**/*.c",)) == tree
    assert context.names({}, "nothing*", parents=True) == [("", "")]
    with pytest.raises(MissingSource):
        context.names({}, "a/missing", parents=True)
    with pytest.raises(MissingSource):
        context.names({}, "missing/./b", parents=True)
    (context.root / "link").symlink_to("a")
    assert context.names({}, "link/./b/f.txt", parents=True)[-1] == ("", "b/f.txt")
    with pytest.raises(MissingSource, match="is below a symbolic link") as caught:
        context.names({}, "link/b/f.txt", parents=True)
    assert caught.value.hint == "name the real path, a/b/f.txt"


def test_hard_links_within_a_source(context):
    """Names of the same file should say so, in one source; the digest should tell them from copies."""
    opened = context({"d/a": "same", "e/a": "same", "e/b": "same"})
    os.link(context.root / "d/a", context.root / "d/b")
    opened = context()
    _, first, second = opened.select("d").entries()
    assert (first.same_as, second.same_as) == (None, "a")
    assert first.digest == second.digest == Digest.of(b"same")
    assert all(entry.same_as is None for entry in opened.select("d/b").entries())
    assert opened.select("d").digest != opened.select("e").digest


def test_kinds_and_modes(context):
    """Everything but sockets should be selected, with its mode, setuid bits included."""
    opened = context({"d/f": "1", "d/s": None})
    os.mkfifo(context.root / "d/pipe", 0o640)
    os.chmod(context.root / "d/f", 0o4755)
    os.chmod(context.root / "d/s", 0o1770)
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(context.root / "d")
        server.bind("sock")
        os.chdir(here)
        found = {e.name: (e.kind, e.mode) for e in opened.select("d").entries()}
    assert found["f"] == ("file", 0o4755)
    assert found["s"] == ("dir", 0o1770)
    assert found["pipe"] == ("fifo", stat.S_IMODE(os.stat(context.root / "d/pipe").st_mode))
    assert "sock" not in found
    with pytest.raises(MissingSource):
        context().select("d/sock")


def test_attributes(context):
    """Attributes of users should be selected with files and directories, also from the cache."""
    context({"d/f": "1", "d/g": "2"})
    os.setxattr(context.root / "d", "user.dir", b"\0\1")
    os.setxattr(context.root / "d/f", "user.b", b"2")
    os.setxattr(context.root / "d/f", "user.a", b"1")
    for path in ("d/f", "d/g"):
        os.utime(context.root / path, (5, 5))
    digests = set()
    for _ in range(2):
        opened = context()
        top, one, two = opened.select("d").entries()
        assert top.xattrs == (("user.dir", b"\0\1"),)
        assert (one.xattrs, two.xattrs) == ((("user.a", b"1"), ("user.b", b"2")), ())
        digests.add(opened.select("d").digest)
        opened.save()
    assert len(digests) == 1
    os.setxattr(context.root / "d/f", "user.a", b"3")
    assert context().select("d").digest not in digests


def test_the_mode_of_the_root_does_not_count(context):
    """How the checkout's own directory is protected should not matter."""
    before = context({"f": ""}).select(".").digest
    context.root.chmod(0o700)
    assert context().select(".").digest == before


def age(root):
    """Let all files be old enough for the stat cache: only possible for what their times say."""
    for folder, _, names in os.walk(root):
        for name in names:
            os.utime(os.path.join(folder, name), (5, 5), follow_symlinks=False)


def test_unchanged_files_are_not_read_again(context, monkeypatch):
    """A second build should take digests from the stat cache, even of files that cannot be read any more."""
    import time

    opened = context({f"d/{number}": str(number) for number in range(200)})
    monkeypatch.setattr(time, "time_ns", lambda: 2**62)
    before = opened.select("d").digest
    opened.save()

    def refuse(*_args):
        raise AssertionError("a file was read")

    monkeypatch.setattr("builder.completion.digest_files", refuse)
    assert context().select("d").digest == before


@pytest.mark.parametrize("odd", ["linked", "attributes"])
def test_what_is_odd_about_files_survives_the_cache(context, monkeypatch, odd):
    """Hard links and attributes should be the same whether digests come from the cache or not."""
    import time

    context({"d/a": "same", "d/c": "c", "e/a": "same", "e/b": "same", "e/c": "c"})
    if odd == "linked":
        os.link(context.root / "d/a", context.root / "d/b")
    else:
        os.setxattr(context.root / "d/c", "user.a", b"1")
    monkeypatch.setattr(time, "time_ns", lambda: 2**62)
    found = []
    for _ in range(3):
        opened = context()
        found.append([(e.name, e.xattrs, e.same_as) for e in opened.select("d").entries()])
        found[-1].append(opened.select("d").digest)
        opened.save()
    assert found[0] == found[1] == found[2]
    assert opened.select("d").digest != opened.select("e").digest


def test_changes_are_seen_through_the_cache(context, monkeypatch):
    """With everything remembered, an added, removed or changed file should still change the digest."""
    import time

    monkeypatch.setattr(time, "time_ns", lambda: 2**62)
    root = context.root
    changes = [
        lambda: make(root, {"d/a": "1", "d/b": "2", "d/s/c": "3"}),
        lambda: make(root, {"d/a": "changed"}),
        lambda: make(root, {"d/new": ""}),
        (root / "d/b").unlink,
        lambda: (root / "d/s/c").rename(root / "d/s/d"),
        lambda: (root / "d/a").chmod(0o600),
        (root / "d/s/d").unlink,
        (root / "d/s").rmdir,
    ]
    digests = []
    for change in changes:
        change()
        for _ in range(2):
            opened = context()
            digests.append(opened.select("d").digest)
            opened.save()
    assert digests[::2] == digests[1::2]
    assert len(set(digests)) == len(changes)


def test_a_renamed_file_is_not_taken_for_the_old_one(context, monkeypatch):
    """Where a file system leaves the times alone when a file is renamed, its name should still count."""
    import time

    monkeypatch.setattr(time, "time_ns", lambda: 2**62)
    opened = context({"d/a": "1", "d/b": "2"})
    before = opened.select("d").digest
    opened.save()
    opened = context()
    table = opened._finder.table
    record = table.folders["d"]
    record.names = table.spool.keep(record.names.read().replace(b"b", b"c"))
    record.group = bytes(32)
    assert opened.select("d").digest == before


def test_only_selected_files_are_read(context, monkeypatch):
    """Files that are not selected should not be digested."""
    seen = []

    def digest_files(root, batches):
        seen.extend((batch.directory, *batch.names) for batch in batches)
        return filedigests.digest_files(root, batches)

    monkeypatch.setattr("builder.completion.digest_files", digest_files)
    context({"a.txt": "1", "b.bin": "2"}).select("*.txt")
    assert seen == [("", "a.txt")]


@pytest.mark.parametrize(
    ("count", "times", "threads"), [(1, 1, 0), (300, 1, 0), (1, 9_000, 0), (9, 9_000, 1)], ids=str
)
def test_digests_are_those_of_the_content(context, monkeypatch, count, times, threads):
    """Digests should be right whether another thread helps, as it does with large files, or not."""
    started = []

    class Thread(threading.Thread):
        def start(self):
            started.append(self)
            super().start()

    monkeypatch.setattr("builder.contexts.filedigests.threading.Thread", Thread)
    opened = context({f"{number}/f": f"content {number}" * times for number in range(count)})
    entries = [entry for entry in opened.select("").entries() if entry.kind == "file"]
    assert len(entries) == count
    for entry in entries:
        assert entry.digest == Digest.of(f"content {entry.path.partition('/')[0]}".encode() * times)
    assert len(started) == threads


def test_a_file_is_opened_as_it_was_selected(context):
    """Opening should give the content, and refuse a file that changed since."""
    opened = context({"d/f": "12345", "d/g": "12345"})
    f, g = opened.select("d/*").entries()
    (context.root / "d/g").write_text("54321")
    with opened.files() as files:
        descriptor = files.open(f)
        assert os.read(descriptor, 10) == b"12345"
        files.check(descriptor, f)
        (context.root / "d/f").write_text("changed")
        with pytest.raises(InvalidContext, match="d/f changed during the build"):
            files.check(descriptor, f)
        os.close(descriptor)
        with pytest.raises(InvalidContext, match="d/g changed during the build"):
            files.open(g)
        (context.root / "d/g").unlink()
        with pytest.raises(InvalidContext, match="d/g changed during the build"):
            files.open(g)


def test_a_file_is_not_opened_through_a_new_link(context, tmp_path):
    """A directory that was replaced by a link after the selection should not be followed."""
    opened = context({"d/f": "1"})
    (entry,) = opened.select("d/f").entries()
    (context.root / "d").rename(tmp_path / "elsewhere")
    (context.root / "d").symlink_to(tmp_path / "elsewhere")
    with opened.files() as files, pytest.raises(InvalidContext, match="changed during the build"):
        files.open(entry)


def test_a_file_that_changes_before_it_is_digested(context, monkeypatch):
    """A file that is not what was listed any more should be an error, not a wrong digest."""
    opened = context({"f": "1"})
    finder = opened._finder
    finder.listing.folder("")
    (context.root / "f").write_text("22")
    with pytest.raises(InvalidContext, match="f changed during the build"):
        opened.select("f")


def test_a_file_that_changes_while_it_is_digested(context, monkeypatch):
    """A change after the first byte was read should be an error, too."""
    opened = context({"f": "1"})

    def write(_descriptor):
        (context.root / "f").write_text("2")
        return ()

    monkeypatch.setattr("builder.contexts.filedigests.read_xattrs", write)
    with pytest.raises(InvalidContext, match="f changed during the build"):
        opened.select("f")


def test_roots_that_cannot_be_used(tmp_path):
    """A context that is no directory should be an error."""
    (tmp_path / "file").write_text("")
    for name in ("file", "missing"):
        with pytest.raises(InvalidContext, match="is not a directory"):
            open_context(str(tmp_path / name), StatCache(str(tmp_path / "stats")))


def test_deep_trees(context):
    """Directories deeper than Python's stack should be no problem."""
    here = os.open(context.root, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        opened = context()
        entries = list(opened.select(".").entries())
        assert len(entries) == 1202
        with opened.files() as files:
            os.close(files.open(entries[-1]))
    finally:
        opened.close()  # or the removal would wait for every descriptor
        os.system(f"rm -rf {context.root}/d")


NAMES = st.sampled_from(["a", "b", "c.txt", "d", "é", "*"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
THINGS = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=3), st.sampled_from([0o644, 0o755])),
    st.tuples(st.just("link"), NAMES),
    st.tuples(st.just("dir"), st.sampled_from([0o755, 0o700])),
)


@st.composite
def trees(draw):
    """A tree as {path: thing} without things below files, directories above everything made explicit."""
    tree = {}
    for path, thing in draw(st.dictionaries(PATHS, THINGS, max_size=6)).items():
        parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
        if any(tree.get(parent, ("dir",))[0] != "dir" for parent in parents):
            continue
        if any(other.startswith(f"{path}/") for other in tree) and thing[0] != "dir":
            continue
        for parent in parents:
            tree.setdefault(parent, ("dir", 0o755))
        tree[path] = thing
    return tree


def write(root, tree):
    for path in sorted(tree, key=lambda path: path.count("/")):
        place, thing = os.path.join(root, path), tree[path]
        if thing[0] == "dir":
            os.makedirs(place)
            os.chmod(place, thing[1])
        elif thing[0] == "link":
            os.symlink(thing[1], place)
        else:
            Path(place).write_bytes(thing[1])
            os.chmod(place, thing[2])


def selected(tree, question):
    """Write the tree to a fresh directory and ask its context."""
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "root")
        os.mkdir(root)
        write(root, tree)
        with open_context(root, StatCache(os.path.join(folder, "stats"))) as opened:
            return question(opened)


@settings(deadline=None, max_examples=40)
@given(trees(), trees())
def test_digests_are_equal_exactly_for_equal_trees(first, second):
    """Two contexts should have one digest if and only if names, kinds, modes, bytes and links are equal."""
    digests = [selected(tree, lambda opened: opened.select(".").digest) for tree in (first, second)]
    assert (digests[0] == digests[1]) is (first == second)
    again = selected(dict(reversed(first.items())), lambda opened: opened.select(".").digest)
    assert again == digests[0]


PATTERNS = st.lists(st.sampled_from(["a", "*", "?", "[a-c]", "*.txt", r"\*", "d", "**", "[^a]"]), min_size=1)


@settings(deadline=None, max_examples=50)
@given(trees(), PATTERNS.map(lambda parts: "/".join(parts[:3])))
def test_wildcards_agree_with_matching_every_path(tree, pattern):
    """A pattern should match exactly the paths that it matches component by component, links left alone."""
    if not has_magic(pattern):
        return
    above = [p for p in tree if p.count("/") == pattern.count("/")]
    expected = {
        path
        for path in above
        if all(
            match_wildcard(part, name) for part, name in zip(pattern.split("/"), path.split("/"), strict=True)
        )
    }

    def question(opened):
        return set(opened._finder.matches(normalised(pattern)))

    found = selected(tree, question)
    names = [name.replace("\\", "") for name in pattern.split("/")]
    magic = next(i for i, part in enumerate(pattern.split("/")) if has_magic(part))
    if any(tree.get("/".join(names[:depth]), ("",))[0] == "link" for depth in range(1, magic + 1)):
        return  # links in front of the first wildcard are followed
    assert found == expected


RULES = st.lists(
    st.sampled_from(["a", "*", "!a", "!*/b", "**/c.txt", "!d/d", "d", "!**/a", "a/b"]), max_size=4
)


@settings(deadline=None, max_examples=50)
@given(trees(), RULES)
def test_ignore_rules_agree_with_asking_for_every_path(tree, rules):
    """The listing should show what the rules do not ignore, and the directories above it."""
    matcher = IgnoreMatcher(rules)
    shown = {path for path in tree if not matcher.is_ignored(path)}
    for path in list(shown):
        while path := posixpath.dirname(path):
            shown.add(path)

    def question(opened):
        return {entry.name for entry in opened.select(".").entries()} - {"", ".dockerignore"}

    assert selected({**tree, ".dockerignore": ("file", "\n".join(rules).encode(), 0o644)}, question) == shown
