"""
Which actions a caller may perform on which repositories.

Invariants: the most specific pattern that matches a repository decides alone, so a narrow rule can take
rights away as well as give them; rules with equally specific patterns add up; without a matching rule nothing
is allowed; the answer never depends on whether the repository exists.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import InvalidConfiguration
from ..protocol.challenges import Scope

ACTIONS = ("pull", "push", "delete", "catalog", "admin")
_INCLUDED = {"push": ("push", "pull"), "admin": (*ACTIONS, "*")}
_OF_TOKENS = ("pull", "push", "delete")
_PATTERN = re.compile(r"[a-z0-9._*-]+(/[a-z0-9._*-]+)*")
_REMEMBERED = 65536


@dataclass(frozen=True, slots=True)
class Principal:
    """Who somebody is: a user with groups; an anonymous caller has no name."""

    name: str = ""
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    What some callers may do with the repositories of a pattern.

    Attributes:
        repositories: the pattern: ``*`` is any part of one segment, ``**`` any number of segments.
        allow: actions; ``push`` includes ``pull``, and ``admin`` everything.
        users: names of users; ``*`` for everybody who said who they are.
        groups: names of groups.
        anonymous: whether callers without credentials are meant as well.
    """

    repositories: str
    allow: tuple[str, ...]
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    anonymous: bool = False

    def __post_init__(self) -> None:
        check_pattern(self.repositories)
        for action in self.allow:
            if action not in ACTIONS:
                raise InvalidConfiguration(
                    f"{action!r} is not an action", hint=f"the actions are {', '.join(ACTIONS)}"
                )

    def concerns(self, who: Principal, groups: frozenset[str]) -> bool:
        """Whether the rule is about this caller, who is in these groups."""
        if not who.name:
            return self.anonymous
        return "*" in self.users or who.name in self.users or not groups.isdisjoint(self.groups)


def check_pattern(pattern: str) -> None:
    """
    Accept a pattern of repositories.

    Raises:
        InvalidConfiguration: it has another form.
    """
    doubled = [segment for segment in pattern.split("/") if "**" in segment and segment != "**"]
    if not _PATTERN.fullmatch(pattern) or doubled:
        raise InvalidConfiguration(
            f"{pattern!r} is not a pattern of repositories",
            hint="write lower-case names; * stands for a part of one segment, ** for whole segments",
        )


class Rights:
    """
    The rules of a registry.

    Args:
        rules: in any order.
        groups: members of groups by name, besides those that credentials name.
    """

    def __init__(self, rules: Iterable[Rule], groups: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._groups = dict(groups or {})
        ranked: dict[tuple[int, int, int], list[tuple[re.Pattern[str], Rule]]] = {}
        for rule in rules:
            pattern = _compile(rule.repositories)
            ranked.setdefault(_specificity(rule.repositories), []).append((pattern, rule))
        self._ranked = [ranked[rank] for rank in sorted(ranked, reverse=True)]
        self._known: dict[tuple[Principal, str], frozenset[str]] = {}

    def actions(self, who: Principal, repository: str) -> frozenset[str]:
        """Everything that the caller may do with the repository."""
        known = self._known.get((who, repository))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[who, repository] = self._decide(who, repository)
        return known

    def may(self, who: Principal, repository: str, action: str) -> bool:
        """Whether the caller may perform the action on the repository."""
        return action in self.actions(who, repository)

    def may_list(self, who: Principal) -> bool:
        """Whether some repositories may be shown to the caller in lists."""
        groups = self._groups_of(who)
        return any(
            "catalog" in _expand(rule.allow) and rule.concerns(who, groups)
            for rank in self._ranked
            for _, rule in rank
        )

    def is_administrator(self, who: Principal) -> bool:
        """Whether the caller administers every repository, and so the registry."""
        groups = self._groups_of(who)
        return any(
            rule.repositories == "**" and "admin" in rule.allow and rule.concerns(who, groups)
            for rank in self._ranked
            for _, rule in rank
        )

    def covers(self, who: Principal, scope: Scope) -> bool:
        """Whether the caller may have every action of the scope."""
        return self.reduce(who, scope) == scope

    def reduce(self, who: Principal, scope: Scope) -> Scope:
        """The part of a scope that the caller may have, perhaps without any action."""
        if scope.type == "repository":
            allowed = self.actions(who, scope.name)
            wanted = scope.actions
            if "*" in wanted and "*" not in allowed:  # skopeo asks for everything before it deletes
                wanted = _OF_TOKENS
            return Scope(scope.type, scope.name, tuple(word for word in wanted if word in allowed))
        listed = (scope.type, scope.name) == ("registry", "catalog") and self.may_list(who)
        return scope if listed else Scope(scope.type, scope.name, ())

    def _groups_of(self, who: Principal) -> frozenset[str]:
        return who.groups | {name for name, members in self._groups.items() if who.name in members}

    def _decide(self, who: Principal, repository: str) -> frozenset[str]:
        groups = self._groups_of(who)
        for rank in self._ranked:
            matching = [rule for pattern, rule in rank if pattern.fullmatch(repository)]
            if matching:
                return _expand(word for rule in matching if rule.concerns(who, groups) for word in rule.allow)
        return frozenset()


def matches(pattern: str, repository: str) -> bool:
    """Whether a repository is one of a pattern's."""
    return _compile(pattern).fullmatch(repository) is not None


def _expand(actions: Iterable[str]) -> frozenset[str]:
    return frozenset(included for action in actions for included in _INCLUDED.get(action, (action,)))


def _specificity(pattern: str) -> tuple[int, int, int]:
    """More literal characters first, then fewer ``**``, then fewer ``*``."""
    deep = pattern.count("**")
    return len(pattern.replace("*", "")), -deep, deep * 2 - pattern.count("*")


@functools.lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    for segment in pattern.split("/"):
        if segment == "**":
            parts.append("[^/]+(?:/[^/]+)*")
        else:
            parts.append("[^/]*".join(re.escape(piece) for piece in segment.split("*")))
    return re.compile("/".join(parts))
