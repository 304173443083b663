"""TLS of the server."""

import ssl
import stat

import aiohttp
import pytest

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.server import tls
from registry.server.config import RegistryConfig, TlsFiles
from registry.server.listening import listening
from registry.server.store.filesystem import FilesystemStore


async def test_a_self_signed_certificate_serves(tmp_path):
    """Clients that trust it reach the server; large blobs arrive whole, and so do parts of them."""
    files = tls.self_signed(["localhost", "127.0.0.1"], str(tmp_path))
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    trusting = ssl.create_default_context(cafile=files.certificate)
    store = FilesystemStore(str(tmp_path / "root"))
    config = RegistryConfig(port=0, tls=files, drain_seconds=0.1)
    data = bytes(range(256)) * 20_000
    digest = Digest.of(data)
    upload = store.uploads.create("a")
    upload.write([data])
    upload.commit(digest)
    async with (
        listening(config, store) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
    ):
        assert url.startswith("https://127.0.0.1:")
        blob = f"{url}/v2/a/blobs/{digest}"
        for _ in range(2):
            async with session.get(blob) as answer:
                assert await answer.read() == data
        async with session.get(blob, headers={"Range": "bytes=1000000-4999999"}) as answer:
            assert await answer.read() == data[1_000_000:5_000_000]
        assert tls.load(files).minimum_version == ssl.TLSVersion.TLSv1_2
    store.close()


def test_unusable_files_are_refused(tmp_path):
    """Missing, broken, or not belonging together."""
    (tmp_path / "other").mkdir()
    good = tls.self_signed(["localhost"], str(tmp_path))
    other = tls.self_signed(["localhost"], str(tmp_path / "other"))
    for files, reason in (
        (TlsFiles(certificate=good.certificate, key=other.key), "belong|usable"),
        (TlsFiles(certificate=good.key, key=good.key), "usable"),
        (TlsFiles(certificate=str(tmp_path / "none"), key=good.key), "cannot read"),
    ):
        with pytest.raises(InvalidConfiguration, match=reason):
            tls.load(files)
