"""What a server loads before its first answer, which is nearly all of the time that it takes to start."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
PROGRAM = """
import asyncio, http.client, sys
from registry.server.preloading import load_storage, preload
loading = preload()
from registry.server.configfile import load
config = load(flags={("storage", "memory"): True, ("server", "listen"): "127.0.0.1:0"})
load_storage(config.root)
loading.join()
from registry.server.listening import listening
from registry.server.opening import open_store

async def main():
    async with listening(config, open_store(config)) as url:
        def ask():
            connection = http.client.HTTPConnection(url.partition("//")[2])
            connection.request("GET", "/v2/")
            assert connection.getresponse().status == 200
            connection.close()
        await asyncio.to_thread(ask)

asyncio.run(main())
print(*sys.modules)
"""
NEVER = {
    "cryptography": "only for TLS and tokens",
    "bcrypt": "only for passwords",
    "prometheus_client": "only for figures",
    "opentelemetry": "only for traces",
    "jwt": "only for tokens of others",
    "sqlite3": "only for content on disk",
    "difflib": "only for mistakes",
    "oci_image.documents": "only for lists of referrers",
    "registry.server.page": "only when somebody looks",
    "registry.server.webhooks": "only for receivers",
    "registry.server.housekeeping.gc": "only for content on disk",
    "registry.server.workers": "only for several processes",
    "registry.client": "only for mirrors",
}


def test_a_server_in_memory_loads_little():
    """Whatever the settings do not ask for is not loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "aiohttp.web" in loaded
    assert not {name: why for name, why in NEVER.items() if name in loaded}


def test_the_settings_are_read_without_http():
    """So that the HTTP library can be loaded at the same time."""
    modules = "registry.server.configfile, registry.server.store.memory"
    program = f"import sys, {modules}; print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
