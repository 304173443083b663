"""
What ``--call`` prints: findings of checks, outlines and targets, as text and as JSON.

Both forms are those of docker buildx, which editors and scripts read. Texts end in a line feed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dockerfile_grammar.lint.linter import Finding
    from dockerfile_grammar.spans import SourceText, Span

    from ..checks import CheckResult
    from ..outline import Credential, Outline, TargetInfo
    from ..survey import Mistake

_FRAME = "-" * 20


def check_text(result: CheckResult, source: SourceText) -> str:
    """The findings with the lines that they are about."""
    count = len(result.findings)
    if not count:
        return "" if result.problem else "Check complete, no warnings found.\n"
    found = "1 warning has been found" if count == 1 else f"{count} warnings have been found"
    return f"Check complete, {found}!\n" + "".join(
        f"\n{_finding_text(finding, source)}" for finding in result.findings
    )


def _finding_text(finding: Finding, source: SourceText) -> str:
    address = f" - {finding.rule.url}" if finding.rule.url else ""
    return f"WARNING: {finding.rule.name}{address}\n{finding.detail}\n{_excerpt(finding.span, source)}"


def _excerpt(span: Span, source: SourceText) -> str:
    """The lines of a span; around it about four others, or two where it is long itself."""
    lines = source.text.split("\n")
    first, last = span.start_line, min(span.end_line, len(lines))
    room = 4 if first == last else 2
    while room > 0:
        if first > 1:
            first, room = first - 1, room - 1
        if last < len(lines):
            last, room = last + 1, room - 1
        room -= 1
    shown = (
        f" {number:3} | {'>>>' if span.start_line <= number <= span.end_line else '   '} {lines[number - 1]}"
        for number in range(first, last + 1)
    )
    head = f"{span.filename}:{span.start_line}"
    return "".join(f"{line}\n" for line in (head, _FRAME, *map(_printable, shown), _FRAME))


def _printable(line: str) -> str:
    from .problems import visible, without_passwords

    return visible(without_passwords(line)).encode("utf-8", "replace").decode("utf-8")


def check_json(result: CheckResult, source: SourceText) -> str:
    """The findings and the mistake, if there is one."""
    answer: dict[str, Any] = {
        "warnings": [
            _present(
                ruleName=finding.rule.name,
                description=finding.rule.description,
                url=finding.rule.url,
                detail=finding.detail,
                location=_location(finding.span),
            )
            for finding in result.findings
        ],
        "sources": [
            {
                "filename": source.filename,
                "data": _encoded(source),
                "language": "Dockerfile",
            }
        ],
    }
    if result.problem is not None:
        span = result.problem.span
        answer["buildError"] = {
            "message": _message(result.problem),
            "location": _location(span) if span else {},
        }
    return _json(answer)


def _message(problem: Mistake) -> str:
    """What is wrong, with what was probably meant."""
    is_suggestion = problem.hint is not None and problem.hint.startswith("did you mean ")
    return f"{problem.message} ({problem.hint})" if is_suggestion else problem.message


def outline_text(outline: Outline) -> str:
    """The target, then a table for each kind of parameter."""
    blocks = []
    if outline.name or outline.description:
        head = [("TARGET:", outline.name or "(default)")]
        if outline.description:
            head.append(("DESCRIPTION:", outline.description))
        blocks.append(_table(head, gap=1))
    if outline.args:
        rows = [(arg.name, arg.value, arg.description) for arg in outline.args]
        blocks.append(_table([("BUILD ARG", "VALUE", "DESCRIPTION"), *rows], gap=3))
    for title, credentials in (("SECRET", outline.secrets), ("SSH", outline.ssh)):
        if credentials:
            marked = [(one.name, "true" if one.required else "") for one in credentials]
            blocks.append(_table([(title, "REQUIRED"), *marked], gap=3))
    return "".join(f"{block}\n" for block in blocks)


def outline_json(outline: Outline, source: SourceText) -> str:
    """The outline; what is empty is left out."""
    answer = _present(
        name=outline.name,
        description=outline.description,
        args=[
            {
                "name": arg.name,
                **_present(description=arg.description, value=arg.value),
                "location": _location(arg.span),
            }
            for arg in outline.args
        ],
        secrets=[_credential_json(secret) for secret in outline.secrets],
        ssh=[_credential_json(agent) for agent in outline.ssh],
        sources=[_encoded(source)],
    )
    return _json(answer)


def _credential_json(credential: Credential) -> dict[str, Any]:
    required = _present(required=credential.required)
    return {"name": credential.name, **required, "location": _location(credential.span)}


def targets_text(targets: Iterable[TargetInfo]) -> str:
    """A table of the targets."""
    rows = [("TARGET", "DESCRIPTION")]
    for target in targets:
        mark = "(default)" if target.is_default else ""
        rows.append((" ".join(filter(None, (target.name, mark))), target.description))
    return _table(rows, gap=1)


def targets_json(targets: Iterable[TargetInfo], source: SourceText) -> str:
    """The targets; what is empty is left out."""
    listed = [
        _present(
            name=target.name,
            default=target.is_default,
            description=target.description,
            base=target.base,
            platform=target.platform,
            location=_location(target.span),
        )
        for target in targets
    ]
    return _json({"targets": listed, "sources": [_encoded(source)]})


def _table(rows: Sequence[Sequence[str]], *, gap: int) -> str:
    """Columns as wide as their longest cell; the last one is not filled up."""
    widths = [max(map(len, column)) + gap for column in zip(*rows, strict=True)][:-1]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] + "\n"
        for row in rows
    )


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}


def _location(span: Span) -> dict[str, Any]:
    """Each line of the span is a range of its own, as with BuildKit."""
    lines = range(span.start_line, span.end_line + 1)
    return {"ranges": [{"start": {"line": line}, "end": {"line": line}} for line in lines]}


def _encoded(source: SourceText) -> str:
    from .problems import without_passwords

    raw = without_passwords(source.text).encode("utf-8", "surrogateescape")
    return base64.b64encode(raw).decode("ascii")


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
