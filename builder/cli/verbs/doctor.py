"""``pybuild doctor``: what this machine allows, and what to do about the rest."""

from __future__ import annotations

import os
import sys

from ..options import verb
from ..settings import VERSION, Settings


def main(arguments: list[str]) -> int:
    """Run the verb; exit status 3 when RUN steps cannot work here."""
    p = verb("doctor", "Show what this machine allows, and what to do about the rest.", usage="[OPTIONS]")
    args = p.parse_args(arguments)
    settings = Settings.read(args.root)
    import builder
    from runtime.probe import can_sandbox, probe

    python = ".".join(map(str, sys.version_info[:3]))
    print(f"pybuild {VERSION}, Python {python}, {os.path.dirname(os.path.dirname(builder.__file__))}")
    print(f"store {settings.root}: {_store(settings.root)}")
    status = 0
    overwritten = _overwritten()
    for name in overwritten:
        print(f"  BROKEN   {name} belongs to another distribution; install pybuild into its own environment")
        status = 3
    for capability in probe():
        print(f"  {'ok' if capability.ok else 'missing':<8} {capability.name}: {capability.detail}")
        if not capability.ok and capability.remedy:
            print(f"           {capability.remedy}")
    return 3 if status or not can_sandbox().ok else 0


def _store(root: str) -> str:
    if os.path.isdir(root):
        return "writable" if os.access(root, os.W_OK) else "not writable"
    parent = root
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    return "will be created" if os.access(parent, os.W_OK) else f"cannot be created: {parent} is not writable"


def _overwritten() -> list[str]:
    """Top-level packages of ours whose files are not the ones that were installed with pybuild."""
    from importlib import metadata

    try:
        files = metadata.files("pybuild") or []
    except metadata.PackageNotFoundError:
        return []  # run from a checkout
    broken = set()
    for file in files:
        recorded = file.hash
        if recorded is None or file.suffix != ".py":
            continue
        path = file.locate()
        if not os.path.exists(os.fspath(path)) or _digest(os.fspath(path), recorded.mode) != recorded.value:
            broken.add(file.parts[0])
    return sorted(broken)


def _digest(path: str, algorithm: str) -> str:
    import base64
    import hashlib

    with open(path, "rb") as stream:
        raw = hashlib.file_digest(stream, algorithm).digest()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
