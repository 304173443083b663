"""
The parts that several instructions share: flags, commands, paths, names with values.

The methods named as grammar rules turn their part of a parse tree into a value; the others check what an
instruction made of such parts has to have.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

from .arguments import LegacyPair, Words, name_value_pairs
from .errors import SyntaxProblem
from .flags import FLAGS, FlagValues, parse_flags, resolve_quotes
from .forms import read_exec_form
from .grammar import Tree
from .heredocs import Heredoc, read_heredoc_word
from .instructions import CommandLine, Pair
from .lines import LogicalLine
from .spans import Span

Children: TypeAlias = list[Any]


class _Base(TypedDict):
    span: Span
    text: str
    comments: tuple[str, ...]


class _Sources(TypedDict):
    sources: tuple[str, ...]
    dest: str
    heredocs: tuple[Heredoc, ...]


class _Pairs(TypedDict):
    pairs: tuple[Pair, ...]
    legacy: bool


_NOT_IN_TRIGGERS = ("FROM", "MAINTAINER")


class Parts:
    """Reads the grammar rules that instructions are made of, for one logical line."""

    def __init__(self, line: LogicalLine, rule: str, escape: str) -> None:
        self._line = line
        self._keyword = rule.upper()
        self._known_flags = FLAGS.get(rule, {})
        self._escape = escape
        self._base: _Base = {"span": line.span, "text": line.text, "comments": line.comments}

    def read(self, tree: Tree) -> Any:
        """Turn a tree into its value, what is in it first, by the method that is called like its rule."""
        children = [self.read(child) if isinstance(child, Tree) else child for child in tree.children]
        return getattr(self, tree.rule)(children)

    def flags(self, children: Children) -> FlagValues:
        """Resolve and check the flags."""
        return parse_flags(self._known_flags, [resolve_quotes(str(flag), self._escape) for flag in children])

    def exec_form(self, children: Children) -> CommandLine:
        """Read a JSON array."""
        argv = read_exec_form(str(children[0])) or ()
        if any("\0" in word for word in argv):
            raise SyntaxProblem("when using JSON array syntax, strings cannot contain NUL")
        return CommandLine(shell=False, argv=argv)

    def shell_form(self, children: Children) -> CommandLine:
        """Take text for a shell."""
        text = str(children[0])
        read_exec_form(text)  # an array of something other than strings is a mistake, not shell text
        return CommandLine.of_shell(text, self._line.heredocs)

    def words(self, children: Children) -> Words:
        """Take words."""
        return Words(tuple(map(str, children)))

    def legacy_pair(self, children: Children) -> LegacyPair:
        """Take a name and the rest of the line."""
        return LegacyPair(str(children[0]), str(children[1]) if len(children) > 1 else None)

    def _needs(self, given: object, what: str) -> None:
        if not given:
            raise SyntaxProblem(f"{self._keyword} requires {what}")

    def _one_text(self, children: Children) -> str:
        self._needs(children[1:], "exactly one argument")
        return str(children[1])

    def _path_words(self, children: Children) -> tuple[str, ...]:
        """Return the arguments of an instruction that takes paths in either form."""
        if len(children) == 1:
            return ()
        form = children[1]
        if isinstance(form, CommandLine):
            return form.argv
        words: tuple[str, ...] = form.words
        read_exec_form(" ".join(words))  # as in shell_form
        return words

    def _sources(self, children: Children) -> _Sources:
        words = self._path_words(children)
        if len(words) < 2:
            raise SyntaxProblem(
                f"{self._keyword} requires at least two arguments, but only one was provided. "
                "Destination could not be determined"
            )
        *sources, dest = words
        if isinstance(children[1], CommandLine):
            return {"sources": tuple(sources), "dest": dest, "heredocs": ()}
        if read_heredoc_word(dest):
            raise SyntaxProblem(f"{self._keyword} cannot accept a heredoc as a destination")
        contents = {heredoc.name: heredoc for heredoc in self._line.heredocs}
        paths: list[str] = []
        heredocs: list[Heredoc] = []
        for source in sources:
            opened = read_heredoc_word(source)
            if opened and opened.name in contents:
                heredocs.append(contents[opened.name])
            else:
                paths.append(source)
        return {"sources": tuple(paths), "dest": dest, "heredocs": tuple(heredocs)}

    def _pairs(self, children: Children) -> _Pairs:
        self._needs(children[1:], "at least one argument")
        pairs = name_value_pairs(children[1], self._keyword)
        if not all(pair.name for pair in pairs):
            raise SyntaxProblem(f"{self._keyword} names can not be blank")
        return {"pairs": pairs, "legacy": isinstance(children[1], LegacyPair)}


def command_of(children: Children) -> CommandLine:
    """Return the command of an instruction that may go without."""
    command: CommandLine = children[1] if len(children) > 1 else CommandLine.of_shell("")
    return command
