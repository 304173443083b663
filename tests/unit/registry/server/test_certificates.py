"""Client certificates that say who a caller is, and certificates that change while the server runs."""

import asyncio
import datetime as dt
import os
import socket
import ssl

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.errors import InvalidConfiguration
from registry.server import tls
from registry.server.certificates import read
from registry.server.config import RegistryConfig, TlsFiles
from registry.server.listening import listening
from registry.server.rights import Principal, Rule
from registry.server.store.memory import MemoryStore


class Authority:
    """Signs client certificates."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.path = str(folder / f"{name}.pem")
        with open(self.path, "wb") as file:
            file.write(self._sign(self.name, self.key, ca=True))

    def _sign(self, subject, key, ca=False):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def client(self, user, *units):
        """A context with a certificate for the user."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, user)]
        names += [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
        path = str(self.folder / f"{user}.client.pem")
        with open(path, "wb") as file:
            file.write(self._sign(x509.Name(names), key))
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(path)
        return context


def stranger():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def status(url, context, method="GET", path="/v2/"):
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.request(method, url + path) as answer,
    ):
        return answer.status


RULES = (
    Rule(repositories="team/**", allow=("push",), users=("ann",), groups=("builders",)),
    Rule(repositories="**", allow=("pull",), anonymous=True),
)


async def test_certificates_name_callers(tmp_path, authority):
    """By name and by organizational unit; without one a caller is anonymous, with a foreign one refused."""
    files = tls.self_signed(["localhost"], str(tmp_path))
    files = TlsFiles(certificate=files.certificate, key=files.key, client_ca=authority.path)
    config = RegistryConfig(port=0, tls=files, rights=RULES, drain_seconds=0)
    async with listening(config, MemoryStore()) as url:
        push = ("POST", "/v2/team/a/blobs/uploads/")
        assert await status(url, authority.client("ann"), *push) == 202
        assert await status(url, authority.client("ci", "builders"), *push) == 202
        assert await status(url, authority.client("bob"), *push) == 403
        assert await status(url, stranger(), *push) == 403
        assert await status(url, stranger(), "GET", "/v2/other/tags/list") == 404
        with pytest.raises(aiohttp.ClientError):
            await status(url, Authority(tmp_path, "other").client("ann"), *push)


async def test_certificates_may_be_required(tmp_path, authority):
    """Then nobody gets in without one."""
    files = tls.self_signed(["localhost"], str(tmp_path))
    files = TlsFiles(
        certificate=files.certificate, key=files.key, client_ca=authority.path, client_required=True
    )
    async with listening(RegistryConfig(port=0, tls=files, drain_seconds=0), MemoryStore()) as url:
        assert await status(url, authority.client("ann")) == 200
        with pytest.raises(aiohttp.ClientError):
            await status(url, stranger())


def test_places_of_names():
    """Each place that the settings know."""
    certificate = {
        "subject": (
            (("commonName", "cn"),),
            (("organizationalUnitName", "a"),),
            (("organizationalUnitName", "b"),),
        ),
        "subjectAltName": (("email", "e@x"), ("DNS", "d.x"), ("URI", "spiffe://x/y")),
    }
    groups = frozenset({"a", "b"})
    assert read(certificate, "common_name") == Principal("cn", groups)
    assert read(certificate, "email") == Principal("e@x", groups)
    assert read(certificate, "dns") == Principal("d.x", groups)
    assert read(certificate, "uri") == Principal("spiffe://x/y", groups)
    assert read({"subject": ()}, "common_name") is None
    assert read({"subject": ()}, "uri") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"client_name": "serial"}, "not a place"), ({"client_required": True}, "client_ca")],
)
def test_bad_settings_are_refused(changes, message):
    """Before anything is read."""
    with pytest.raises(InvalidConfiguration, match=message):
        TlsFiles(certificate="c", key="k", **changes)


def test_unusable_authorities_are_refused(tmp_path):
    """With the file's name."""
    files = tls.self_signed(["localhost"], str(tmp_path))
    (tmp_path / "noise.pem").write_text("noise")
    for name, message in (("none.pem", "cannot read"), ("noise.pem", "no usable")):
        bad = TlsFiles(certificate=files.certificate, key=files.key, client_ca=str(tmp_path / name))
        with pytest.raises(InvalidConfiguration, match=message):
            tls.load(bad)


async def served_certificate(url):
    host, _, port = url.partition("://")[2].rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=stranger())
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_a_new_certificate_is_used_without_a_restart(tmp_path, authority):
    """Half of a pair is not used; a removed authority is not believed any more."""
    (tmp_path / "new").mkdir()
    files = tls.self_signed(["localhost"], str(tmp_path))
    files = TlsFiles(certificate=files.certificate, key=files.key, client_ca=authority.path)
    new = tls.self_signed(["localhost"], str(tmp_path / "new"))
    client = authority.client("ann")
    async with listening(RegistryConfig(port=0, tls=files, drain_seconds=0), MemoryStore()) as url:
        before = await served_certificate(url)
        os.replace(new.certificate, files.certificate)
        await asyncio.sleep(1.5)
        assert await served_certificate(url) == before
        assert await status(url, client) == 200
        os.replace(new.key, files.key)
        os.replace(Authority(tmp_path, "next").path, authority.path)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if await served_certificate(url) != before:
                break
        assert await served_certificate(url) != before
        with pytest.raises(aiohttp.ClientError):
            await status(url, client)


def resume(url, context, session=None):
    """The first line of an answer, and a session that the next connection may go on with."""
    host, _, port = url.partition("://")[2].rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as connection,
        context.wrap_socket(connection, session=session) as secured,
    ):
        secured.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        return secured.recv(1000).partition(b"\r\n")[0], secured.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_removed_authority_ends_sessions(tmp_path, authority, version):
    """Nobody gets in by a session that began before."""
    files = tls.self_signed(["localhost"], str(tmp_path))
    files = TlsFiles(
        certificate=files.certificate, key=files.key, client_ca=authority.path, client_required=True
    )
    client = authority.client("ann")
    client.minimum_version = client.maximum_version = version
    async with listening(RegistryConfig(port=0, tls=files, drain_seconds=0), MemoryStore()) as url:
        line, session = await asyncio.to_thread(resume, url, client)
        assert line == b"HTTP/1.1 200 OK"
        os.replace(Authority(tmp_path, "next").path, authority.path)
        await asyncio.sleep(2)
        try:
            line, _ = await asyncio.to_thread(resume, url, client, session)
        except OSError:
            line = b""
        assert line == b""
