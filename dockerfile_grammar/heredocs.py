r"""
Heredocs: ``<<NAME`` words of RUN, COPY and ADD, whose content is on the lines that follow.

A word opens a heredoc when it is not quoted as a whole: ``<<EOF``, ``<<-EOF`` (leading tabs are dropped),
``<<"EOF"`` (nothing is expanded), ``3<<EOF``. The escape character is the backslash here whatever the
``escape`` directive says. Governing text: "Here-documents" in the Dockerfile reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import ExpansionError
from .words import split_raw_words, unquote

_OPENING = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """One heredoc: its name, and the lines up to its terminator exactly as written."""

    name: str
    content: str
    expand: bool = True
    """Whether variables in the content are replaced (no part of the name was quoted)."""
    chomp: bool = False
    """Whether it was opened with ``<<-``."""
    fd: int = 0

    @property
    def body(self) -> str:
        """The content without leading tabs where ``<<-`` asks for that."""
        return strip_leading_tabs(self.content) if self.chomp else self.content


def strip_leading_tabs(content: str) -> str:
    """Remove the tabs at the start of every line."""
    return _LEADING_TABS.sub("", content)


def read_heredoc_word(word: str) -> Heredoc | None:
    """
    Return the empty heredoc that `word` opens, or None.

    Raises:
        ExpansionError: the name has a quote that does not end.

    """
    match = _OPENING.fullmatch(word)
    if match is None or not match.group(3):
        return None
    names = unquote(match.group(3))
    if len(names) != 1:
        return None
    raw_name = "".join(unquote(match.group(3), keep_quotes=True))
    return Heredoc(
        name=names[0],
        content="",
        expand=_count_quotes(names[0]) == _count_quotes(raw_name),
        chomp=match.group(2) == "-",
        fd=int(match.group(1)[-9:] or "0"),
    )


def heredocs_opened(line: str) -> list[Heredoc]:
    """Return the heredocs that an instruction opens, in order; a line that has no words opens none."""
    if "<<" not in line:
        return []
    try:
        return [heredoc for word in split_raw_words(line) if (heredoc := read_heredoc_word(word))]
    except ExpansionError:
        # Text for a shell may be malformed as a word of ours; the shell gets it as it is.
        return []


def _count_quotes(text: str) -> int:
    return text.count("'") + text.count('"')
