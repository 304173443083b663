"""TLS of the server."""

import dataclasses
import ssl
import stat

import aiohttp
import pytest

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.server import tls
from registry.server.config import RegistryConfig, TlsFiles
from registry.server.listening import listening, verify
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore


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


async def test_a_certificate_for_development_is_made_once(tmp_path):
    """Where there is none, for the addresses of this machine; and again when its time is nearly over."""
    folder = tmp_path / "new"
    files = TlsFiles(certificate=str(folder / "c.pem"), key=str(folder / "k.pem"), self_signed=True)
    config = RegistryConfig(host="127.0.0.1", port=0, tls=files, drain_seconds=0.1)
    verify(config)
    first = (folder / "c.pem").read_bytes()
    assert stat.S_IMODE((folder / "k.pem").stat().st_mode) == 0o600
    trusting = ssl.create_default_context(cafile=files.certificate)
    async with (
        listening(config, MemoryStore()) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
        session.get(url.replace("127.0.0.1", "localhost") + "/v2/") as answer,
    ):
        assert answer.status == 200
    assert (folder / "c.pem").read_bytes() == first


def test_what_is_there_is_not_made_again(tmp_path, monkeypatch):
    """Unless it is one of ours and ends within days; half of a pair is a mistake that is told."""
    made = tls.self_signed(["localhost"], str(tmp_path))
    files = dataclasses.replace(made, self_signed=True)
    first = (tmp_path / "certificate.pem").read_bytes()
    tls.make_missing(files, "localhost")
    assert (tmp_path / "certificate.pem").read_bytes() == first
    monkeypatch.setattr(tls, "_RENEWAL", tls._LIFETIME * 2)
    tls.make_missing(made, "localhost")
    assert (tmp_path / "certificate.pem").read_bytes() == first
    tls.make_missing(files, "0.0.0.0")
    assert (tmp_path / "certificate.pem").read_bytes() != first
    tls.load(files)
    (tmp_path / "certificate.pem").unlink()
    tls.make_missing(files, "localhost")
    with pytest.raises(InvalidConfiguration, match="cannot read"):
        tls.load(files)
    (tmp_path / "file").write_text("")
    nowhere = TlsFiles(
        certificate=str(tmp_path / "file/c.pem"), key=str(tmp_path / "file/k.pem"), self_signed=True
    )
    with pytest.raises(InvalidConfiguration, match="cannot write"):
        tls.make_missing(nowhere, "localhost")


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
