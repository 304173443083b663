"""
Exec form or shell form: the rule that tells a JSON array of strings from text.

Anything that is not valid JSON is shell text, however much it looks like an array; a valid array with a
member that is no string is a mistake. Governing text: "Shell and exec form" in the Dockerfile reference, and
RFC 8259.
"""

from __future__ import annotations

import json
import re

from .errors import SyntaxProblem
from .golang import SPACES

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read_exec_form(text: str) -> tuple[str, ...] | None:
    """
    Return the strings of an exec form; None when `text` is shell form.

    Raises:
        SyntaxProblem: the array holds something other than strings.

    """
    text = text.lstrip(SPACES)
    if not text.startswith("["):
        return None
    try:
        # Numbers are only noticed, never used, and may have more digits than int() takes.
        array = json.loads(text, parse_int=float, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in array):
        raise SyntaxProblem("when using JSON array syntax, arrays must be comprised of strings only")
    return tuple(_LONE_SURROGATE.sub("\ufffd", item) for item in array)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
