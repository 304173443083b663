"""Where a registry in a bucket keeps its state, and whose credentials it uses."""

import pytest

from builder.cli.buckets import is_url, located
from registry.server.config import RegistryConfig

BUCKET = RegistryConfig(root="s3://bucket/team")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_directories_are_left_alone(home):
    """Only buckets need something beside them."""
    config = RegistryConfig(root="/srv")
    assert located(config, {}, "/store") is config
    assert not is_url("/srv")
    assert is_url("gs://x")


def test_each_bucket_and_prefix_has_a_state_of_its_own(home):
    """With a name that tells which; what the settings say is kept."""
    states = {
        located(RegistryConfig(root=f"s3://{name}"), {}, "/store").state for name in ("a/b", "a-b", "c")
    }
    assert len(states) == 3
    assert all(state.startswith("/store/registries/s3-") for state in states)
    assert located(RegistryConfig(root="s3://a", state="/mine"), {}, "/store").state == "/mine"


def test_the_users_file_of_credentials_is_found(home):
    """Where the tools of AWS keep it, with the profile that they would use."""
    assert located(BUCKET, {}, "/store").bucket_credentials == ""
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text("")
    found = located(BUCKET, {"AWS_PROFILE": "work"}, "/store")
    assert found.bucket_credentials == str(home / ".aws" / "credentials")
    assert found.bucket_profile == "work"
    (home / "other").write_text("")
    other = located(BUCKET, {"AWS_SHARED_CREDENTIALS_FILE": str(home / "other")}, "/store")
    assert (other.bucket_credentials, other.bucket_profile) == (str(home / "other"), "default")


@pytest.mark.parametrize(
    "environment", [{"AWS_ACCESS_KEY_ID": "x"}, {"AWS_WEB_IDENTITY_TOKEN_FILE": "/x"}], ids=["keys", "token"]
)
def test_other_sources_of_credentials_come_first(home, environment):
    """As in the tools of AWS: variables and identities of a workload win."""
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text("")
    assert located(BUCKET, environment, "/store").bucket_credentials == ""
    assert located(RegistryConfig(root="gs://x"), {}, "/store").bucket_credentials == ""
