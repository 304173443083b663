"""
How a problem is shown: what happened, where (an excerpt of the Dockerfile), what to do; and its exit status.

Knows every error tree of the project by the attributes that their roots share (`message`, `hint`, `span`), so
that it imports none of them.
"""

from __future__ import annotations

import sys
import traceback

ENVIRONMENT = 3
BUG = 70
_FAMILIES = ("BuildError", "DockerfileError", "ImageError", "RegistryError", "SandboxError")
_ENVIRONMENT_ERRORS = ("NotPermitted", "StoreProblem", "SetupFailed")


def render(problem: BaseException, verb: str) -> int:
    """Write the problem to stderr and return the exit status."""
    names = [cls.__name__ for cls in type(problem).__mro__]
    if not any(name in _FAMILIES for name in names):
        return _outside(problem, verb)
    tail = getattr(problem, "tail", "")
    excerpt = getattr(problem, "excerpt", "")
    out: list[str] = []
    if tail:
        out += ["-" * 6, *(" > " + line for line in tail.splitlines()), "-" * 6]
    if excerpt:
        out += [excerpt.rstrip("\n")]
    elif getattr(problem, "span", None) is not None:
        span = problem.span  # type: ignore[attr-defined]
        out += [f"{span.filename}:{span.start_line}"]
    out.append(f"error: {problem}")
    hint = getattr(problem, "hint", None)
    if hint:
        out += ["", f"hint: {hint}"]
    notes = getattr(problem, "__notes__", [])
    out += [f"note: {note}" for note in notes]
    print("\n".join(out), file=sys.stderr)
    if verb == "run":
        return int(getattr(problem, "exit_code", 125))
    return ENVIRONMENT if any(name in _ENVIRONMENT_ERRORS for name in names) else 1


def _outside(problem: BaseException, verb: str) -> int:
    if isinstance(problem, OSError) and problem.strerror:
        place = f": {problem.filename}" if problem.filename else ""
        print(f"error: {problem.strerror}{place}", file=sys.stderr)
        return ENVIRONMENT if verb != "run" else 125
    traceback.print_exception(problem, file=sys.stderr)
    print(
        "\nerror: this is a bug in pybuild; please report it with the lines above and the Dockerfile",
        file=sys.stderr,
    )
    return BUG
