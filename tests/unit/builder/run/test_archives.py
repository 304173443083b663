"""ADD of local archives."""

import bz2
import gzip
import io
import lzma
import tarfile

import pytest
import zstandard
from stand_ins import directory, file, symlink

from builder.errors import BuildError
from builder.snapshots import Snapshot
from oci_image.errors import ImageError

SCRATCH = Snapshot()


def member(name, content=None, *, kind=tarfile.REGTYPE, link="", mode=0o640, uid=3, gid=4, mtime=500):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.uid, info.gid, info.mtime = kind, link, mode, uid, gid, mtime
    if content is not None:
        info.size = len(content)
    return info, content


def archive(*members, form=tarfile.PAX_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if content is not None else None)
    return stream.getvalue()


DIR = tarfile.DIRTYPE
PLAIN = archive(
    member("./", kind=DIR, mode=0o700),
    member("./d", kind=DIR, mode=0o750),
    member("./d/f", b"F"),
    member("./d/h", kind=tarfile.LNKTYPE, link="./d/f"),
    member("./l", kind=tarfile.SYMTYPE, link="d/f"),
    member("deep/er/x", b"X", mode=0o4755),
)
COMPRESSORS = {
    "tar": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def put(bench, name, data):
    (bench.context_root / name).write_bytes(data)
    (bench.context_root / name).chmod(0o644)


def add(bench, base, name, dest, **options):
    return bench.copy(base, name, dest, unpack=True, **options)


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("dest", ["/o", "/o/"])
def test_archives_are_unpacked_whatever_their_name(bench, compression, dest):
    """The content decides; the destination is always a directory."""
    put(bench, "blob.bin", COMPRESSORS[compression](PLAIN))
    snapshot = add(bench, SCRATCH, "blob.bin", dest)
    assert bench.listing(snapshot) == {
        "o": "dir 755",
        "o/d": "dir 750 3:4",
        "o/d/f": "F 640 3:4",
        "o/d/h": "F 640 3:4",
        "o/l": "-> d/f",
        "o/deep": "dir 755",
        "o/deep/er": "dir 755",
        "o/deep/er/x": "X 4755 3:4",
    }
    tree = bench.tree(snapshot)
    assert tree.lookup("o/d/f").mtime == 500
    assert tree.where("o/d/f")[2] == tree.where("o/d/h")[2]


def test_the_root_of_an_archive_does_not_change_the_destination(bench):
    """An existing directory keeps its mode and owner."""
    put(bench, "a.tar", PLAIN)
    base = bench.base(directory("o", 0o711, 8, 9))
    assert bench.listing(add(bench, base, "a.tar", "/o"))["o"] == "dir 711 8:9"


def test_copy_does_not_unpack(bench):
    """Without `unpack` an archive is a file."""
    put(bench, "a.tar", PLAIN)
    assert list(bench.listing(bench.copy(SCRATCH, "a.tar", "/x"))) == ["x"]


@pytest.mark.parametrize(
    "data",
    [
        b"no archive at all",
        gzip.compress(b"only a compressed text"),
        gzip.compress(b""),
        gzip.compress(archive()),
        archive(),
        gzip.compress(PLAIN)[:20],
        b"\x1f\x8b\x08garbage",
        b"",
    ],
    ids=range(8),
)
def test_what_is_no_archive_is_copied(bench, data):
    """A gzip file of something else, an empty archive and a broken one stay files."""
    put(bench, "thing.tar.gz", data)
    snapshot = add(bench, SCRATCH, "thing.tar.gz", "/o/")
    tree = bench.tree(snapshot)
    assert tree.read("o/thing.tar.gz", 1 << 20) == data


def test_a_wildcard_unpacks_each(bench):
    """Archives and files side by side."""
    put(bench, "a.tar", archive(member("one", b"1")))
    put(bench, "b.tar", gzip.compress(archive(member("two", b"2"))))
    put(bench, "c.tar", b"text")
    listing = bench.listing(add(bench, SCRATCH, "*.tar", "/o/"))
    assert listing == {"o": "dir 755", "o/one": "1 640 3:4", "o/two": "2 640 3:4", "o/c.tar": "text 644"}


def test_chown_applies_to_members_and_chmod_does_not(bench):
    """Everything that the ADD brings belongs to the given owner; modes are those of the archive and 0755."""
    put(bench, "a.tar", PLAIN)
    plain = bench.listing(add(bench, SCRATCH, "a.tar", "/o", owner="7:8"))
    listing = bench.listing(add(bench, SCRATCH, "a.tar", "/o", owner="7:8", mode="0700"))
    assert listing["o"] == "dir 755 7:8"
    assert listing["o/d"] == plain["o/d"] != listing["o"]
    assert listing["o/deep"] == listing["o/deep/er"] == "dir 755 7:8"
    assert listing["o/d/f"] == listing["o/d/h"] == plain["o/d/f"]


def test_members_merge_with_what_is_there(bench):
    """Directories are merged and take the member's mode; anything else is replaced."""
    put(
        bench,
        "a.tar",
        archive(
            member("dir", kind=DIR, mode=0o711),
            member("file", kind=DIR, mode=0o755),
            member("file/in", b"in"),
            member("tree", b"now a file"),
            member("link", kind=DIR, mode=0o755),
        ),
    )
    base = bench.base(
        directory("dir", 0o700),
        file("dir/kept", "kept"),
        file("file", "old"),
        directory("tree"),
        file("tree/lost", "lost"),
        symlink("link", "dir"),
    )
    assert bench.listing(add(bench, base, "a.tar", "/")) == {
        "dir": "dir 711 3:4",
        "dir/kept": "kept 644",
        "file": "dir 755 3:4",
        "file/in": "in 640 3:4",
        "link": "dir 755 3:4",
        "tree": "now a file 640 3:4",
    }


def test_a_directory_that_was_something_else_in_between_is_empty(bench):
    """What was in it before is gone, as if the members had been unpacked one by one."""
    put(
        bench,
        "a.tar",
        archive(member("t", b"file"), member("t", kind=DIR, mode=0o755), member("t/new", b"new")),
    )
    base = bench.base(directory("t"), file("t/old", "old"))
    assert bench.listing(add(bench, base, "a.tar", "/")) == {"t": "dir 755 3:4", "t/new": "new 640 3:4"}


def test_the_last_of_equal_members_counts(bench):
    """Names may come twice in an archive; links to the first one keep its content."""
    put(
        bench,
        "a.tar",
        archive(
            member("f", b"first"),
            member("h", kind=tarfile.LNKTYPE, link="f"),
            member("f", b"second"),
            member("d", kind=DIR),
            member("d/below", b"below"),
            member("d", b"file"),
        ),
    )
    listing = bench.listing(add(bench, SCRATCH, "a.tar", "/"))
    assert listing == {"f": "second 640 3:4", "h": "first 640 3:4", "d": "file 640 3:4"}


@pytest.mark.parametrize("target", ["/etc", "../../etc", "/", "../../../../etc"])
def test_links_in_an_archive_never_lead_outside_the_destination(bench, target):
    """The destination is the root for everything that the archive says."""
    put(
        bench,
        "a.tar",
        archive(member("evil", kind=tarfile.SYMTYPE, link=target), member("evil/passwd", b"owned")),
    )
    base = bench.base(directory("etc"), file("etc/passwd", "safe"))
    snapshot = add(bench, base, "a.tar", "/opt/app")
    listing = bench.listing(snapshot)
    assert listing["etc/passwd"] == "safe 644"
    assert all(name == "opt" or name.startswith("opt/app") for name in bench.written(snapshot))


def test_absolute_names_are_taken_below_the_destination(bench):
    """A leading slash means the root of the archive."""
    put(bench, "a.tar", archive(member("/etc/x", b"x")))
    assert "o/etc/x" in bench.listing(add(bench, SCRATCH, "a.tar", "/o"))


@pytest.mark.parametrize("name", ["../x", "a/../../x", ".."])
def test_names_that_climb_are_refused(bench, name):
    """Nothing of such an archive is taken."""
    put(bench, "a.tar", archive(member(name, b"x")))
    with pytest.raises(ImageError, match=r"\.\."):
        add(bench, SCRATCH, "a.tar", "/o")
    assert not list(bench.blobs.digests())


def test_a_hard_link_to_something_else_is_refused(bench):
    """It would be a link to a file of the image or of nobody."""
    put(bench, "a.tar", archive(member("x", kind=tarfile.LNKTYPE, link="etc/shadow")))
    base = bench.base(directory("etc"), file("etc/shadow", "secret"))
    with pytest.raises(BuildError, match="which it does not hold"):
        add(bench, base, "a.tar", "/")


def test_whiteout_names_in_an_archive_are_refused(bench):
    """They would remove files of the layers below."""
    put(bench, "a.tar", archive(member("etc/.wh.passwd", b"")))
    with pytest.raises(BuildError, match=r"\.wh\."):
        add(bench, SCRATCH, "a.tar", "/")


def test_a_destination_that_is_a_file_is_an_error(bench):
    """An archive needs a directory."""
    put(bench, "a.tar", PLAIN)
    with pytest.raises(BuildError, match="non-directory: /plain"):
        add(bench, bench.base(file("plain", "x")), "a.tar", "/plain")


def test_a_destination_link_is_followed_inside_the_root(bench):
    """Also an absolute one that does not exist yet."""
    put(bench, "a.tar", archive(member("x", b"x")))
    base = bench.base(symlink("to", "/real/place"), symlink("up", "../../other"))
    assert "real/place/x" in bench.listing(add(bench, base, "a.tar", "/to"))
    assert "other/x" in bench.listing(add(bench, base, "a.tar", "/up/"))


def test_old_formats_and_large_members(bench):
    """GNU archives with long names, and contents above the size of one block."""
    long = "n" * 180 + "/" + "m" * 120
    big = bytes(range(256)) * 10_000
    put(
        bench,
        "a.tar.gz",
        gzip.compress(archive(member(long, b"x"), member("big", big), form=tarfile.GNU_FORMAT)),
    )
    tree = bench.tree(add(bench, SCRATCH, "a.tar.gz", "/"))
    assert tree.read("big", 1 << 24) == big
    assert tree.read(long, 10) == b"x"


def test_a_truncated_archive_is_an_error(bench):
    """Half an archive is not half unpacked."""
    data = gzip.compress(archive(member("a", b"a" * 100_000), member("b", b"b" * 100_000)))
    put(bench, "a.tgz", data[: len(data) // 2])
    with pytest.raises(ImageError):
        add(bench, SCRATCH, "a.tgz", "/")
