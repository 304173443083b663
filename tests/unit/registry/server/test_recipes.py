"""The recipes of the guide: what is shown there works."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from registry.server.configfile import load
from registry.server.configsections import SECTIONS
from registry.server.configtables import TABLES

ROOT = Path(__file__).parents[4]
GUIDE = (ROOT / "docs" / "registry.md").read_text()


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", blocks("toml"))
def test_settings_of_the_guide_are_known(text):
    """Every section and key of its examples."""
    for name, content in tomllib.loads(text).items():
        if name == "groups":
            continue
        settings = SECTIONS.get(name) or TABLES[name]
        rows = content if isinstance(content, list) else [content]
        tables = {table.rpartition(".")[2] for table in TABLES if table.startswith(f"{name}.")}
        known = {setting.key for setting in settings} | tables
        assert not {key for row in rows for key in row} - known


def test_the_unit_starts_what_there_is(tmp_path):
    """Its options are those of the command, its variables those of the settings."""
    (unit,) = blocks("ini")
    for line in re.findall(r"^Exec\w+=(.*)$", unit, re.MULTILINE):
        program, verb, *options = line.split()
        assert program.endswith("/pybuild")
        assert verb == "registry"
        assert {word for word in options if word.startswith("-")} <= {"--config", "--verify"}
    variables = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
    assert load(environment=variables).root == "/var/lib/registry"
    assert "KillMode=mixed" in unit


def test_the_unit_is_known_to_systemd(tmp_path):
    """Where systemd is there: every line of it means something, and little is left open."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    (unit,) = blocks("ini")
    path = tmp_path / "registry.service"
    path.write_text(unit.replace("/opt/pybuild/bin/pybuild", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]


def test_the_container_can_be_built(tmp_path):
    """Its Dockerfile has no problem that our own checks know, and its variables are settings."""
    (text,) = blocks("dockerfile")
    # Without the base, for which the network would be needed.
    (tmp_path / "Dockerfile").write_text(text.replace("FROM python:3.13-slim", "FROM scratch"))
    command = [sys.executable, "-m", "builder", "--check", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    variables = dict(re.findall(r"(PYBUILD_REGISTRY_\w+)=(\S+)", text))
    assert load(environment=variables).port == 5000
    # A volume gets the owner that the directory has in the image; otherwise it is root's.
    user = re.search(r"^USER (\d+)$", text, re.MULTILINE)[1]
    root = load(environment=variables).root
    assert f"mkdir {root} && chown {user}:{user} {root}\n" in text[: text.index("VOLUME")]
