"""What a case of the comparison is: a Dockerfile, the files of its context and the flags of its build."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from dataclasses import dataclass, field

TIME = 1_000_000_000


@dataclass(frozen=True)
class File:
    """A regular file of a context or an archive."""

    data: bytes | str = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    xattrs: dict[str, str] = field(default_factory=dict)

    @property
    def content(self):
        """The bytes."""
        return self.data.encode() if isinstance(self.data, str) else self.data


@dataclass(frozen=True)
class Dir:
    """A folder."""

    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Hard:
    """A second name of an earlier file of the same context or archive."""

    path: str


@dataclass(frozen=True)
class Fifo:
    """A named pipe."""

    mode: int = 0o640


@dataclass(frozen=True)
class Case:
    """One build. `files` maps paths of the context to strings, bytes or the values above, in order."""

    name: str
    dockerfile: str
    files: dict = field(default_factory=dict)
    args: tuple[str, ...] = ()


def write_context(case, folder):
    """Write a case's context and Dockerfile; every mode is explicit, whatever the umask."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    for name, entry in {"Dockerfile": case.dockerfile, **case.files}.items():
        _write(folder, folder / name, File(entry) if isinstance(entry, str | bytes) else entry)


def _write(root, path, entry):
    for parent in reversed(path.relative_to(root).parents[:-1]):
        if not (root / parent).is_dir():
            (root / parent).mkdir()
            (root / parent).chmod(0o755)
    if isinstance(entry, Dir):
        path.mkdir(exist_ok=True)
    elif isinstance(entry, Link):
        path.symlink_to(entry.target)
        return
    elif isinstance(entry, Hard):
        os.link(root / entry.path, path)
        return
    elif isinstance(entry, Fifo):
        os.mkfifo(path)
    else:
        path.write_bytes(entry.content)
        for key, value in entry.xattrs.items():
            os.setxattr(path, key, value.encode())
    if not isinstance(entry, Fifo):
        os.chown(path, *entry.owner)
    path.chmod(entry.mode)


def archive(members, pack=""):
    """The bytes of a tar of members, as they come and under exactly these names, perhaps compressed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, entry in members.items():
            info, data = _member(name, File(entry) if isinstance(entry, str | bytes) else entry)
            tar.addfile(info, io.BytesIO(data))
    packer = {"": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[pack]
    return packer(out.getvalue())


def _member(name, entry):
    info, data = tarfile.TarInfo(name), b""
    info.mtime = TIME
    if isinstance(entry, Link):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
    elif isinstance(entry, Hard):
        info.type, info.linkname = tarfile.LNKTYPE, entry.path
    elif isinstance(entry, Fifo):
        info.type, info.mode = tarfile.FIFOTYPE, entry.mode
    else:
        info.mode, (info.uid, info.gid) = entry.mode, entry.owner
        if isinstance(entry, Dir):
            info.type = tarfile.DIRTYPE
        else:
            data = entry.content
            info.size = len(data)
            info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs.items()}
    return info, data
