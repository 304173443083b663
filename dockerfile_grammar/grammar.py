"""
The grammar of instructions at work: a parser for each of them, driven by tables that lark made.

A parser for all instructions at once would share lexer states between them and accept the words of one in
another, hence one LALR(1) table per start rule. The tables lie beside the grammar, since loading lark and
compiling takes longer than most of what a build does before its first step; when they are not those of the
grammar that is here, they are made again. `compiler` makes them, this module only follows them.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from .errors import SyntaxProblem
from .grammarfiles import GRAMMAR, TABLES, with_escape

# Most rules take any text, and what is wrong with it is said where the instruction is built.
_MISFITS = {"from": "FROM requires either one or three arguments"}
_END = "$END"


class Tree(NamedTuple):
    """What a rule of the grammar found: words of the text, and trees of the rules in it."""

    rule: str
    children: tuple[Tree | str, ...]


_Scanner: TypeAlias = "re.Pattern[str]"


def parse_arguments(rule: str, arguments: str, escape: str) -> Tree:
    """
    Parse what follows the keyword of an instruction.

    Args:
        rule: the keyword in lower case.
        arguments: the rest of the logical line.
        escape: the escape character of the file.

    Raises:
        SyntaxProblem: the arguments do not fit the rule.

    """
    tree = _parser(rule, escape).parse(arguments)
    if tree is None:
        raise SyntaxProblem(_MISFITS.get(rule, f"{rule.upper()} has arguments that cannot be read"))
    return tree


class _Parser:
    """
    An LALR(1) parser whose lexer looks only for what its state can take.

    Args:
        table: one rule of the tables: `states` map symbols to actions, of which a number shifts to that state
            and one below zero reduces by the production with the inverted number; `productions` are names of
            trees ("" for what becomes part of the tree around it), symbols and lengths.
        terminals: name, regular expression and flags of each, in the order in which they are tried.
        ignored: names of those that are passed over.

    """

    def __init__(self, table: dict[str, Any], terminals: list[list[str]], ignored: frozenset[str]) -> None:
        self._states: list[dict[str, int]] = table["states"]
        self._productions: list[tuple[str, str, int]] = table["productions"]
        self._start: int = table["start"]
        self._end: int = table["end"]
        self._terminals = terminals
        self._ignored = ignored
        self._scanners: dict[int, _Scanner] = {}

    def parse(self, text: str) -> Tree | None:
        """The tree of a text; None when it does not fit."""
        stack = [self._start]
        values: list[list[Tree | str]] = []
        position = 0
        while True:
            found = self._next(text, position, stack[-1])
            if found is None:
                return None
            name, word, position = found
            while (action := self._states[stack[-1]].get(name)) is not None and action < 0:
                self._reduce(~action, stack, values)
                if name == _END and stack[-1] == self._end:
                    tree = values[-1][0]
                    return tree if isinstance(tree, Tree) else None
            if action is None:
                return None
            stack.append(action)
            values.append([word])

    def _next(self, text: str, position: int, state: int) -> tuple[str, str, int] | None:
        """The next word from a position on: its terminal, itself and where it ends."""
        while position < len(text):
            match = self._scanner(state).match(text, position)
            if match is None:
                return None
            position = match.end()
            if match.lastgroup is not None and match.lastgroup not in self._ignored:
                return match.lastgroup, match.group(), position
        return _END, "", position

    def _reduce(self, number: int, stack: list[int], values: list[list[Tree | str]]) -> None:
        tree, symbol, length = self._productions[number]
        children = [child for part in values[len(values) - length :] for child in part]
        del stack[len(stack) - length :], values[len(values) - length :]
        stack.append(self._states[stack[-1]][symbol])
        values.append([Tree(tree, tuple(children))] if tree else children)

    def _scanner(self, state: int) -> _Scanner:
        scanner = self._scanners.get(state)
        if scanner is None:
            taken = self._states[state].keys() | self._ignored
            parts = (f"(?P<{name}>{regex})" for name, regex in self._terminals if name in taken)
            scanner = self._scanners[state] = re.compile("|".join(parts))
        return scanner


@cache
def tables() -> dict[str, Any]:
    """The tables of the grammar, those beside it if they were made of it."""
    with open(GRAMMAR, "rb") as file:
        grammar = file.read()
    try:
        with open(TABLES, "rb") as file:
            made: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        made = {}
    if made.get("grammar") != hashlib.sha256(grammar).hexdigest():
        from .compiler import compile_grammar

        made = compile_grammar(grammar)
    return made


@cache
def _parser(rule: str, escape: str) -> _Parser:
    made = tables()

    terminals = [
        [name, f"(?{flags}:{with_escape(regex, escape)})" if flags else with_escape(regex, escape)]
        for name, regex, flags in made["rules"][rule]["terminals"]
    ]
    return _Parser(made["rules"][rule], terminals, frozenset(made["ignored"]))
