"""
Credential helper programs: ``docker-credential-<name>`` with an action, standard input and standard output.

Invariants: the program is found on PATH and started without a shell; neither what it was given nor what it
printed becomes part of a message, except its own complaint. Governing source: docker-credential-helpers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidCredentials

TIMEOUT = 120.0
"""Seconds for which a helper may run; some ask a human."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_COMPLAINT_LIMIT = 300


def run_helper(
    name: str, action: str, text: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """
    Run ``docker-credential-<name> <action>``; blocks until it ends.

    Returns:
        The JSON object that it printed; None if it knows nothing about the registry, and for other actions
        than ``get``.

    Raises:
        InvalidCredentials: it is not installed, failed, or printed something else.
    """
    if not _NAME.fullmatch(name):
        raise InvalidCredentials(f"invalid name of a credential helper: {name[:100]!r}")
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=None if environment is None else environment.get("PATH", ""))
    if path is None:
        raise InvalidCredentials(
            f"the credential helper {program} is not installed",
            hint="install it, or remove it from credsStore and credHelpers in Docker's config.json",
        )
    try:
        done = subprocess.run(
            [path, action],
            input=text.encode(),
            capture_output=True,
            env=None if environment is None else dict(environment),
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InvalidCredentials(f"{program} {action} did not end within {TIMEOUT:.0f} seconds") from None
    except OSError as problem:
        raise InvalidCredentials(f"cannot run {program}: {problem.strerror}") from problem
    output = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        if action != "store" and "credentials not found" in output:
            return None
        complaint = done.stderr.decode(errors="replace").strip() or (output if action != "get" else "")
        raise InvalidCredentials(
            f"{program} {action} failed with status {done.returncode}: {complaint[:_COMPLAINT_LIMIT]}"
        )
    return _decode(output, program) if action == "get" else None


def _decode(output: str, program: str) -> dict[str, Any]:
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        raise InvalidCredentials(f"{program} get did not print JSON") from None
    if not isinstance(value, dict):
        raise InvalidCredentials(f"{program} get did not print a JSON object")
    return value
