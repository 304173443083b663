"""
Bearer tokens of registries: claims, signing and verifying.

Invariants: only ES256 and EdDSA exist here, and the key decides which one is used, so that a token cannot
choose its own algorithm; time is an argument, never read; a token is refused unless every check passes.
Governing sources: RFC 7515, RFC 7519, RFC 8037; distribution's "Token Authentication Implementation".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from oci_image.digest import Digest

from ..errors import MalformedMessage, RegistryError
from .challenges import Scope

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

TOKEN_LIMIT = 64 * 1024
LEEWAY = 60
"""Seconds by which the clocks of issuer and registry may differ."""

_COORDINATE = 32  # bytes of each half of a P-256 signature


class InvalidToken(RegistryError):
    """A token that is malformed, not signed by a known key, expired, or meant for somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says; times are seconds since 1970."""

    issuer: str
    audience: str
    subject: str = ""
    issued_at: int
    expires_at: int
    not_before: int | None = None
    identifier: str = ""
    access: tuple[Scope, ...] = ()
    groups: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The claim set."""
        value: dict[str, Any] = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "exp": self.expires_at,
            "nbf": self.issued_at if self.not_before is None else self.not_before,
            "iat": self.issued_at,
            "access": [
                {"type": scope.type, "name": scope.name, "actions": list(scope.actions)}
                for scope in self.access
            ],
        }
        if self.identifier:
            value["jti"] = self.identifier
        if self.groups:
            value["groups"] = list(self.groups)
        return value


def generate_key() -> PrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def load_key(pem: bytes) -> PrivateKey:
    """
    A private key from its unencrypted PEM form.

    Raises:
        MalformedMessage: it is no key, or not P-256 or Ed25519.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as problem:
        raise MalformedMessage("the token key is not an unencrypted PEM private key") from problem
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise MalformedMessage("the token key must be a P-256 or an Ed25519 key")


def key_pem(key: PrivateKey) -> bytes:
    """The unencrypted PEM form of a private key."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def key_id(key: PublicKey) -> str:
    """A name for the key that depends on nothing but the key."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Digest.of(encoded).hex[:32]


def sign(claims: Claims, key: PrivateKey) -> str:
    """The compact form of a signed token."""
    algorithm = "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "ES256"
    header = {"typ": "JWT", "alg": algorithm, "kid": key_id(key.public_key())}
    signed = f"{_encode(_json(header))}.{_encode(_json(claims.to_json()))}".encode()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(signed)
    else:
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
    return f"{signed.decode()}.{_encode(signature)}"


def verify(token: str, *, keys: Mapping[str, PublicKey], issuer: str, audience: str, now: float) -> Claims:
    """
    The claims of a token that passes every check.

    Raises:
        InvalidToken: malformed, unknown key, wrong signature, issuer or audience, expired, or not yet valid.
    """
    if len(token) > TOKEN_LIMIT:
        raise InvalidToken("the token is too long")
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidToken("the token does not have three parts")
    header = _decode_object(parts[0])
    key = keys.get(str(header.get("kid")))
    if key is None:
        raise InvalidToken("the token is signed by an unknown key")
    expected = "EdDSA" if isinstance(key, ed25519.Ed25519PublicKey) else "ES256"
    if header.get("alg") != expected or "crit" in header:
        raise InvalidToken("the token uses an algorithm that its key does not allow")
    _check_signature(key, f"{parts[0]}.{parts[1]}".encode(), _decode(parts[2]))
    claims = _read_claims(_decode_object(parts[1]), audience)
    if claims.issuer != issuer:
        raise InvalidToken("the token has another issuer")
    if now >= claims.expires_at + LEEWAY:
        raise InvalidToken("the token has expired")
    if claims.not_before is not None and now < claims.not_before - LEEWAY:
        raise InvalidToken("the token is not valid yet")
    return claims


def _check_signature(key: PublicKey, signed: bytes, signature: bytes) -> None:
    if len(signature) != 2 * _COORDINATE:
        raise InvalidToken("the token's signature is wrong")
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            r = int.from_bytes(signature[:_COORDINATE], "big")
            s = int.from_bytes(signature[_COORDINATE:], "big")
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as problem:
        raise InvalidToken("the token's signature is wrong") from problem


def _read_claims(value: dict[str, Any], audience: str) -> Claims:
    stated = value.get("aud")
    audiences = stated if isinstance(stated, list) else [stated]
    if audience not in audiences:
        raise InvalidToken("the token is meant for another service")
    return Claims(
        issuer=str(value.get("iss") or ""),
        audience=audience,
        subject=str(value.get("sub") or ""),
        issued_at=_time(value, "iat") or 0,
        expires_at=_time(value, "exp") or 0,
        not_before=_time(value, "nbf"),
        identifier=str(value.get("jti") or ""),
        access=read_access(value.get("access")),
        groups=read_groups(value.get("groups")),
    )


def _time(value: dict[str, Any], name: str) -> int | None:
    found = value.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e12:
        raise InvalidToken(f"the token's claim {name} is not a time")
    return int(found)


def read_groups(value: object) -> tuple[str, ...]:
    """The groups of a claim; empty for one that is no list."""
    return tuple(row for row in value if isinstance(row, str)) if isinstance(value, list) else ()


def read_access(value: object) -> tuple[Scope, ...]:
    """The scopes of the claim ``access``; rows without the form are skipped."""
    rows = value if isinstance(value, list) else []
    return tuple(
        Scope(
            str(row.get("type") or ""),
            str(row.get("name") or ""),
            tuple(str(action) for action in row["actions"]) if isinstance(row.get("actions"), list) else (),
        )
        for row in rows
        if isinstance(row, dict)
    )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as problem:
        raise InvalidToken("the token is not base64url") from problem


def _decode_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(text))
    except (ValueError, RecursionError) as problem:
        raise InvalidToken("the token is not JSON") from problem
    if not isinstance(value, dict):
        raise InvalidToken("the token's parts are not objects")
    return value
