"""The parsers of instructions: their tables are those of the grammar, and they read as lark does."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import lark
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerfile_grammar import compiler, grammar, grammarfiles
from dockerfile_grammar.errors import SyntaxProblem
from dockerfile_grammar.instructions import INSTRUCTIONS

ROOT = Path(__file__).resolve().parents[3]
ESCAPES = ("\\", "`")


@cache
def loaded():
    """The grammar as lark reads it."""
    return compiler.load(Path(grammarfiles.GRAMMAR).read_bytes())


@cache
def lark_parser(rule, escape):
    """lark's own parser of a rule."""
    return compiler.lark_parser(loaded(), rule, escape)


def by_lark(rule, text, escape):
    """The tree that lark makes, None where it makes none."""

    def plain(tree):
        children = (plain(child) if isinstance(child, lark.Tree) else str(child) for child in tree.children)
        return grammar.Tree(str(tree.data), tuple(children))

    try:
        return plain(lark_parser(rule, escape).parse(text))
    except lark.UnexpectedInput:
        return None


def by_us(rule, text, escape):
    """The tree that we make, None where we make none."""
    try:
        return grammar.parse_arguments(rule, text, escape)
    except SyntaxProblem:
        return None


def test_the_tables_are_those_of_the_grammar():
    """After a change of the grammar its tables are made again: python -m dockerfile_grammar.compiler."""
    made = compiler.compile_grammar(Path(grammarfiles.GRAMMAR).read_bytes())

    assert Path(grammarfiles.TABLES).read_text() == compiler.encode(made)
    assert grammar.tables() == json.loads(compiler.encode(made))


@pytest.mark.parametrize("rule", sorted(INSTRUCTIONS))
def test_terminals_are_tried_in_the_same_order_for_every_escape(rule):
    """The tables hold one order for both escape characters."""
    orders = [
        [terminal.name for terminal in lark_parser(rule, escape).parser.lexer.root_lexer.terminals]
        for escape in ESCAPES
    ]

    assert orders[0] == orders[1] == [name for name, *_ in grammar.tables()["rules"][rule]["terminals"]]


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("rule", sorted(INSTRUCTIONS))
def test_real_lines_give_the_trees_of_lark(rule, escape):
    """The arguments of every line of the Dockerfiles that the tests have are read as lark reads them."""
    lines = set()
    for path in (ROOT / "testdata").rglob("*Dockerfile*"):
        if path.is_file():
            lines.update(line.partition(" ")[2] for line in path.read_text(errors="replace").splitlines())
    assert len(lines) > 100
    for line in sorted(lines)[:400]:
        assert by_us(rule, line, escape) == by_lark(rule, line, escape), line


_PIECES = st.sampled_from(
    [
        "--a",
        "--a=b",
        "--",
        " ",
        "\t",
        '"',
        "'",
        "\\",
        "`",
        "a",
        "as",
        "AS",
        "=",
        "[",
        "]",
        ",",
        '["a"]',
        "\u00a0",
    ]
)


@given(
    st.sampled_from(sorted(INSTRUCTIONS)),
    st.lists(_PIECES | st.characters(), max_size=12),
    st.sampled_from(ESCAPES),
)
def test_any_text_gives_the_tree_of_lark(rule, pieces, escape):
    """Whatever stands behind a keyword is read as lark reads it, or refused as lark does."""
    text = "".join(pieces)

    assert by_us(rule, text, escape) == by_lark(rule, text, escape)


@pytest.mark.parametrize("content", [None, "{}"], ids=["missing", "old"])
def test_a_grammar_without_its_tables_is_compiled(tmp_path, monkeypatch, content):
    """A checkout whose tables are missing or old works, only slower."""
    if content is not None:
        (tmp_path / "tables").write_text(content)
    monkeypatch.setattr(grammar, "TABLES", str(tmp_path / "tables"))
    grammar.tables.cache_clear()
    try:
        assert set(grammar.tables()["rules"]) == set(INSTRUCTIONS)
    finally:
        grammar.tables.cache_clear()


def test_parsing_loads_no_lark():
    """A Dockerfile is parsed without loading what made the tables."""
    code = (
        "import sys\n"
        "from dockerfile_grammar.parser import parse\n"
        "parse('FROM a AS b\\nRUN x\\nCOPY a b\\nENV A=b\\n')\n"
        "assert 'lark' not in sys.modules, 'lark was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
