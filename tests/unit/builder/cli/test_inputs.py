"""What a build reads before it is planned."""

import json

import pytest

from builder.cli.inputs import build_args

PROXIES = {"httpProxy": "http://p:1", "noProxy": "localhost", "httpsProxy": "", "unknown": "x"}


@pytest.fixture
def docker(tmp_path):
    """An environment with a configuration of docker, whose text can be set."""

    def write(text):
        (tmp_path / "config.json").write_text(text)
        return {"DOCKER_CONFIG": str(tmp_path), "HTTP_PROXY": "http://of-this-process"}

    return write


def test_proxies_for_builds(docker):
    """Docker's configuration gives builds proxies in both spellings, unless a flag does in any case."""
    environment = docker(json.dumps({"proxies": {"default": PROXIES, "tcp://host": {"ftpProxy": "x"}}}))
    found = {
        "HTTP_PROXY": "http://p:1",
        "http_proxy": "http://p:1",
        "NO_PROXY": "localhost",
        "no_proxy": "localhost",
    }
    assert build_args([], environment) == found
    given = build_args(["http_proxy=mine", "A=1"], environment)
    assert given == {"http_proxy": "mine", "A": "1", "NO_PROXY": "localhost", "no_proxy": "localhost"}
    assert build_args(["HTTP_PROXY"], environment)["HTTP_PROXY"] == "http://of-this-process"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"proxies": 1}', '{"proxies": {"default": 2}}', '{"proxies": {"default": []}}'],
)
def test_configurations_without_proxies(docker, text):
    """They change nothing, also where they are broken."""
    assert build_args(["A=1"], docker(text)) == {"A": "1"}
    assert build_args([], {"DOCKER_CONFIG": "/does/not/exist"}) == {}
