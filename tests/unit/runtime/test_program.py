"""Finding the program: the lookup, the sentences and the codes."""

from pathlib import Path

import pytest

from runtime.program import CannotExecute, find


@pytest.fixture
def search(tmp_path: Path) -> str:
    for directory in ("first", "second"):
        (tmp_path / directory).mkdir()
    (tmp_path / "first/plain").write_text("not executable")
    (tmp_path / "first/plain").chmod(0o644)
    for name in ("second/plain", "second/tool"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "first/tool").mkdir()
    return f"{tmp_path}/missing:{tmp_path}/first:{tmp_path}/second"


def test_first_executable_wins(search: str, tmp_path: Path) -> None:
    """Directories and files without the bit are passed over."""
    assert find("tool", search) == f"{tmp_path}/second/tool"
    assert find("plain", search) == f"{tmp_path}/second/plain"


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("nosuch", 127, r'exec: "nosuch": executable file not found in \$PATH'),
        ("", 127, "executable file not found"),
        ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/", 126, "is a directory"),
        ("/etc/hostname/x", 127, "not a directory"),
    ],
)
def test_not_found(search: str, name: str, code: int, message: str) -> None:
    """127 for what is not there, 126 for what is there and is no program."""
    with pytest.raises(CannotExecute, match=message) as caught:
        find(name, search)
    assert caught.value.exit_code == code


def test_denied_beats_not_found(tmp_path: Path) -> None:
    """When the only candidate may not be executed, that is what is said."""
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o644)
    with pytest.raises(CannotExecute, match="permission denied") as caught:
        find("tool", f"/nonexistent:{tmp_path}")
    assert caught.value.exit_code == 126
