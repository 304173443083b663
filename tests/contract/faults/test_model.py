"""Random conversations, each answer compared with a model of a registry (gate 24)."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.housekeeping.scrub import Scrubber
from registry.server.store.filesystem import FilesystemStore
from tests.contract.faults.model import DEBIAN, Conversation, Dialect
from tests.contract.faults.stores import findings
from tests.contract.registry_client.machines import docker_registry


def converse(url, dialect, conversations):
    """How many requests were made."""
    kind = type("Talk", (Conversation,), {"url": url, "dialect": dialect, "steps": 0})
    chosen = settings(
        max_examples=conversations,
        stateful_step_count=50,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if conversations > 100 else [Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(kind, settings=chosen)
    return kind.steps


LONG = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("conversations", [12, pytest.param(2500, marks=LONG)])
@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_conversations_follow_the_model(tmp_path, kind, conversations, figure):
    """No answer of 5xx, none that the model does not expect; the directory is sound afterwards."""
    root = str(tmp_path / "root") if kind == "directory" else ""
    with Registry(RegistryConfig(port=0, root=root, drain_seconds=0.5)) as url:
        requests = converse(url, Dialect(), conversations)
    if root:
        store = FilesystemStore(root)
        # Blobs may be deleted while manifests refer to them.
        assert [item for item in findings(store) if "which is not here" not in item.problem] == []
        assert Scrubber(store).scrub().damaged == {}
        store.close()
    assert requests > 10 * conversations
    figure(24, f"{kind}: {conversations} conversations, {requests} requests, 0 of 5xx, 0 unexpected")


@pytest.mark.clients
@pytest.mark.parametrize("conversations", [12, pytest.param(300, marks=LONG)])
def test_the_model_holds_for_another_registry(tmp_path, conversations, figure):
    """Debian's docker-registry follows it but for the reviewed differences: the model is no invention."""
    with docker_registry(tmp_path) as name:
        requests = converse(f"http://{name}", DEBIAN, conversations)
    figure(24, f"docker-registry: {conversations} conversations, {requests} requests, 0 unexpected")
