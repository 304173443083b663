"""
How a problem is shown: where (an excerpt of the file), what happened, what to do; and its exit status.

Knows every error tree of the project by the attributes that their roots share (`message`, `hint`, `span`), so
that it imports none of them. What comes from outside (a command's output, a registry's words, the Dockerfile)
never reaches a terminal as control characters.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping

ENVIRONMENT = 3
BUG = 70
_FAMILIES = frozenset(("BuildError", "DockerfileError", "ImageError", "RegistryError", "SandboxError"))
_ENVIRONMENT_ERRORS = frozenset(("NotPermitted", "StoreProblem", "SetupFailed"))
_ENVIRONMENT_NUMBERS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE))
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)")
_CREDENTIALS = re.compile(r"(https?://)[^/\s@\"']+@", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FULL_HINT = "free some space, run 'pybuild prune', or choose another place for the store with --root"
_LONGEST_EXCERPT = 24
_LONGEST_TAIL = 60
_FRAME = 3
"""Lines of an excerpt around the file's own: the place, and the frame above and below."""


def render(problem: BaseException, verb: str) -> int:
    """Write the problem to stderr and return the exit status."""
    if _FAMILIES.isdisjoint(_names(problem)):
        return _outside(problem, verb)
    out: list[str] = []
    if tail := getattr(problem, "tail", ""):
        lines = tail.rstrip("\n").split("\n")[-_LONGEST_TAIL:]
        out += ["-" * 6, *(f" > {visible(line)}".rstrip() for line in lines), "-" * 6]
    span = getattr(problem, "span", None)
    if excerpt := getattr(problem, "excerpt", ""):
        out += _cropped([visible(line) for line in excerpt.rstrip("\n").split("\n")])
    elif span is not None:
        out.append(f"{span.filename}:{span.start_line}")
    message = getattr(problem, "message", None) or str(problem)
    out.append("error: " + "\n".join(visible(line) for line in message.splitlines()))
    hint = getattr(problem, "hint", None) or (_FULL_HINT if os.strerror(errno.ENOSPC) in tail else None)
    if hint:
        out += ["", f"hint: {visible(hint)}"]
    out += [f"note: {visible(note)}" for note in getattr(problem, "__notes__", [])]
    _say("\n".join(out))
    if verb == "run":
        return int(getattr(problem, "exit_code", 125))
    return ENVIRONMENT if any(map(_is_environment, _chain(problem))) else 1


def add_excerpt(problem: Exception, sources: Mapping[str, bytes | str]) -> None:
    """
    Give a problem that has a span the lines that it is about, for `render`.

    Args:
        problem: anything.
        sources: the files that spans may name: their content, or the path where that can be read.
    """
    span = getattr(problem, "span", None)
    if span is None or span.filename not in sources:
        return
    raw = sources[span.filename]
    if isinstance(raw, str):
        try:
            with open(raw, "rb") as stream:
                raw = stream.read()
        except OSError:
            return  # the place alone is shown
    from dockerfile_grammar.spans import SourceText

    text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    problem.excerpt = SourceText(span.filename, without_passwords(text)).excerpt(span)  # type: ignore[attr-defined]


def without_passwords(text: str) -> str:
    """A Dockerfile with stars for the credentials in its URLs: what is shown ends up in logs of others."""
    return _CREDENTIALS.sub(r"\1***@", text)


def visible(line: str) -> str:
    """A line as a terminal would leave it, without escape sequences and other control characters."""
    line = line.rstrip("\r\n").rpartition("\r")[2]
    return _CONTROLS.sub("", _ESCAPES.sub("", line)) if not line.isprintable() else line


def _names(problem: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(problem).__mro__}


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    """The problem and what caused it: a step's failure is the machine's when the machine caused it."""
    seen: list[BaseException] = []
    while problem is not None and problem not in seen:
        seen.append(problem)
        yield problem
        problem = problem.__cause__


def _is_environment(problem: BaseException) -> bool:
    if isinstance(problem, OSError):
        return problem.errno in _ENVIRONMENT_NUMBERS
    return not _ENVIRONMENT_ERRORS.isdisjoint(_names(problem))


def _cropped(lines: list[str]) -> list[str]:
    """An excerpt of a long instruction: its beginning and its end."""
    surplus = len(lines) - _FRAME - _LONGEST_EXCERPT
    if surplus <= 0:
        return lines
    half = _LONGEST_EXCERPT // 2
    return [*lines[: 2 + half], f"     | … {surplus} more lines", *lines[-half - 1 :]]


def _outside(problem: BaseException, verb: str) -> int:
    if isinstance(problem, OSError) and problem.strerror:
        place = f": {problem.filename}" if problem.filename else ""
        _say(f"error: {problem.strerror}{visible(place)}")
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            _say(f"\nhint: {_FULL_HINT}")
        return ENVIRONMENT if verb != "run" else 125
    traceback.print_exception(problem, file=sys.stderr)
    _say("\nerror: this is a bug in pybuild; please report it with the lines above and the Dockerfile")
    return BUG


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        # Nobody reads, or the log lies on the disk that is full: the exit status tells.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
