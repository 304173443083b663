"""What a call loads before it does anything: `--help`, and a build that is answered from its record."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

STANDARD = frozenset(
    "__future__ _blake2 _bisect _bootlocale _collections _datetime _functools _hashlib _json _locale _md5 "
    "_operator _opcode _random _sha1 _sha2 _sha256 _sha3 _sha512 _sre _struct _typing _weakref argparse "
    "collections collections.abc copyreg enum errno functools gettext hashlib importlib importlib._bootstrap "
    "importlib._bootstrap_external itertools json json.decoder json.encoder json.scanner keyword locale "
    "operator re re._casefix re._compiler re._constants re._parser reprlib signal struct types warnings "
    "_suggestions _ast _colorize".split()
)
"""What the replay of a build may load of the standard library, beside what the interpreter loads itself."""

OURS = frozenset(
    "builder builder.cli builder.cli.inputs builder.cli.main builder.cli.options builder.cli.replaying "
    "builder.cli.report builder.cli.roots builder.cli.verbs builder.cli.verbs.build builder.replay".split()
)
HELP = frozenset(("builder", "builder.cli", "builder.cli.main"))
ENTRY = "from builder.cli.main import entry; entry()"


def loaded(code, *arguments):
    """The modules that a fresh interpreter imports for this code."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE)) - {"package"}


@pytest.fixture(scope="module")
def bare():
    """What the interpreter imports for nothing."""
    return loaded("pass")


def test_help_loads_nothing(bare):
    """The list of verbs is there before any of them is loaded."""
    found = loaded(ENTRY, "--help") - bare

    assert found - STANDARD == HELP


def test_a_replay_loads_nothing_heavy(bare, tmp_path):
    """The replay of a build loads a handful of small modules, and no dataclasses, typing, sqlite3 or asyncio."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    (context / "a").write_text("a")
    arguments = ["--root", str(tmp_path / "root"), "-t", "app:1", "--progress", "plain", str(context)]
    loaded(ENTRY, *arguments)
    time.sleep(2.1)  # younger files are not recorded
    loaded(ENTRY, *arguments)

    found = loaded(ENTRY, *arguments) - bare

    assert found - STANDARD == OURS
    assert "typing" not in found


def test_a_cached_build_loads_no_event_loop(bare, tmp_path):
    """Without a record, a build that is all cached still loads neither asyncio nor what runs steps."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    (context / "a").write_text("a")
    arguments = ["--root", str(tmp_path / "root"), "-q", str(context)]
    loaded(ENTRY, *arguments)

    found = loaded(ENTRY, *arguments) - bare

    heavy = {"asyncio", "aiohttp", "pyroute2", "zstandard", "rich", "subprocess", "tarfile"}
    assert not {name for name in found if name.partition(".")[0] in heavy}
    assert not {name for name in found if name.startswith(("runtime.", "registry.client", "builder.perform"))}
