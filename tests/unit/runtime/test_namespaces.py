"""User namespaces are recognised by their maps; subordinate ids come from two files."""

from pathlib import Path

import pytest

from runtime.namespaces import current_id_map, parse_id_map
from runtime.userns import parse_ranges, subordinate_ranges

WHOLE = "         0          0 4294967295\n"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((WHOLE, WHOLE, "allow\n"), ("root", 4294967295, True)),
        (("0 1001 1\n1 100000 65536\n", "0 1001 1\n1 100000 65536\n", "allow\n"), ("subid", 65537, True)),
        (("0 1001 1\n", "0 1001 1\n", "deny\n"), ("single", 1, False)),
        (("0 0 4294967294\n", WHOLE, "allow\n"), ("subid", 4294967295, True)),
    ],
)
def test_id_map(texts: tuple[str, str, str], expected: tuple[str, int, bool]) -> None:
    """The machine's own map is one full row; any other is a namespace."""
    found = parse_id_map(*texts)
    assert (found.kind, found.groups, found.setgroups) == expected
    assert found.describe()


def test_current_id_map() -> None:
    """The map of this very process can be read."""
    assert current_id_map().size >= 1


TEXT = (
    "# comment\nuser:100000:65536\nuser:300000:1000\n1001:200000:10\nother:1:1\nbad:x:y\nuser:5\nzero:10:0\n"
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"user"}, (100000, 65536)),
        ({"1001", "nobody"}, (200000, 10)),
        ({"1001", "user"}, (100000, 65536)),
        ({"bad"}, None),
        ({"zero"}, None),
        ({"missing"}, None),
    ],
)
def test_ranges(names: set[str], expected: tuple[int, int] | None) -> None:
    """Entries are found by name or number; the largest wins; malformed and empty ones are skipped."""
    assert parse_ranges(TEXT, names) == expected


def test_both_files_are_needed(tmp_path: Path) -> None:
    """A range of users without one of groups is of no use."""
    (tmp_path / "subuid").write_text("4242:1000:10\n")
    assert subordinate_ranges(4242, str(tmp_path)) is None
    (tmp_path / "subgid").write_text("4242:2000:20\n")
    assert subordinate_ranges(4242, str(tmp_path)) == ((1000, 10), (2000, 20))
