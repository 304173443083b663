"""
The scanner behind `words`: one pass over a text that replaces, unquotes and splits at the same time.

Splitting has to happen during the pass, because afterwards nobody can tell a quoted blank from another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .errors import ExpansionError
from .golang import SPACES, quote
from .shellpatterns import replace_matches, trim_prefix, trim_suffix

Lookup: TypeAlias = Callable[[str], str | None]
"""Maps a variable name to its value, or to None when it is not set."""

_SPECIAL_PARAMETERS = "@*#?-$!0"
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Piece:
    """A text after replacement, whole and split into words."""

    text: str
    words: list[str]


class _Words:
    """Collects words; only characters added by `add` can end one."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.current = ""

    def add(self, text: str) -> None:
        for char in text:
            if char not in SPACES:
                self.current += char
            elif self.current:
                self.done.append(self.current)
                self.current = ""

    def add_raw(self, text: str) -> None:
        self.current += text

    def finish(self) -> list[str]:
        return [*self.done, self.current] if self.current else self.done


class Scanner:
    """
    One pass over one text.

    Args:
        text: what to read.
        lookup: the variables.
        escape: the escape character.
        quotes: whether quotes mean anything.
        raw_quotes: keep the quotes in the result.
        raw_escapes: keep the escape characters in the result.
        keep_unset: leave variables that are not set as they are written.

    """

    def __init__(
        self,
        text: str,
        lookup: Lookup,
        escape: str,
        *,
        quotes: bool = True,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self.text = text
        self.position = 0
        self.depth = 0
        self.lookup = lookup
        self.escape = escape
        self.quotes = quotes
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.keep_unset = keep_unset

    def run(self) -> Piece:
        """
        Read the text; a scanner runs once.

        Raises:
            ExpansionError: a quote or a substitution is malformed.

        """
        return self._until("", raw_escapes=self.raw_escapes)

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _next(self) -> str:
        char = self._peek()
        self.position += 1
        return char

    def _error(self, message: str) -> ExpansionError:
        return ExpansionError(f"failed to process {quote(self.text)}: {message}")

    def _until(self, stop: str, *, raw_escapes: bool) -> Piece:
        """Expand up to the character `stop` and step over it; "" stands for the end of the text."""
        if self.depth > _DEEPEST:
            raise self._error("substitutions are nested too deeply")
        self.depth += 1
        outer, self.raw_escapes = self.raw_escapes, raw_escapes
        result: list[str] = []
        words = _Words()
        while (char := self._peek()) != stop:
            if not char:
                raise self._error(f"unexpected end of statement while looking for matching {stop}")
            text, splits = self._item(char)
            result.append(text)
            (words.add if splits else words.add_raw)(text)
        self._next()
        self.raw_escapes = outer
        self.depth -= 1
        return Piece("".join(result), words.finish())

    def _item(self, char: str) -> tuple[str, bool]:
        """Expand what starts with `char`; the second value tells whether blanks in the result split words."""
        if char == "$":
            return self._dollar(), True
        if self.quotes and char == "'":
            return self._single_quoted(), False
        if self.quotes and char == '"':
            return self._double_quoted(), False
        self._next()
        if char == "<":
            return self._heredoc_marker(), False
        if char == self.escape:
            # At the end of the text the escape character disappears.
            return (char if self.raw_escapes else "") + self._next(), False
        return char, True

    def _heredoc_marker(self) -> str:
        """Read the rest of ``<<``, with the blanks that may stand before the name of a heredoc."""
        if self._peek() != "<":
            return "<"
        start = self.position
        self._next()
        while self._peek() in ("\t", "\r", " "):
            self._next()
        return "<" + self.text[start : self.position]

    def _single_quoted(self) -> str:
        start = self.position
        end = self.text.find("'", start + 1)
        if end < 0:
            self.position = len(self.text)
            raise self._error("unexpected end of statement while looking for matching single-quote")
        self.position = end + 1
        return self.text[start : end + 1] if self.raw_quotes else self.text[start + 1 : end]

    def _double_quoted(self) -> str:
        self._next()
        quotation = '"' if self.raw_quotes else ""
        result = [quotation]
        while (char := self._peek()) != '"':
            if not char:
                raise self._error("unexpected end of statement while looking for matching double-quote")
            if char == "$":
                result.append(self._dollar())
                continue
            self._next()
            if char == self.escape and self._peek() in ('"', "$", self.escape, ""):
                char = (char if self.raw_escapes else "") + self._next()
            result.append(char)
        self._next()
        return "".join([*result, quotation])

    def _dollar(self) -> str:
        self._next()
        if self._peek() == "{":
            self._next()
            return self._braces()
        name = self._name()
        if not name:
            return "$"
        value = self.lookup(name)
        if value is None:
            return f"${name}" if self.keep_unset else ""
        return value

    def _name(self) -> str:
        """Read a variable name, a positional parameter or a special parameter; "" when there is none."""
        start = self.position
        char = self._peek()
        if char.isdecimal():
            while self._peek().isdecimal():
                self._next()
        elif char and char in _SPECIAL_PARAMETERS:
            self._next()
        else:
            while (char := self._peek()).isalpha() or char.isdecimal() or char == "_":
                self._next()
        return self.text[start : self.position]

    def _braces(self) -> str:
        if not self._peek():
            raise self._error("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise self._error("syntax error: bad substitution")
        name = self._name()
        modifier = self._next()
        if modifier == "}":
            value = self.lookup(name)
            if value is None:
                return f"${{{name}}}" if self.keep_unset else ""
            return value
        if modifier == "/":
            return self._replacement(name)
        null_is_unset = modifier == ":"
        if null_is_unset:
            modifier = self._next()
        sign = ":" * null_is_unset + modifier
        if not modifier:
            raise self._error("syntax error: missing '}'")
        if modifier not in ("+-?" if null_is_unset else "+-?#%"):
            raise self._error(f"unsupported modifier ({sign}) in substitution")
        word = self._operand("}", raw_escapes=modifier in "#%")
        value = self.lookup(name)
        if value is None and self.keep_unset:
            return f"${{{name}{sign}{word}}}"
        if modifier in "#%":
            return self._trimmed(modifier, word, value or "")
        return self._conditional(name, modifier, word, value, null_is_unset=null_is_unset)

    def _operand(self, stop: str, *, raw_escapes: bool) -> str:
        try:
            return self._until(stop, raw_escapes=raw_escapes).text
        except ExpansionError:
            if not self._peek():
                where = " in ${}" if stop == "/" else ""
                raise self._error(f"syntax error: missing '{stop}'{where}") from None
            raise

    def _conditional(
        self, name: str, modifier: str, word: str, value: str | None, *, null_is_unset: bool
    ) -> str:
        absent = value is None or (null_is_unset and not value)
        if modifier == "-":
            return word if absent else value or ""
        if modifier == "+":
            return "" if absent else word
        if value is None:
            raise self._error(f"{name}: {word or 'is not allowed to be unset'}")
        if absent:
            raise self._error(f"{name}: {word or 'is not allowed to be empty'}")
        return value

    def _trimmed(self, modifier: str, word: str, value: str) -> str:
        greedy = word.startswith(modifier)
        pattern = word[1:] if greedy else word
        trim = trim_prefix if modifier == "#" else trim_suffix
        try:
            return trim(pattern, value, greedy=greedy)
        except ValueError as error:
            raise self._error(f"invalid pattern ({pattern}) in substitution: {error}") from None

    def _replacement(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._next()
        pattern = self._operand("/", raw_escapes=True)
        replacement = self._operand("}", raw_escapes=True)
        value = self.lookup(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{'/' * every}{pattern}/{replacement}}}"
        try:
            return replace_matches(pattern, replacement, value or "", every=every)
        except ValueError as error:
            raise self._error(f"invalid pattern ({pattern}) in substitution: {error}") from None
