"""
A Dockerfile as a list of parenthesised words, the way BuildKit prints its syntax tree.

This is the syntax alone: numbers of arguments, flag names and stages are not checked. It serves tests and the
comparison with other implementations.
"""

from __future__ import annotations

from .arguments import LegacyPair, Words, name_value_pairs
from .flags import resolve_quotes
from .forms import read_exec_form
from .golang import SPACES, quote
from .grammar import Tree, parse_arguments
from .instructions import INSTRUCTIONS
from .lines import LineReader
from .parser import opens_heredocs, split_keyword
from .spans import SourceText


def dump(text: str) -> str:
    """
    Return one line per instruction.

    Raises:
        DockerfileError: the text has no structure to print.

    """
    reader = LineReader(SourceText("Dockerfile", text), opens_heredocs=opens_heredocs)
    return "".join(f"({_line(line.text, reader.escape)})\n" for line in reader)


def _line(text: str, escape: str) -> str:
    keyword, rest = split_keyword(text)
    rule = keyword.lower()
    if rule not in INSTRUCTIONS:
        return f'{rule} ""'
    flags, *arguments = parse_arguments(rule, rest.strip(SPACES), escape).children
    words = [rule]
    assert isinstance(flags, Tree)  # noqa: S101 - every rule starts with its flags
    given = [resolve_quotes(str(flag), escape) for flag in flags.children]
    if shown := [quote(flag) for flag in given if flag != "--"]:
        words.append(f"[{' '.join(shown)}]")
    for argument in arguments:
        if rule == "onbuild":
            words.append(f"({_line(str(argument), escape)})")
        elif isinstance(argument, Tree):
            words += map(quote, _part(argument, rule))
        else:
            words.append(quote(str(argument)))
    return " ".join(words)


def _part(tree: Tree, rule: str) -> list[str]:
    texts = [str(child) for child in tree.children]
    if tree.rule == "exec_form":
        return list(read_exec_form(texts[0]) or ())
    if rule in ("env", "label"):
        legacy = tree.rule == "legacy_pair"
        pairs = name_value_pairs(
            LegacyPair(texts[0], texts[1] if texts[1:] else None) if legacy else Words(tuple(texts)),
            rule.upper(),
        )
        return [part for name, value in pairs for part in (name, value, "" if legacy else "=")]
    read_exec_form(" ".join(texts))
    return texts
