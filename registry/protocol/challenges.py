"""
The ``WWW-Authenticate`` challenge and the scopes that bearer tokens are asked for.

Invariants: scheme and parameter names are compared without case; a resource name may contain ``:``; unknown
parameters are kept. Governing sources: RFC 9110 section 11.6.1; distribution's token authentication
specification (docker.com "Token scope documentation").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a grammar rule, not a password
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?=\s|,|$)(?!\s*=)")
_PARAMETER = re.compile(rf"\s*,?\s*({_TOKEN})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|({_TOKEN}))")
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a registry offers; the scheme and the names are lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        quoted = [f'{name}="{_quote(value)}"' for name, value in self.parameters.items()]
        return " ".join([self.scheme.capitalize(), ",".join(quoted)]).rstrip()


def bearer(realm: str, service: str, scopes: Iterable[Scope] = (), error: str = "") -> Challenge:
    """The challenge that sends a client to the token endpoint `realm`."""
    parameters = {"realm": realm, "service": service}
    text = " ".join(str(scope) for scope in scopes)
    if text:
        parameters["scope"] = text
    if error:
        parameters["error"] = error
    return Challenge("bearer", parameters)


def basic(realm: str) -> Challenge:
    """The challenge for a user name and a password."""
    return Challenge("basic", {"realm": realm})


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Every challenge of a header, in order; parsing stops silently where the grammar ends."""
    found: list[Challenge] = []
    position = 0
    while matched := _SCHEME.match(header, position):
        position = matched.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            position = parameter.end()
        if not parameters and (token68 := _TOKEN68.match(header, position)):
            position = token68.end()
        found.append(Challenge(matched.group(1).lower(), parameters))
    return tuple(found)


def _quote(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is asked for, or grants: ``repository:library/app:pull,push``."""

    type: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(self.actions)}"


def repository_scope(name: str, *actions: str) -> Scope:
    """The scope of a repository."""
    return Scope("repository", name, actions)


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """The scopes of a blank-separated list; parts that are no scopes are skipped."""
    found: list[Scope] = []
    for part in text.split():
        kind, colon, rest = part.partition(":")
        name, last_colon, actions = rest.rpartition(":")
        if kind and colon and last_colon and name:
            found.append(Scope(kind, name, tuple(action for action in actions.split(",") if action)))
    return tuple(found)
