"""Registries that know their users, refuse changes, or speak TLS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.client.client import RegistryClient
from registry.client.credentials import Credentials
from registry.client.session import TransportOptions
from registry.client.transfer import Activity, login, pull
from registry.client.transport import Transport
from registry.errors import ApiError, Denied, RegistryError, Unauthorized
from registry.server.config import BasicAuth, TlsFiles, TokenAuth
from tests.contract.registry_client.machines import (
    AMD64,
    HTPASSWD,
    USER,
    docker_registry,
    own_registry,
    reference,
    text,
)


@pytest.fixture
def htpasswd(tmp_path: Path) -> str:
    path = tmp_path / "htpasswd"
    path.write_text(HTPASSWD)
    return str(path)


@pytest.fixture(params=["own-basic", "own-token", pytest.param("docker-registry", marks=pytest.mark.clients)])
def guarded(request: pytest.FixtureRequest, tmp_path: Path, htpasswd: str) -> Iterator[str]:
    """The name of a registry that knows one user."""
    if request.param == "docker-registry":
        with docker_registry(tmp_path, htpasswd=htpasswd) as name:
            yield name
    else:
        kind: Callable[..., BasicAuth | TokenAuth] = BasicAuth if request.param == "own-basic" else TokenAuth
        more = {} if kind is BasicAuth else {"anonymous_pull": False}
        with own_registry(tmp_path, auth=kind(htpasswd=htpasswd, **more)) as name:
            yield name


async def test_known_user_pushes_mounts_and_pulls(guarded, machine, other):
    """With credentials everything works, mounts between repositories included."""
    async with Transport(credentials=lambda _: USER) as transport:
        client = RegistryClient(transport, guarded)
        root = machine.image(text(100_000))
        pushed = await machine.push(client, root, "mine/app:1")
        assert await machine.push(client, root, "mine/copy:1") == pushed
        assert machine.happened() == {Activity.MOUNTED}
        pulled = await pull(client, reference(client, "mine/app:1"), AMD64, other.blobs, notes=other.notes)
        assert pulled.root.descriptor == pushed
        assert set(await client.catalog()) == {"mine/app", "mine/copy"}


async def test_strangers_are_told_to_log_in(guarded, transport, machine):
    """Without credentials the error says what to do."""
    client = RegistryClient(transport, guarded)
    with pytest.raises(Unauthorized) as caught:
        await machine.push(client, machine.image(b"x"), "mine/app:1")
    assert caught.value.hint
    assert guarded in caught.value.message


async def test_login_checks_the_password(guarded):
    """Right credentials pass, wrong ones do not."""
    await login(guarded, USER)
    with pytest.raises((Unauthorized, Denied)):
        await login(guarded, Credentials(username="me", password="wrong"))
    with pytest.raises((Unauthorized, Denied)):
        await login(guarded, Credentials(username="nobody", password="secret"))


async def test_anonymous_pull_beside_authenticated_push(tmp_path, htpasswd, machine, other):
    """Like Docker Hub: everybody reads with an anonymous token, only the user writes."""
    with own_registry(tmp_path, auth=TokenAuth(htpasswd=htpasswd)) as name:
        async with Transport(credentials=lambda _: USER) as transport:
            pushed = await machine.push(RegistryClient(transport, name), machine.image(text(5000)), "app:1")
        async with Transport() as transport:
            client = RegistryClient(transport, name)
            pulled = await pull(client, reference(client, "app:1"), AMD64, other.blobs, notes=other.notes)
            assert pulled.root.descriptor == pushed
            with pytest.raises(RegistryError):
                await other.push(client, pulled.root.descriptor, "theirs:1")


def make_certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate for localhost that nobody trusts, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.mark.clients
async def test_registry_behind_tls_is_reached_by_its_certificate(tmp_path, machine):
    """A private certificate works when it is named or the registry is insecure, and is refused otherwise."""
    certificate, key = make_certificate(tmp_path)
    with own_registry(tmp_path, tls=TlsFiles(certificate=certificate, key=key)) as name:
        # Loopback: plain HTTP is tried first, then TLS with any certificate.
        async with Transport() as transport:
            assert await machine.push(RegistryClient(transport, name), machine.image(b"x"), "app:1")
        # As if it were a host elsewhere.
        address = {"reg.example": f"https://{name}"}
        async with Transport(TransportOptions(overrides=address)) as transport:
            with pytest.raises(RegistryError, match=r"TLS failed.*certificate") as caught:
                await RegistryClient(transport, "reg.example").ping()
            assert caught.value.hint
        async with Transport(TransportOptions(overrides=address, ca_file=certificate)) as transport:
            await RegistryClient(transport, "reg.example").ping()
        insecure = TransportOptions(overrides=address, insecure=frozenset({"reg.example"}))
        async with Transport(insecure) as transport:
            await RegistryClient(transport, "reg.example").ping()


async def test_read_only_registry_says_so(tmp_path, transport, machine):
    """A refusal keeps the registry's words."""
    with own_registry(tmp_path, read_only=True) as name, pytest.raises(ApiError, match=name):
        await machine.push(RegistryClient(transport, name), machine.image(b"x"), "app:1")
