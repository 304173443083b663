"""The merged file tree of an image out of its layers, as values that can be compared."""

import hashlib
import os
import tarfile
from dataclasses import dataclass, field, replace

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}


@dataclass(frozen=True)
class Entry:
    """What is at a path; `inode` tells hard links, and becomes their names at the end."""

    kind: str
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    size: int = 0
    digest: str = ""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, str], ...] = ()
    inode: object = None
    names: tuple[str, ...] = field(default=())


def read_layer(path):
    """The members of one layer in order, with their paths; whiteouts are among them."""
    found, seen = [], {}
    with tarfile.open(path) as tar:
        for info in tar:
            name = os.path.normpath("/" + info.name).strip("/")
            if info.islnk():
                entry = seen[os.path.normpath("/" + info.linkname).strip("/")]
            else:
                entry = _entry(tar, info, (str(path), name))
            seen[name] = entry
            found.append((name, entry))
    return found


def _entry(tar, info, inode):
    digest = ""
    if info.isreg():
        digest = hashlib.sha256(tar.extractfile(info).read()).hexdigest()[:16]
    attributes = sorted(
        (key.removeprefix("SCHILY.xattr."), value)
        for key, value in info.pax_headers.items()
        if key.startswith("SCHILY.xattr.")
    )
    special = info.ischr() or info.isblk()
    return Entry(
        KINDS[info.type],
        0 if info.issym() else info.mode & 0o7777,
        (info.uid, info.gid),
        info.size if info.isreg() else 0,
        digest,
        info.linkname if info.issym() else "",
        (info.devmajor, info.devminor) if special else (0, 0),
        tuple(attributes),
        inode,
    )


def merge(layers):
    """Lay layers over each other as a runtime does."""
    tree = {}
    for layer in layers:
        for name, _ in layer:
            folder, base = os.path.split(name)
            if base == OPAQUE:
                _drop(tree, folder, itself=False)
            elif base.startswith(WHITEOUT):
                _drop(tree, os.path.join(folder, base.removeprefix(WHITEOUT)))
        for name, entry in layer:
            if os.path.basename(name).startswith(WHITEOUT):
                continue
            if entry.kind != "dir" and name in tree and tree[name].kind == "dir":
                _drop(tree, name)
            tree[name] = entry
    return _with_names(tree)


def _drop(tree, path, *, itself=True):
    for name in [name for name in tree if name.startswith(f"{path}/" if path else "") and name != path]:
        del tree[name]
    if itself:
        tree.pop(path, None)


def _with_names(tree):
    groups = {}
    for name, entry in tree.items():
        if entry.kind != "dir":
            groups.setdefault(entry.inode, []).append(name)
    whole = {}
    for name, entry in tree.items():
        group = groups.get(entry.inode, ())
        whole[name] = replace(entry, inode=None, names=tuple(sorted(group)) if len(group) > 1 else ())
    return whole


def differences(ours, theirs):
    """Lines that say how two trees differ; the root's own entry is left out, as few layers hold it."""
    lines = []
    for name in sorted((ours.keys() | theirs.keys()) - {""}):
        mine, other = ours.get(name), theirs.get(name)
        if mine is None or other is None:
            lines.append(f"tree {name!r}: {'only theirs' if mine is None else 'only ours'} {mine or other}")
            continue
        for part in ("kind", "mode", "owner", "digest", "size", "target", "device", "xattrs", "names"):
            left, right = getattr(mine, part), getattr(other, part)
            if left != right:
                shown = (oct(left), oct(right)) if part == "mode" else (left, right)
                lines.append(f"tree {name!r}: {part}: ours {shown[0]} theirs {shown[1]}")
    return lines
