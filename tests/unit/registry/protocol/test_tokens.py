"""A token is accepted only when every check passes."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from registry.errors import MalformedMessage
from registry.protocol import tokens
from registry.protocol.challenges import repository_scope
from registry.protocol.tokens import LEEWAY, Claims, InvalidToken

KEYS = {"ES256": tokens.generate_key(), "EdDSA": ed25519.Ed25519PrivateKey.generate()}
CLAIMS = Claims(
    issuer="me",
    audience="registry",
    subject="alice",
    issued_at=1000,
    expires_at=1300,
    not_before=1000,
    identifier="1",
    access=(repository_scope("lib/a", "pull", "push"),),
)


def check(token, key, *, now=1100.0, issuer="me", audience="registry"):
    public = key.public_key()
    return tokens.verify(
        token, keys={tokens.key_id(public): public}, issuer=issuer, audience=audience, now=now
    )


def forge(header, claims, signature=b"x" * 64):
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_signed_token_says_what_was_signed(algorithm):
    """The header names the algorithm of the key; the claims come back."""
    token = tokens.sign(CLAIMS, KEYS[algorithm])
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header["alg"] == algorithm
    assert check(token, KEYS[algorithm]) == CLAIMS


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_token_is_refused(algorithm, part):
    """One changed character anywhere makes a token worthless."""
    parts = tokens.sign(CLAIMS, KEYS[algorithm]).split(".")
    parts[part] = parts[part][:10] + ("A" if parts[part][10] != "A" else "B") + parts[part][11:]
    with pytest.raises(InvalidToken):
        check(".".join(parts), KEYS[algorithm])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"now": 1300 + LEEWAY}, "expired"),
        ({"now": 1000 - LEEWAY - 1}, "not valid yet"),
        ({"issuer": "other"}, "issuer"),
        ({"audience": "other"}, "another service"),
    ],
)
def test_claims_are_checked(arguments, reason):
    """Time, issuer and audience must fit."""
    with pytest.raises(InvalidToken, match=reason):
        check(tokens.sign(CLAIMS, KEYS["ES256"]), KEYS["ES256"], **arguments)


def test_clocks_may_differ_a_little():
    """A minute of difference is forgiven on both ends."""
    token = tokens.sign(CLAIMS, KEYS["ES256"])
    assert check(token, KEYS["ES256"], now=1300 + LEEWAY - 1) == CLAIMS
    assert check(token, KEYS["ES256"], now=1000 - LEEWAY) == CLAIMS


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "EdDSA", None, 5])
def test_a_token_cannot_choose_its_algorithm(algorithm):
    """The key decides: algorithm confusion is refused before any signature is looked at."""
    key = KEYS["ES256"]
    token = forge({"alg": algorithm, "kid": tokens.key_id(key.public_key())}, CLAIMS.to_json())
    with pytest.raises(InvalidToken, match="algorithm"):
        check(token, key)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c",
        "....",
        "é.é.é",
        "x" * 100_000,
        forge([], {}),
        forge({"alg": "ES256", "kid": "unknown"}, {}),
        forge({"alg": "ES256", "kid": tokens.key_id(KEYS["ES256"].public_key())}, {}, b"short"),
        forge({"alg": "ES256", "kid": tokens.key_id(KEYS["ES256"].public_key()), "crit": ["x"]}, {}),
        base64.urlsafe_b64encode(b"[" * 40000).decode() + ".a.b",
    ],
    ids=range(11),
)
def test_malformed_tokens_are_refused(token):
    """Whatever a client sends, the answer is InvalidToken."""
    with pytest.raises(InvalidToken):
        check(token, KEYS["ES256"])


@pytest.mark.parametrize(
    "change", [{"exp": "soon"}, {"exp": True}, {"exp": 1e300}, {"nbf": -1}, {"exp": None}]
)
def test_strange_times_are_refused(change, monkeypatch):
    """A time must be a sensible number, and without an expiry a token is expired."""
    monkeypatch.setattr(Claims, "to_json", lambda self, old=Claims.to_json: old(self) | change)
    with pytest.raises(InvalidToken):
        check(tokens.sign(CLAIMS, KEYS["ES256"]), KEYS["ES256"])


def test_several_audiences_are_allowed(monkeypatch):
    """An audience may be a list; strange access rows are dropped."""
    change = {"aud": ["x", "registry"], "access": [5, {"type": "repository", "name": "a", "actions": "pull"}]}
    monkeypatch.setattr(Claims, "to_json", lambda self, old=Claims.to_json: old(self) | change)
    claims = check(tokens.sign(CLAIMS, KEYS["ES256"]), KEYS["ES256"])
    assert claims.access == (repository_scope("a"),)


def test_keys_survive_their_pem_form():
    """A key that was written is read as the same key."""
    for key in KEYS.values():
        read = tokens.load_key(tokens.key_pem(key))
        assert tokens.key_id(read.public_key()) == tokens.key_id(key.public_key())


def test_other_keys_are_refused():
    """RSA, other curves, public keys and noise are no token keys."""
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with pytest.raises(MalformedMessage, match="P-256"):
            tokens.load_key(pem)
    with pytest.raises(MalformedMessage, match="PEM"):
        tokens.load_key(b"noise")
