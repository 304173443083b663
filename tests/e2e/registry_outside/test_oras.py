"""The tests of oras-py. Left out are those that reach the internet, and an upload of 16 GiB."""

import os
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.clients import run
from tests.e2e.registry_outside.images import SECRET, USER
from tests.e2e.support import missing

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("outside-oras")]


def oras_tests(server, folder, without="", **more):
    """Status, counts by outcome, output."""
    found = find_spec("oras")
    if found is None or found.origin is None:
        missing("clients", "oras is not installed")
    # They push their own files, which must be below the working directory, and log in by the home directory.
    shutil.copytree(Path(found.origin).parent / "tests", folder / "tests")
    done = run(
        *(sys.executable, "-m", "pytest", "tests", "-q", "--timeout", "60", "-W", "ignore"),
        *(
            "--basetemp",
            folder.parent / f"files-of-{folder.name}",
        ),  # what this run left is none of its business
        *("-p", "no:cacheprovider", "-k", f"not ssl and not many_tags and not chunked_push{without}"),
        check=False,
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
            "HOME": str(folder),
            "ORAS_HOST": "127.0.0.1",
            "ORAS_PORT": str(server.port),
            **more,
        },
    )
    counts = re.findall(r"(\d+) (passed|skipped|failed|error)", done.stdout.splitlines()[-1])
    return done.returncode, {word: int(count) for count, word in counts}, done.stdout[-3000:]


def test_oras_tests(server, tmp_path):
    """All that are not skipped pass, as many as against docker-registry."""
    status, counts, output = oras_tests(server, tmp_path)
    assert (status, counts) == (0, {"passed": 66, "skipped": 3}), output


def test_oras_tests_with_a_password(guarded, tmp_path):
    """The tests of logins run, but for two that need TLS; those of open registries are skipped."""
    more = {"ORAS_AUTH": "true", "ORAS_USER": USER, "ORAS_PASS": SECRET}
    without = " and not selfsigned and not custom_docker_config"
    status, counts, output = oras_tests(guarded, tmp_path, without, **more)
    assert (status, counts) == (0, {"passed": 54, "skipped": 13}), output
