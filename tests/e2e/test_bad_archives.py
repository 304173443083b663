"""Archives from anybody: ADD, contexts and `import` refuse what is broken, and contain what wants out."""

import bz2
import gzip
import io
import lzma
import os
import resource
import stat
import tarfile
from pathlib import Path

import pytest

from tests.e2e.calls import call, refused
from tests.unit.oci_image.layer.test_read import BROKEN, END, block, padded, pax, record, sealed

pytestmark = pytest.mark.usefixtures("as_root")
NASTY = sorted((Path(__file__).parents[2] / "testdata" / "layers").glob("*.tar"))


def sized(field):
    """An archive of one member whose size field is as given."""
    raw = block(b"file")
    return sealed(raw[:124] + field + raw[136:]) + END


TRUNCATED = ("truncated-header", "truncated-content", "truncated-pax", "pax-at-the-end")
HOSTILE = {name: data + (b"" if name in TRUNCATED else END) for name, (data, _) in BROKEN.items()} | {
    "eight-exbibytes": sized(b"\x80" + (1 << 63).to_bytes(11, "big")),
    "size-of-all-bits": sized(b"\xff" * 12),
    "content-that-is-not-there": sized(b"\x80" + (1 << 40).to_bytes(11, "big")),
    "pax-size-that-is-not-there": pax(record(b"size=1099511627776")) + block(b"file") + END,
    "hardlink-to-nothing": block(b"a", kind=b"1", link=b"nowhere") + END,
    "hardlink-behind-a-symlink": (
        block(b"out", kind=b"2", link=b"/etc") + block(b"a", kind=b"1", link=b"out/passwd") + END
    ),
    "gzip-cut": gzip.compress(block(b"f", size=5) + padded(b"abcde") + END)[:-12],
    "xz-cut": lzma.compress(block(b"f", size=5) + padded(b"abcde") + END)[:-12],
    "gzip-of-broken": gzip.compress(block(b"../x") + END),
}
NO_ARCHIVE = ("text", "checksum", "truncated-header")
"""ADD copies what does not begin as an archive does."""


@pytest.fixture(autouse=True)
def bound():
    """No archive makes a large file, whatever it announces."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def context(folder, archive, text="FROM scratch\nADD a /d/\n"):
    """A build context with an archive."""
    folder.mkdir()
    (folder / "a").write_bytes(archive)
    (folder / "Dockerfile").write_text(text)
    return folder


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - set(NO_ARCHIVE)))
def test_refused_archives(tmp_path, name):
    """One error with the line, for ADD; for a context and an import one error that tells what is wrong."""
    root = tmp_path / "store"
    told = refused(root, "--progress", "plain", "-t", "bad", context(tmp_path / "c", HOSTILE[name]))
    assert "Dockerfile:2\n" in told
    assert ">>> ADD a /d/\n" in told
    assert "error: standard input: " in refused(root, "-", "-t", "bad", stdin=HOSTILE[name])
    archive = tmp_path / "archive"
    archive.write_bytes(HOSTILE[name])
    assert f"error: {archive}: " in refused(root, "import", archive, "bad")
    assert f"error: {archive}: " in refused(root, "load", "-i", archive)
    assert call(root, "inspect", "bad")[0] == 1


@pytest.mark.parametrize("archive", NASTY, ids=lambda path: path.stem)
def test_contained_archives(tmp_path, archive):
    """Refused, or unpacked below the destination: nothing is outside of it, here or in the image."""
    folder = context(tmp_path / "c", archive.read_bytes(), "FROM scratch\nADD a /d/\n")
    outside = sorted(os.listdir("/")), sorted(os.listdir("/etc"))
    status, _, told = call(tmp_path / "store", "-o", f"type=tar,dest={tmp_path / 'out'}", folder)
    assert status in (0, 1)
    assert "Traceback" not in told
    if status == 0:
        with tarfile.open(tmp_path / "out") as tar:
            for member in tar:
                assert member.name in (".", "d") or member.name.startswith("d/")
                assert not member.islnk() or member.linkname.startswith("d/")
    else:
        assert "Dockerfile:2\n" in told
        assert not (tmp_path / "out").exists()
    assert call(tmp_path / "store", "-", stdin=archive.read_bytes())[0] == 1  # it has no Dockerfile
    assert outside == (sorted(os.listdir("/")), sorted(os.listdir("/etc")))


def made(*members):
    """An archive by the standard library: TarInfo with the content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def info(name, kind=tarfile.REGTYPE, link=""):
    """A member."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def test_what_looks_strange_and_is_right(tmp_path):
    """Duplicates (the last counts), GNU long names and absolute names are understood."""
    long = "l/" * 60 + "n" * 200
    archive = made(
        (info("twice"), b"first"), (info("/absolute"), b"A"), (info(long), b"L"), (info("twice"), b"second")
    )
    out = tmp_path / "out"
    status, _, told = call(
        tmp_path / "store", "-o", f"type=local,dest={out}", context(tmp_path / "c", archive)
    )
    assert status == 0, told
    assert (out / "d/twice").read_bytes() == b"second"
    assert (out / "d/absolute").read_bytes() == b"A"
    assert (out / "d" / long).read_bytes() == b"L"


def test_links_and_devices_of_a_context(tmp_path):
    """A context's links are never followed out of it, and its devices are not made or at least not read."""
    (tmp_path / "secret").write_text("marker")
    dockerfile = b"FROM scratch\nCOPY %s /\n"
    links = {
        "link": info("x", tarfile.SYMTYPE, str(tmp_path / "secret")),
        "up": info("x", tarfile.SYMTYPE, "../" * 20 + str(tmp_path / "secret")[1:]),
        "hard": info("x", tarfile.LNKTYPE, str(tmp_path / "secret")),
        "device": info("x", tarfile.CHRTYPE),
        "fifo": info("x", tarfile.FIFOTYPE),
    }
    links["device"].devmajor, links["device"].devminor = 1, 5
    for name, member in links.items():
        out = tmp_path / f"out-{name}"
        archive = made((info("Dockerfile"), dockerfile % b"x"), (member, b""))
        status, _, told = call(tmp_path / "store", "-", "-o", f"type=local,dest={out}", stdin=archive)
        assert status in (0, 1), (name, told)
        assert "Traceback" not in told
        found = [path for path in out.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
        assert [path for path in found if b"marker" in path.read_bytes()] == [], name


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_bombs(tmp_path, compress):
    """A small file that becomes a huge one ends where the disk does, and what it filled is free again."""
    size = 24 << 20
    raw = io.BytesIO(block(b"zeros", size=size) + bytes(size) + END)
    bomb = compress(raw.getvalue())
    assert len(bomb) < 1 << 20
    root = tmp_path / "store"
    told = refused(root, "--progress", "plain", context(tmp_path / "c", bomb), statuses=(1, 3))
    assert "Dockerfile:2\n" in told
    assert "File too large" in told or "limit" in told
    refused(root, "-", stdin=bomb, statuses=(1, 3))
    (tmp_path / "bomb").write_bytes(bomb)
    refused(root, "import", tmp_path / "bomb", "bad", statuses=(1, 3))
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 1 << 20
