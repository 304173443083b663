"""A wall clock that jumps: nothing expires before its time, and nothing lives for ever (gate 22)."""

import base64
import json
import time

import bcrypt
import pytest

from oci_image.digest import Digest
from registry.server.config import RegistryConfig, TokenAuth
from registry.server.embedded import Registry
from registry.server.housekeeping.gc import Collector
from registry.server.store.filesystem import FilesystemStore
from tests.contract.faults.serving import push, send, start
from tests.contract.faults.stores import push as push_to_store

DAY = 86400.0


class Wall:
    """The time of day, which somebody sets."""

    def __init__(self, monkeypatch):
        self.jump = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.jump)


@pytest.fixture
def wall(monkeypatch):
    return Wall(monkeypatch)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_uploads_and_garbage_survive_jumps(tmp_path, wall, jump):
    """An upload goes on, a blob that nothing needs yet stays within its grace."""
    root = str(tmp_path / "root")
    settings = {"upload_idle_seconds": 600.0, "gc_interval": 0.05, "gc_grace": 600.0, "drain_seconds": 0.5}
    with Registry(RegistryConfig(port=0, root=root, **settings)) as url:
        location = start(url)
        assert send("PATCH", url + location, b"half")[0] == 202
        assert push(url, "a", b"lone") == 201
        wall.jump = jump
        time.sleep(0.4)
        assert send("GET", url + location)[0] == 204
        assert send("HEAD", f"{url}/v2/a/blobs/{Digest.of(b'lone')}")[0] == 200
    with Registry(RegistryConfig(port=0, root=root, **settings)) as url:  # a restart in the other time
        time.sleep(0.4)
        assert send("HEAD", f"{url}/v2/a/blobs/{Digest.of(b'lone')}")[0] == 200
        assert send("GET", url + location)[0] == 204


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_garbage_goes_after_jumps(tmp_path, wall, jump):
    """A clock that was set back does not keep garbage."""
    store = FilesystemStore(str(tmp_path / "root"))
    push_to_store(store, "a", b"lone")
    wall.jump = jump
    time.sleep(0.15)
    Collector(store, grace=0.1, undelete=0.0).collect()
    assert store.blobs.stat("a", Digest.of(b"lone")) is None
    store.close()


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_tokens_survive_jumps(tmp_path, wall, jump, figure):
    """A token lives as long as was said, whatever the time of day does."""
    users = tmp_path / "htpasswd"
    users.write_text("ann:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode() + "\n")
    config = RegistryConfig(port=0, auth=TokenAuth(htpasswd=str(users)), drain_seconds=0.5)
    with Registry(config) as url:
        secret = base64.b64encode(b"ann:secret").decode()
        path = f"{url}/token?service=registry&scope=repository:a:pull,push"
        status, _, body = send("GET", path, headers={"Authorization": f"Basic {secret}"})
        assert status == 200
        token = {"Authorization": f"Bearer {json.loads(body)['token']}"}
        wall.jump = jump
        assert send("POST", f"{url}/v2/a/blobs/uploads/", b"", token)[0] == 202
        status, _, body = send("GET", path, headers={"Authorization": f"Basic {secret}"})
        fresh = {"Authorization": f"Bearer {json.loads(body)['token']}"}
        assert send("POST", f"{url}/v2/a/blobs/uploads/", b"", fresh)[0] == 202
    figure(22, f"{'+' if jump > 0 else '-'}1 day: uploads, grace and tokens as before")
