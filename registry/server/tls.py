"""
TLS of the server: loading a certificate, and making one for development.

Invariants: TLS 1.2 is the oldest version; a certificate of our own is only ever self-signed and short-lived.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ..errors import InvalidConfiguration
from .config import TlsFiles

_LIFETIME = dt.timedelta(days=365)


def load(files: TlsFiles) -> ssl.SSLContext:
    """
    The context of a server.

    Raises:
        InvalidConfiguration: the files cannot be read or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
    except ssl.SSLError as problem:
        raise InvalidConfiguration(
            f"{files.certificate} and {files.key} are not a usable certificate and key",
            hint="both must be PEM files and belong together; the key must not be encrypted",
        ) from problem
    except OSError as problem:
        raise InvalidConfiguration(
            f"cannot read {files.certificate} or {files.key}: {problem.strerror}"
        ) from problem
    return context


def self_signed(hosts: Sequence[str], directory: str) -> TlsFiles:
    """
    Write a new self-signed certificate for development as ``certificate.pem`` and ``key.pem``.

    The key is readable by its owner only. Clients accept the certificate when they are told to trust it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = TlsFiles(certificate=f"{directory}/certificate.pem", key=f"{directory}/key.pem")
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(files.key, encoded, 0o600)
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return files


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: str, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
