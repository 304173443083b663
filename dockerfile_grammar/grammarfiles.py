"""
Where the grammar and its tables lie, and what is put into the regular expressions of the grammar.

Invariant: whoever compiles the grammar and whoever follows its tables put the same into them.
"""

import os

from .golang import SPACE_CLASS

GRAMMAR = os.path.join(os.path.dirname(__file__), "dockerfile.lark")
TABLES = os.path.join(os.path.dirname(__file__), "dockerfile.tables.json")


def with_escape(regex: str, escape: str) -> str:
    """A regular expression of the grammar with what is put into it: white space, and the escape character."""
    if escape == "`":
        regex = regex.replace(r"\\", "`")
    return regex.replace(r"\s", SPACE_CLASS)
