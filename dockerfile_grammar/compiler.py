"""
Makes the tables that `grammar` follows out of ``dockerfile.lark``: ``python -m dockerfile_grammar.compiler``.

The door to lark: nothing of it leaves this module. The tables of one grammar are the same bytes every time:
states are numbered as they are met from the start, by the names of symbols.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import lark
from lark.load_grammar import Grammar, load_grammar
from lark.parsers.lalr_analysis import Shift

from .grammarfiles import GRAMMAR, TABLES, with_escape

_IGNORED = ("BLANKS", "DANGLING_ESCAPE")


def compile_grammar(text: bytes) -> dict[str, Any]:
    """Compile every rule that is an instruction; see `grammar` for what the tables hold."""
    grammar = load(text)
    return {
        "grammar": hashlib.sha256(text).hexdigest(),
        "ignored": list(_IGNORED),
        "rules": {rule: _compiled(grammar, rule) for rule in _rules()},
    }


def _rules() -> list[str]:
    from .instructions import INSTRUCTIONS

    return sorted(INSTRUCTIONS)


def load(text: bytes) -> Grammar:
    """Read a grammar."""
    loaded: tuple[Grammar, object] = load_grammar(text.decode(), "dockerfile.lark", [], False)  # type: ignore[no-untyped-call]
    return loaded[0]


def lark_parser(grammar: Grammar, rule: str, escape: str) -> Any:
    """Make lark's own parser of a rule, whose trees tests compare with ours."""

    def put_in(terminal: lark.lexer.TerminalDef) -> None:
        # The order in which terminals are tried hangs on their length, so lark has to see what will be used.
        pattern = terminal.pattern
        terminal.pattern = lark.lexer.PatternRE(with_escape(pattern.value, escape), pattern.flags)

    return lark.Lark(grammar, parser="lalr", start=rule, edit_terminals=put_in)


def _compiled(grammar: Grammar, rule: str) -> dict[str, Any]:
    raw = {
        terminal.name: (terminal.pattern.value, "".join(sorted(terminal.pattern.flags)))
        for terminal in grammar.compile([rule], "*")[0]
    }
    parser = lark_parser(grammar, rule, "\\")
    table = parser.parser.parser._parse_table  # noqa: SLF001 - lark has no other way to them but pickle
    order = _numbered(table, rule)
    productions: list[list[object]] = []
    states: list[dict[str, int]] = []
    for state in order:
        actions = {}
        for symbol, (kind, target) in sorted(table.states[state].items()):
            if kind is Shift:
                actions[str(symbol)] = order[target]
                continue
            name = target.origin.name
            tree = target.alias or ("" if name.startswith("_") else str(name))
            production = [str(tree), str(name), len(target.expansion)]
            if production not in productions:
                productions.append(production)
            actions[str(symbol)] = ~productions.index(production)
        states.append(actions)
    lexer = parser.parser.lexer.root_lexer
    return {
        "start": order[table.start_states[rule]],
        "end": order[table.end_states[rule]],
        "states": states,
        "productions": productions,
        "terminals": [[terminal.name, *raw[terminal.name]] for terminal in lexer.terminals],
    }


def _numbered(table: Any, rule: str) -> dict[int, int]:
    """The states that can be reached, with the numbers that they get."""
    order: dict[int, int] = {}
    todo = [table.start_states[rule]]
    while todo:
        state = todo.pop(0)
        if state not in order:
            order[state] = len(order)
            todo += [target for _, (kind, target) in sorted(table.states[state].items()) if kind is Shift]
    return order


def encode(tables: dict[str, Any]) -> str:
    """The tables as they are kept, a line for each instruction."""
    rules = ",\n".join(f"{json.dumps(name)}: {json.dumps(rule)}" for name, rule in tables["rules"].items())
    rest = json.dumps({name: value for name, value in tables.items() if name != "rules"})
    return f'{rest[:-1]}, "rules": {{\n{rules}\n}}}}\n'


def main() -> None:
    """Make the tables beside the grammar again."""
    with open(GRAMMAR, "rb") as file:
        tables = compile_grammar(file.read())
    with open(TABLES, "w", encoding="utf-8") as out:
        out.write(encode(tables))


if __name__ == "__main__":
    main()
