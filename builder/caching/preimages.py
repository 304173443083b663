"""What the preimage of a cache key says: which kind of step, with which parameters, over which inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Preimage:
    """A preimage, read: version of keys, kind and canonical parameters of the op, identities of inputs."""

    version: int
    kind: str
    op: dict[str, Any]
    inputs: tuple[str, ...]

    @property
    def text(self) -> str:
        """What the step does, in the words of an instruction."""
        op = self.op
        if self.kind == "Exec":
            argv = [str(word) for word in op.get("argv", ())]
            return "RUN " + (argv[-1] if argv[:2] == ["/bin/sh", "-c"] else " ".join(argv))
        if self.kind == "CopyFiles":
            names = (str(one.get("pattern", one.get("name", ""))) or "." for one in op.get("sources", ()))
            return f"COPY {' '.join(names)} {op.get('dest', '')}"
        return f"WORKDIR {op.get('path', '')}" if self.kind == "MakeDir" else self.kind


def read_preimage(raw: bytes | None) -> Preimage | None:
    """What the bytes say; None for what is no preimage of a step."""
    try:
        version, kind, op, inputs = json.loads(raw or b"")
    except (ValueError, TypeError):
        return None
    if not (isinstance(kind, str) and isinstance(op, dict) and isinstance(inputs, list)):
        return None
    return Preimage(version=version, kind=kind, op=op, inputs=tuple(map(str, inputs)))


def describe(raw: bytes | None) -> str:
    """What a cached step did, in one line; "" where that cannot be said."""
    found = read_preimage(raw)
    return "" if found is None else found.text
