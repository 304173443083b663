"""Octal and symbolic modes; the answers are those of BuildKit."""

import pytest

from builder.filemodes import parse_mode

FILES = (0o644, 0o755, 0o4755)
DIRECTORIES = (0o755, 0o2775, 0o1777)


@pytest.mark.parametrize(
    ("text", "files", "directories"),
    [
        ("0", (0, 0, 0), (0, 0, 0)),
        ("7777", (0o7777,) * 3, (0o7777,) * 3),
        ("u=rwX,go=rX", (0o644, 0o755, 0o755), (0o755, 0o755, 0o1755)),
        ("a+x", (0o755, 0o755, 0o4755), (0o755, 0o2775, 0o1777)),
        ("=", (0, 0, 0), (0, 0, 0o1000)),
        ("go-w", (0o644, 0o755, 0o4755), (0o755, 0o2755, 0o1755)),
        ("-X", (0o644, 0o644, 0o4644), (0o644, 0o2664, 0o1666)),
        ("u=g", (0o444, 0o555, 0o4555), (0o555, 0o2775, 0o1777)),
        ("g=", (0o604, 0o705, 0o4705), (0o705, 0o705, 0o1707)),
        ("g+u-o", (0o624, 0o725, 0o4725), (0o725, 0o2725, 0o1707)),
        ("g=ou", (0o664, 0o775, 0o4775), (0o775, 0o2775, 0o1777)),
        ("ug+s", (0o6644, 0o6755, 0o6755), (0o6755, 0o6775, 0o7777)),
        ("o+st", (0o644, 0o755, 0o4755), (0o755, 0o2775, 0o1777)),
        ("u+t", (0o1644, 0o1755, 0o5755), (0o1755, 0o3775, 0o1777)),
        ("a=rt", (0o1444, 0o1444, 0o1444), (0o1444, 0o1444, 0o1444)),
    ],
)
def test_modes(text, files, directories):
    """Modes of files and directories should change as with BuildKit."""
    change = parse_mode(text)
    assert tuple(change(mode, False) for mode in FILES) == files
    assert tuple(change(mode, True) for mode in DIRECTORIES) == directories


@pytest.mark.parametrize(
    "text", ["", "10000", "888", "0o755", "7x", "u", "u=q", "rw", "u=r,,g=r", "u=r,", "-1", "+7", "\u0667"]
)
def test_no_mode(text):
    """What is neither octal nor symbolic should be refused."""
    with pytest.raises(ValueError, match="no"):
        parse_mode(text)
