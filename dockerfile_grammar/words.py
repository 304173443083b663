r"""
Word expansion: quotes, escapes and ``$VARIABLE`` expressions, as a function of a word and a lookup.

The language is a part of the shell's: ``$v ${v} ${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?w} ${v?w} ${v#p} ${v##p}
${v%p} ${v%%p} ${v/p/r} ${v//p/r}``; words nest. Single quotes keep everything; in double quotes the escape
character acts only before ``"``, ``$`` and itself; elsewhere it takes the next character literally. A
variable that is not set is empty. Nothing here knows which instruction the word belongs to.

Governing text: "Environment replacement" in the Dockerfile reference, and POSIX.1-2017 2.6.2 for the forms.
"""

from __future__ import annotations

from dataclasses import dataclass

from .wordscanner import Lookup, Scanner


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpansionResult:
    """An expanded word and the names it asked for, in order of their first use."""

    text: str
    used: tuple[str, ...]
    """Names that had a value."""
    unset: tuple[str, ...]
    """Names that had none."""


def expand(word: str, lookup: Lookup, *, escape: str = "\\") -> str:
    """
    Return `word` with its variables replaced and its quotes and escapes removed.

    Raises:
        ExpansionError: a quote or a substitution does not end, or ``${name:?}`` found no value.

    """
    return Scanner(word, lookup, escape).run().text


def expand_with_names(word: str, lookup: Lookup, *, escape: str = "\\") -> ExpansionResult:
    """Do the same as `expand` and also tell which variables were asked for."""
    used: dict[str, None] = {}
    unset: dict[str, None] = {}

    def remember(name: str) -> str | None:
        value = lookup(name)
        (unset if value is None else used)[name] = None
        return value

    text = expand(word, remember, escape=escape)
    return ExpansionResult(text=text, used=tuple(used), unset=tuple(unset))


def expand_heredoc(content: str, lookup: Lookup, *, escape: str = "\\") -> str:
    """Expand the variables in the content of a heredoc; quotes are ordinary characters there."""
    return Scanner(content, lookup, escape, quotes=False).run().text


def split_words(text: str, lookup: Lookup, *, escape: str = "\\") -> list[str]:
    """
    Expand `text` and split it at blanks that are neither quoted nor escaped.

    Splitting comes after replacement, so a variable may hold several words.
    """
    return Scanner(text, lookup, escape).run().words


def split_raw_words(text: str) -> list[str]:
    """Split `text` at unquoted blanks, keeping quotes, escapes and variables as they are written."""
    return Scanner(text, _nothing_set, "\\", raw_quotes=True, raw_escapes=True, keep_unset=True).run().words


def unquote(text: str, *, keep_quotes: bool = False) -> list[str]:
    """Split `text` into words without touching variables; `keep_quotes` keeps the quotes."""
    return Scanner(text, _nothing_set, "\\", raw_quotes=keep_quotes, keep_unset=True).run().words


def _nothing_set(_name: str) -> str | None:
    return None
