"""
Credentials of registries as Docker keeps them: ``config.json`` and the credential helpers that it names.

Invariants: a secret is never part of a message or of a `repr`; the file is replaced atomically (mode 0600),
and members that we do not know survive. Governing sources: docker CLI, "Credential stores"; the protocol of
docker-credential-helpers (one JSON value on standard input, one on standard output).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oci_image.reference import DEFAULT_REGISTRY

from ..errors import InvalidCredentials
from .credential_programs import run_helper

HUB_KEY = "https://index.docker.io/v1/"
"""The key under which every client keeps the credentials of Docker Hub."""

TOKEN_USER = "<token>"  # noqa: S105 - the marker that helpers use for an identity token
_HUB_HOSTS = frozenset((DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """
    How to authenticate at one registry.

    Attributes:
        username: the user's name; empty together with an identity token.
        password: the password or personal access token.
        identity_token: exchanged for bearer tokens at the token endpoint (OAuth2 refresh token).
        registry_token: a bearer token that is sent as it is.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


CredentialLookup = Callable[[str], Credentials | None]


def no_credentials(_registry: str) -> Credentials | None:
    """The lookup of a client that stays anonymous."""
    return None


class CredentialStore:
    """
    The credentials in one ``config.json`` and behind the helpers that it names.

    The methods may run a helper program and therefore block.

    Args:
        config_path: the file; it need not exist.
        environment: variables for helper programs, found on its ``PATH``; by default those of the process.
    """

    def __init__(self, config_path: str, environment: Mapping[str, str] | None = None) -> None:
        self._path = config_path
        self._environment = environment

    def get(self, registry: str) -> Credentials | None:
        """
        The credentials of a registry (``docker.io``, ``host:port``), or None.

        Raises:
            InvalidCredentials: the file or the answer of a helper is not usable; the message names it.
        """
        config = self._read()
        helper = _helper_of(config, registry)
        if helper:
            return self._get_from_helper(helper, registry)
        auths = _object(config, "auths", self._path)
        for key in _matching(auths, registry):
            found = _decode_entry(auths[key], f"{self._path}: entry {key}")
            if found is not None:
                return found
        return None

    def store(self, registry: str, credentials: Credentials) -> None:
        """
        Keep credentials, replacing older ones, with the registry's helper or else in the file.

        Raises:
            InvalidCredentials: the helper refused, or the file cannot be written.
        """
        config = self._read()
        key = storage_key(registry)
        entry: dict[str, str] = {}
        helper = _helper_of(config, registry)
        if helper:
            request = {
                "ServerURL": key,
                "Username": TOKEN_USER if credentials.identity_token else credentials.username,
                "Secret": credentials.identity_token or credentials.password,
            }
            run_helper(helper, "store", json.dumps(request), self._environment)
        else:
            pair = f"{credentials.username}:{credentials.password}".encode()
            if credentials.username:
                entry["auth"] = base64.b64encode(pair).decode()
            if credentials.identity_token:
                entry["identitytoken"] = credentials.identity_token
        auths = _object(config, "auths", self._path)
        for old in _matching(auths, registry):
            del auths[old]
        auths[key] = entry
        config["auths"] = auths
        self._write(config)

    def erase(self, registry: str) -> bool:
        """
        Forget the credentials of a registry; False when there were none.

        Raises:
            InvalidCredentials: the helper failed, or the file cannot be written.
        """
        config = self._read()
        helper = _helper_of(config, registry)
        erased = False
        if helper and self._get_from_helper(helper, registry) is not None:
            run_helper(helper, "erase", storage_key(registry), self._environment)
            erased = True
        auths = _object(config, "auths", self._path)
        keys = _matching(auths, registry)
        for key in keys:
            del auths[key]
        if keys:
            config["auths"] = auths
            self._write(config)
        return erased or bool(keys)

    def _get_from_helper(self, helper: str, registry: str) -> Credentials | None:
        answer = run_helper(helper, "get", storage_key(registry), self._environment)
        if answer is None:
            return None
        username, secret = str(answer.get("Username") or ""), str(answer.get("Secret") or "")
        if username == TOKEN_USER:
            return Credentials(identity_token=secret)
        return Credentials(username=username, password=secret) if username else None

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._path, "rb") as file:
                value = json.loads(file.read() or b"{}")
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise InvalidCredentials(f"cannot read {self._path}: {problem.strerror}") from problem
        except (ValueError, RecursionError):
            # The decoder's message quotes the text around the fault, which may be a secret.
            raise InvalidCredentials(f"{self._path} is not valid JSON") from None
        if not isinstance(value, dict):
            raise InvalidCredentials(f"{self._path} is not a JSON object")
        return value

    def _write(self, config: Mapping[str, Any]) -> None:
        # A link stays a link: people keep this file in a folder of dot files.
        path = os.path.realpath(self._path)
        temporary = f"{path}.{os.getpid()}.tmp"
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(config, file, indent="\t", ensure_ascii=False)
                    file.flush()
                    os.fchmod(file.fileno(), 0o600)
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as problem:
            raise InvalidCredentials(f"cannot write {path}: {problem.strerror}") from problem


def storage_key(registry: str) -> str:
    """The key under which credentials of a registry are kept."""
    return HUB_KEY if registry in _HUB_HOSTS else registry


def _hostname(key: str) -> str:
    """The host of a key: older clients wrote URLs with scheme and path."""
    host = key.partition("://")[2] if "://" in key else key
    return host.partition("/")[0]


def _matching(entries: Mapping[str, Any], registry: str) -> list[str]:
    """The keys that mean this registry, the exact one first."""
    hosts = _HUB_HOSTS if registry in _HUB_HOSTS else frozenset((registry,))
    exact = storage_key(registry)
    return sorted((key for key in entries if _hostname(key) in hosts), key=lambda key: (key != exact, key))


def _helper_of(config: Mapping[str, Any], registry: str) -> str:
    helpers = config.get("credHelpers")
    if isinstance(helpers, dict):
        for key in _matching(helpers, registry):
            return str(helpers[key])
    return str(config.get("credsStore") or "")


def _object(config: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    value = config.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidCredentials(f"{path}: member {name} is not an object")
    return value


def _decode_entry(entry: object, where: str) -> Credentials | None:
    if not isinstance(entry, dict):
        raise InvalidCredentials(f"{where} is not an object")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidCredentials(f"{where} has no valid member auth") from None
        username, colon, password = pair.partition(":")
        if not colon:
            raise InvalidCredentials(f"{where} has no valid member auth")
        # Some clients padded the password with NUL bytes.
        password = password.rstrip("\0")
    found = Credentials(
        username=username,
        password=password,
        identity_token=str(entry.get("identitytoken") or ""),
        registry_token=str(entry.get("registrytoken") or ""),
    )
    return None if found == Credentials() else found
