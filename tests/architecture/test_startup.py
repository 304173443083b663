"""What a call loads before it does anything: `--help`, and a build that is answered from its record."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def words(text):
    """The words of a text."""
    return frozenset(text.split())


STANDARD = words(
    """
    __future__ gc _bisect _blake2 _collections _functools _hashlib _json _locale _md5 _operator _sha1 _sha2
    _sha256 _sha3 _sha512 _sre _struct argparse collections collections.abc copyreg enum errno functools
    gettext hashlib importlib importlib._bootstrap importlib._bootstrap_external itertools json json.decoder
    json.encoder json.scanner keyword locale operator re re._casefix re._compiler re._constants re._parser
    reprlib signal struct types warnings
    """
)
"""What the replay of a build may load of the standard library, beside what the interpreter loads itself."""

OURS = words(
    """
    builder builder.cli builder.cli.inputs builder.cli.main builder.cli.options builder.cli.replaying
    builder.cli.report builder.cli.roots builder.cli.verbs builder.cli.verbs.build builder.caching
    builder.caching.replay
    """
)
HELP = frozenset(("builder", "builder.cli", "builder.cli.main"))
BARE = "import sys; print(*sys.modules)"
CALL = "import sys; from builder.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"


def loaded(code, *arguments):
    """The modules that a fresh interpreter has loaded after this code, which prints them last."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return words(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def bare():
    """What the interpreter imports for nothing."""
    return loaded(BARE)


def test_help_loads_nothing(bare):
    """The list of verbs is there before any of them is loaded."""
    found = loaded(CALL, "--help") - bare

    assert found - STANDARD == HELP


def test_a_replay_loads_nothing_heavy(bare, tmp_path):
    """The replay of a build loads a handful of small modules: no dataclasses, typing, sqlite3 or asyncio."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    (context / "a").write_text("a")
    arguments = ["--root", str(tmp_path / "root"), "-t", "app:1", "--progress", "plain", str(context)]
    loaded(CALL, *arguments)
    time.sleep(2.1)  # younger files are not recorded
    loaded(CALL, *arguments)

    found = loaded(CALL, *arguments) - bare

    assert found - STANDARD == OURS
    assert "typing" not in found


def test_a_cached_build_loads_no_event_loop(bare, tmp_path):
    """Without a record, a build that is all cached still loads neither asyncio nor what runs steps."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    (context / "a").write_text("a")
    arguments = ["--root", str(tmp_path / "root"), "-q", str(context)]
    loaded(CALL, *arguments)

    found = loaded(CALL, *arguments) - bare

    heavy = {"asyncio", "aiohttp", "pyroute2", "zstandard", "rich", "subprocess", "tarfile"}
    assert not {name for name in found if name.partition(".")[0] in heavy}
    assert not {name for name in found if name.startswith(("runtime.", "registry.client", "builder.perform"))}
