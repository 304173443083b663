"""
TLS of the server: loading a certificate, loading it again when it changes, and making one for development.

Invariants: TLS 1.2 is the oldest version; a certificate of our own is only ever self-signed and short-lived.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ..errors import InvalidConfiguration
from .config import TlsFiles

_LOG = logging.getLogger(__name__)
_LIFETIME = dt.timedelta(days=365)
_RENEWAL = dt.timedelta(days=7)
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - addresses that no certificate can name


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
    if files.client_ca:
        _ask_for_certificates(context, files)
    return context


def _ask_for_certificates(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_verify_locations(files.client_ca)
    except ssl.SSLError as problem:
        raise InvalidConfiguration(
            f"{files.client_ca} holds no usable certificates", hint="it must be a PEM file of authorities"
        ) from problem
    except OSError as problem:
        raise InvalidConfiguration(f"cannot read {files.client_ca}: {problem.strerror}") from problem
    context.verify_mode = ssl.CERT_REQUIRED if files.client_required else ssl.CERT_OPTIONAL
    # A session that is resumed brings its certificate along, and nobody verifies it again: the clients of an
    # authority that was removed would go on for ever.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET


class ReloadedContext:
    """
    A context whose files are read again when they change; connections that are open keep the old ones.

    Invariant: new files are used together and only when they are usable, so that a connection never meets a
    certificate without its key.

    Raises:
        InvalidConfiguration: the files cannot be used at the start.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._version = self._read_version()
        self._current = self.context = load(files)
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        # Called for every handshake, whether or not the client names a host.
        if self._current is not self.context:
            connection.context = self._current

    def refresh(self) -> None:
        """Look at the files; call it from time to time."""
        version = self._read_version()
        if version == self._version:
            return
        try:
            self._current = load(self._files)
        except InvalidConfiguration as problem:
            _LOG.warning("the new certificate is not used yet: %s", problem.message)
        else:
            _LOG.info("the certificate was read again")
            self._version = version

    def _read_version(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(
            _file_version(path)
            for path in (self._files.certificate, self._files.key, self._files.client_ca)
            if path
        )


def _file_version(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def self_signed(hosts: Sequence[str], directory: str) -> TlsFiles:
    """
    Write a new self-signed certificate for development as ``certificate.pem`` and ``key.pem``.

    The key is readable by its owner only. Clients accept the certificate when they are told to trust it.
    """
    files = TlsFiles(certificate=f"{directory}/certificate.pem", key=f"{directory}/key.pem")
    _make(hosts, files)
    return files


def make_missing(files: TlsFiles, host: str) -> None:
    """
    Make the certificate and the key of a development server that are not there, or whose time ends soon.

    Args:
        files: where they go; nothing happens unless they are to be self-signed.
        host: where the server listens.

    Raises:
        InvalidConfiguration: they cannot be written.
    """
    if not files.self_signed or not _needs_making(files):
        return
    hosts = [host, socket.gethostname(), "localhost", "127.0.0.1", "::1"]
    try:
        for path in (files.certificate, files.key):
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        _make([name for name in dict.fromkeys(hosts) if name not in _ANY], files)
    except OSError as problem:
        raise InvalidConfiguration(f"cannot write {files.certificate}: {problem.strerror}") from problem
    _LOG.info("made the self-signed certificate %s", files.certificate)


def _needs_making(files: TlsFiles) -> bool:
    if not os.path.exists(files.certificate) and not os.path.exists(files.key):
        return True
    try:
        with open(files.certificate, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
    except (OSError, ValueError):
        return False  # not one of ours; whoever loads it says what is wrong
    is_ours = certificate.issuer == certificate.subject
    return is_ours and certificate.not_valid_after_utc < dt.datetime.now(dt.UTC) + _RENEWAL


def _make(hosts: Sequence[str], files: TlsFiles) -> None:
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
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(files.key, encoded, 0o600)
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


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
