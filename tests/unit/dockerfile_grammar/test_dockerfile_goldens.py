"""
Dockerfiles and the values they parse to.

Run this file as a program to write the values again after a change, and read the difference; the names of new
cases are its arguments.
"""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from dockerfile_grammar.instructions import INSTRUCTIONS
from dockerfile_grammar.parser import parse
from dockerfile_grammar.spans import Span

CASES = Path(__file__).resolve().parents[3] / "testdata" / "dockerfiles"
NAMES = sorted(
    path.parent.name for path in CASES.glob("*/Dockerfile") if (path.parent / "parsed.json").exists()
)


def as_json(value):
    """Instructions and other values as JSON: the class, and the fields that are not at their default."""
    if isinstance(value, Span):
        return [value.start_line, value.end_line]
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    fields = {"kind": type(value).__name__}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item != field.default:
            fields[field.name] = as_json(item)
    return fields


def parsed(case):
    dockerfile = parse((CASES / case / "Dockerfile").read_bytes())
    return {
        "directives": as_json(dockerfile.directives),
        "escape": dockerfile.escape,
        "meta_args": as_json(dockerfile.meta_args),
        "stages": as_json(dockerfile.stages),
        "warnings": as_json(dockerfile.warnings),
    }


@pytest.mark.parametrize("case", NAMES)
def test_dockerfile_parses_to_the_recorded_values(case):
    """A Dockerfile should parse to the values that were reviewed."""
    recorded = json.loads((CASES / case / "parsed.json").read_text(encoding="utf-8"))
    assert parsed(case) == recorded


def test_every_instruction_has_a_case():
    """Each instruction should have a folder of its own name that uses it."""
    assert set(INSTRUCTIONS) <= set(NAMES)
    for keyword, kind in INSTRUCTIONS.items():
        assert f'"kind": "{kind.__name__}"' in (CASES / keyword / "parsed.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    for name in [*NAMES, *sys.argv[1:]]:
        text = json.dumps(parsed(name), indent=2, ensure_ascii=False)
        (CASES / name / "parsed.json").write_text(text + "\n", encoding="utf-8")
