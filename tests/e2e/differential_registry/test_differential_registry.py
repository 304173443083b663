"""
The same requests to our registry and to Debian's docker-registry.

Every difference of status, error codes, headers or content must stand in the list of intended ones, and
everything in the list must be seen.
"""

import re

import pytest

from tests.contract.registry_client.machines import docker_registry, own_registry
from tests.e2e.differential_registry.intended import ROWS
from tests.e2e.differential_registry.script import SCRIPT, play
from tests.e2e.support import need

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("differential-registry")]
NAMES = [request.name for request in SCRIPT]


@pytest.fixture(scope="module", params=["memory", "directory"])
def differences(request, tmp_path_factory):
    """The differences by the name of the request, for each of our storages."""
    need("docker-registry")
    folder = tmp_path_factory.mktemp("registries")
    with docker_registry(folder) as theirs:
        their_answers = play(theirs)
    with own_registry(folder, root=request.param == "directory") as ours:
        our_answers = play(ours)
    return {name: our_answers[name].differences(their_answers[name]) for name in NAMES}


def is_explained(name, line):
    return any(name in row.requests and re.match(row.pattern, line) for row in ROWS)


@pytest.mark.parametrize("name", NAMES)
def test_differences_are_intended(differences, name):
    """What is not in the list is a mistake, theirs or ours."""
    assert [line for line in differences[name] if not is_explained(name, line)] == []


def test_intended_differences_are_seen(differences):
    """The list does not outlive its reasons."""
    unseen = [
        (name, row.pattern)
        for row in ROWS
        for name in row.requests
        if not any(re.match(row.pattern, line) for line in differences[name])
    ]
    assert unseen == []


def test_names_are_unique():
    """A row of the list means one request."""
    assert len(set(NAMES)) == len(NAMES)
    assert {name for row in ROWS for name in row.requests} <= set(NAMES)
