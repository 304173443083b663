"""Linters, types and spelling are tests like all others."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "."], id="ruff"),
        pytest.param(["ruff", "format", "--check", "."], id="format"),
        pytest.param(["mypy"], id="mypy", marks=pytest.mark.slow),
        pytest.param(["codespell_lib", "--toml", "pyproject.toml", "."], id="spelling"),
    ],
)
def test_tool_is_content(command):
    """Each tool, configured in pyproject.toml, finds nothing."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_import_contracts():
    """Packages import downwards only and each external library has one owner (pyproject.toml)."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_shell_scripts_parse():
    """Every shell script of the repository is valid for its shell."""
    scripts = [
        path
        for path in [*(ROOT / ".ci").iterdir(), *(ROOT / "testdata" / "bases").iterdir()]
        if path.is_file() and path.read_bytes().startswith(b"#!")
    ]
    assert scripts
    for script in scripts:
        shell = "bash" if b"bash" in script.read_bytes().splitlines()[0] else "sh"
        subprocess.run([shell, "-n", script], check=True)
