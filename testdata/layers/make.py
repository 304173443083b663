"""
Makes the nasty archives beside it: ``python testdata/layers/make.py``.

Those named ``contained-…`` are legal but must not touch anything outside the root; the others must be
refused.
"""

# ruff: noqa: INP001 - a script, not a module of a package

from __future__ import annotations

import io
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
FILE, LINK, SYMLINK, CHARACTER = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE

# name of the archive -> members as (name, type, link target or content)
ARCHIVES: dict[str, list[tuple[str, bytes, str]]] = {
    "traversal": [("../outside/secret", FILE, "pwned")],
    "traversal-inside": [("a/b/../../../outside/secret", FILE, "pwned")],
    "hardlink-traversal": [("h", LINK, "../outside/secret"), ("h", FILE, "pwned")],
    "hardlink-through-symlink": [("l", SYMLINK, "../outside"), ("h", LINK, "l/secret")],
    "hardlink-absolute": [("h", LINK, "/etc/passwd")],
    "file-as-parent": [("f", FILE, ""), ("f/g", FILE, "")],
    "symlink-loop": [("a", SYMLINK, "b"), ("b", SYMLINK, "a"), ("a/f", FILE, "")],
    "whiteout-of-parent": [("d/.wh...", FILE, "")],
    "whiteout-of-nothing": [(".wh.", FILE, "")],
    "whiteout-device": [("c", CHARACTER, "")],
    "contained-symlink-parent": [("l", SYMLINK, "../outside"), ("l/secret", FILE, "pwned")],
    "contained-symlink-absolute": [("l", SYMLINK, "/"), ("l/l/l/f", FILE, "pwned")],
    "contained-symlink-then-file": [("s", SYMLINK, "../outside/secret"), ("s", FILE, "pwned")],
    "contained-symlink-then-directory": [
        ("s", SYMLINK, "../outside"),
        ("s/", tarfile.DIRTYPE, ""),
        ("s/secret", FILE, "pwned"),
    ],
    "contained-symlink-chain": [
        ("a", SYMLINK, "."),
        ("a/b", SYMLINK, "../outside"),
        ("a/a/b/secret", FILE, "pwned"),
    ],
    "contained-hardlink-to-symlink": [
        ("s", SYMLINK, "../outside/secret"),
        ("h", LINK, "s"),
        ("h", FILE, "pwned"),
    ],
    "contained-whiteout-through-symlink": [("l", SYMLINK, "../outside"), ("l/.wh.secret", FILE, "")],
    "contained-opaque-through-symlink": [("l", SYMLINK, "../outside"), ("l/.wh..wh..opq", FILE, "")],
    "contained-absolute": [("/absolute", FILE, "content")],
}


def main() -> None:
    """Write every archive; the bytes are always the same."""
    for name, members in ARCHIVES.items():
        with tarfile.open(HERE / f"{name}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for path, kind, text in members:
                info = tarfile.TarInfo(path)
                info.type = kind
                if kind == FILE:
                    info.size = len(text)
                else:
                    info.linkname = text
                archive.addfile(info, io.BytesIO(text.encode()) if kind == FILE else None)
            end = archive.offset + 2 * tarfile.BLOCKSIZE
        # No padding to 10 KiB in the repository.
        with (HERE / f"{name}.tar").open("r+b") as file:
            file.truncate(end)


if __name__ == "__main__":
    main()
