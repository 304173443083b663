"""
The door to lark: one compiled parser per instruction and escape character, made when first needed.

A parser for all instructions at once would share lexer states between them and accept the words of one in
another, hence one LALR parser per start rule. Trees and tokens stay inside this package.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import lark
from lark.lexer import PatternRE, TerminalDef
from lark.load_grammar import Grammar, load_grammar

from .errors import SyntaxProblem
from .golang import SPACE_CLASS

# Most rules take any text, and what is wrong with it is said where the instruction is built.
_MISFITS = {"from": "FROM requires either one or three arguments"}


def parse_arguments(rule: str, arguments: str, escape: str) -> lark.Tree[lark.Token]:
    """
    Parse what follows the keyword of an instruction.

    Args:
        rule: the keyword in lower case.
        arguments: the rest of the logical line.
        escape: the escape character of the file.

    Raises:
        SyntaxProblem: the arguments do not fit the rule.

    """
    try:
        return _parser(rule, escape).parse(arguments)
    except lark.UnexpectedInput:
        raise SyntaxProblem(_MISFITS.get(rule, f"{rule.upper()} has arguments that cannot be read")) from None


@cache
def _grammar() -> Grammar:
    text = files(__package__).joinpath("dockerfile.lark").read_text(encoding="utf-8")
    # Reading the grammar takes longer than compiling one rule of it, so that is done once.
    loaded: tuple[Grammar, object] = load_grammar(text, "dockerfile.lark", [], False)  # type: ignore[no-untyped-call]
    return loaded[0]


@cache
def _parser(rule: str, escape: str) -> lark.Lark:
    def put_in(terminal: TerminalDef) -> None:
        pattern = terminal.pattern
        regex = pattern.value.replace(r"\\", "`") if escape == "`" else pattern.value
        terminal.pattern = PatternRE(regex.replace(r"\s", SPACE_CLASS), pattern.flags)

    return lark.Lark(_grammar(), parser="lalr", start=rule, edit_terminals=put_in)
