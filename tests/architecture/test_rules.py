"""Rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("builder", "registry", "runtime", "dockerfile_grammar", "oci_image")


def sources():
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def test_environment_is_read_in_the_command_line_only():
    """Configuration comes from flags and environment, is read in builder/cli and passed down as values."""
    # The two processes that start before any argument can reach them state their own reasons.
    allowed = {ROOT / "runtime" / "userns.py"}
    offenders = [
        str(path.relative_to(ROOT))
        for path in sources()
        if re.search(r"os\.(environ|getenv)", path.read_text())
        and "cli" not in path.parts
        and path not in allowed
    ]

    assert offenders == []


def test_packages_hold_a_docstring_only():
    """Importing a package costs nothing."""
    for path in sources():
        if path.name != "__init__.py":
            continue
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr), path


def test_no_vague_module_names():
    """A module is named by what it owns."""
    vague = {"utils.py", "helpers.py", "common.py", "misc.py", "manager.py"}

    assert [path for path in sources() if path.name in vague] == []


def test_only_the_command_line_ends_the_process_or_runs_a_loop():
    """Library code never calls sys.exit or asyncio.run."""
    offenders = []
    for path in sources():
        if "cli" in path.parts or path.name in ("inside.py", "zygote.py", "embedded.py", "worker.py"):
            continue
        offenders.extend(
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "asyncio.run")
        )

    assert offenders == []


def test_no_mocks():
    """Tests use peers, not mocks."""
    name = "unittest" + ".mock"

    assert [path for path in (ROOT / "tests").rglob("*.py") if name in path.read_text()] == []


def test_nothing_is_left_for_later():
    """Nothing is marked as to be done."""
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
    offenders = [
        str(path.relative_to(ROOT))
        for folder in (*PACKAGES, "tests", "docs", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".lark", ".sh") and marks.search(path.read_text())
    ]

    assert offenders == []
