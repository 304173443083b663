"""Every grammar rule has a class, a lowering, a case and a line of documentation; so has every verb."""

import ast
import re
from pathlib import Path

import pytest

import dockerfile_grammar.instructions as classes
from builder.cli.main import VERBS
from builder.lowering import files, metadata, run  # noqa: F401 - they register their lowerings
from builder.lowering.dispatch import lower

ROOT = Path(__file__).resolve().parents[2]
GRAMMAR = (ROOT / "dockerfile_grammar" / "dockerfile.lark").read_text()
PARTS = {"flags", "command", "paths", "pairs"}
INSTRUCTIONS = sorted(set(re.findall(r"^([a-z_]+):", GRAMMAR, re.MULTILINE)) - PARTS)


def test_all_eighteen():
    """The grammar knows the 18 instructions of the Dockerfile reference."""
    assert len(INSTRUCTIONS) == 18


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_instruction_is_complete(name):
    """A rule comes with everything else, so that nothing is silently ignored."""
    kind = getattr(classes, name.capitalize())
    if name != "from":
        assert lower.dispatch(kind) is not lower.dispatch(object), "no lowering"
    assert (ROOT / "testdata" / "dockerfiles" / name / "Dockerfile").exists(), "no case"
    reference = (ROOT / "docs" / "reference" / "dockerfile.md").read_text()
    assert re.search(rf"^#+ {name.upper()}\b", reference, re.MULTILINE), "no line in the reference"


def options_of(verb):
    """The long options that a verb's module declares, read from its source."""
    module = {"import": "import_", "registry": "registry_"}.get(verb, verb)
    tree = ast.parse((ROOT / "builder" / "cli" / "verbs" / f"{module}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            for word in node.args:
                if isinstance(word, ast.Constant) and str(word.value).startswith("--"):
                    yield word.value


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_verb_is_documented(verb):
    """Every verb, with every option that it declares, is in the reference."""
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text()

    assert re.search(rf"\b{verb}\b", reference)
    for option in options_of(verb):
        assert option in reference, f"{verb} {option}"
