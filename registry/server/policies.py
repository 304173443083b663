"""
What holds for some repositories: tags that never change, tags that go by themselves, and how much fits.

Invariants: the first policy whose pattern matches a repository decides alone; patterns of repositories are
those of rights, patterns of tags those of a shell.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidConfiguration
from .rights import check_pattern, matches

_SENTENCE = re.compile(r"[ !#-\[\]-~]{0,1000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """
    Which tags of a repository stay: those that meet one of the conditions, and all where there is none.

    Attributes:
        tags: patterns of the tags that the rule is about; without any, all tags are meant.
        pushed_last: how many of them stay because they were pushed last.
        pulled_last: how many of them stay because they were pulled last.
        pushed_within: seconds for which one of them stays after its push.
        pulled_within: seconds for which one of them stays after its last pull.
    """

    tags: tuple[str, ...] = ()
    pushed_last: int = 0
    pulled_last: int = 0
    pushed_within: float = 0.0
    pulled_within: float = 0.0

    def __post_init__(self) -> None:
        if min(self.pushed_last, self.pulled_last, self.pushed_within, self.pulled_within) < 0:
            raise InvalidConfiguration("a condition of a rule that keeps tags is negative")

    @property
    def has_conditions(self) -> bool:
        """Whether a tag that the rule is about has to meet something."""
        return bool(self.pushed_last or self.pulled_last or self.pushed_within or self.pulled_within)

    def concerns(self, tag: str) -> bool:
        """Whether the rule is about the tag."""
        return not self.tags or _is_one_of(tag, self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    What holds for the repositories of a pattern; zero is no limit.

    Attributes:
        repositories: the pattern.
        immutable_tags: patterns of tags that, once pushed, stand for one manifest for ever.
        keep_tags: patterns of tags that no limit below removes.
        only_tags: patterns of the tags that limits and rules are about; without any, all tags are meant.
        max_tags: how many tags a repository keeps; those that were pushed last stay.
        max_age: seconds after its push at which a tag goes.
        max_idle: seconds after its last pull, or else its push, at which a tag goes.
        keep: rules that keep tags from these limits; without limits, what no rule keeps goes.
        ttl: seconds after which everything goes, whatever it is called; for throw-away repositories.
        quota: bytes of all repositories of the pattern together; what several of them have counts once.
        sparse: whether manifests may refer to what is not here.
        warning: a sentence that clients show to their users.
    """

    repositories: str
    immutable_tags: tuple[str, ...] = ()
    keep_tags: tuple[str, ...] = ()
    only_tags: tuple[str, ...] = ()
    max_tags: int = 0
    max_age: float = 0.0
    max_idle: float = 0.0
    keep: tuple[KeepRule, ...] = ()
    ttl: float = 0.0
    quota: int = 0
    sparse: bool = False
    warning: str = ""

    def __post_init__(self) -> None:
        check_pattern(self.repositories)
        if min(self.max_tags, self.max_age, self.max_idle, self.ttl, self.quota) < 0:
            raise InvalidConfiguration(f"a limit of the policy for {self.repositories} is negative")
        if not _SENTENCE.fullmatch(self.warning):
            raise InvalidConfiguration(
                f"the warning of the policy for {self.repositories} does not fit a header",
                hint="use at most 1000 printable ASCII characters without quotation marks and backslashes",
            )
        if self.ttl and (self.immutable_tags or self.keep_tags or self.only_tags or self.keep):
            raise InvalidConfiguration(
                f"the policy for {self.repositories} keeps tags that its ttl removes",
                hint="use max_age in place of ttl",
            )

    @property
    def has_limits(self) -> bool:
        """Whether a number of tags or a time ends the life of tags."""
        return bool(self.max_tags or self.max_age or self.max_idle or self.ttl)

    @property
    def has_retention(self) -> bool:
        """Whether tags go by themselves."""
        return self.has_limits or bool(self.keep)

    def is_immutable(self, tag: str) -> bool:
        """Whether the tag may not be moved or removed."""
        return _is_one_of(tag, self.immutable_tags)

    def is_kept(self, tag: str) -> bool:
        """Whether the tag stays whatever limits and rules say."""
        is_other = bool(self.only_tags) and not _is_one_of(tag, self.only_tags)
        return is_other or self.is_immutable(tag) or _is_one_of(tag, self.keep_tags)


def _is_one_of(tag: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(tag, pattern) for pattern in patterns)


def policy_of(policies: Sequence[Policy], repository: str) -> Policy | None:
    """The policy that holds for the repository."""
    return next((policy for policy in policies if matches(policy.repositories, repository)), None)
