"""What an installation puts into site-packages."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_top_level_names(wheel):
    """Exactly our five packages and the metadata: generic names have a price, so none is added unseen."""
    names = {name.partition("/")[0] for name in wheel.namelist()}

    assert {name for name in names if not name.endswith(".dist-info")} == {
        "builder",
        "dockerfile_grammar",
        "oci_image",
        "registry",
        "runtime",
    }


def test_package_data(wheel):
    """The grammar and the type markers are part of it; tests are not."""
    names = wheel.namelist()

    assert "dockerfile_grammar/dockerfile.lark" in names
    assert {f"{name}/py.typed" for name in ("builder", "oci_image", "registry", "runtime")} <= set(names)
    assert not [name for name in names if "test" in name.partition("/")[0]]


def test_console_script(wheel):
    """The command is called pybuild."""
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    assert b"pybuild = builder.cli.main:entry" in wheel.read(name)
