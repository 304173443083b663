"""Every rule of docs/reference/semantics.md is held by tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES = [
    line.split(" | ")
    for line in (ROOT / "docs" / "reference" / "semantics.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| What holds")
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[0].strip("| ")[:60])
def test_a_rule_has_tests(rule):
    """Each row names functions or cases, which are in the files that it says."""
    named = re.findall(r"`([\w/]+\.py)::([\w-]+)`", rule[-1])
    assert named, "a rule without a test"
    for path, name in named:
        text = (ROOT / "tests" / path).read_text()
        assert f"def {name}(" in text or f'"{name}"' in text, f"{path} has no {name}"


def test_there_are_rules():
    """The table was found."""
    assert len(RULES) > 50
